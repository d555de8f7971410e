"""StyleGAN as ONNX: against answers of the official code on its own file, and on other files against plain numpy.

The numpy network is anchored by the same answers.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conversion.converted import Converted
from conversion.parity import run_onnx
from conversion.registry import Options
from conversion.stylegan import reference as stylegan_reference
from conversion.stylegan.convert import build_synthesis, convert
from conversion.stylegan.network import Synthesis, read_mapping, read_synthesis
from conversion.stylegan.pickle_file import read
from services.anonymizer.latents import broadcast, truncate
from services.errors import ConversionError

from . import files

CLOSE = 1e-3  # of the range of the official answers
ROUNDED = 1e-3  # share of uint8 values that may fall on the other side of a half
PIXEL_NORM = {"use_pixel_norm": True, "use_instance_norm": False}
NETWORKS = {
    "smallest": {"resolution": 8, "fmap_max": 3, "latent_size": 2, "dlatent_size": 3, "mapping_fmaps": 1},
    "odd channels": {"resolution": 64, "fmap_base": 370, "fmap_max": 13, "fmap_decay": 0.9},
    "fused from 128 on": {"resolution": 256, "fmap_base": 1500, "fmap_max": 11},
    "fused everywhere": {"fused_scale": True},
    "fused nowhere": {"resolution": 128, "fused_scale": False, "fmap_max": 5},
    "pixel norm": PIXEL_NORM,
    "both norms": {"use_pixel_norm": True},
    "no norm": {"use_instance_norm": False},
    "no noise": {"use_noise": False},
    "no blur": {"blur_filter": None},
    "one-sided blur": {"blur_filter": [1, 2, 3, 5, 0], "fused_scale": True},
    "relu": {"nonlinearity": "relu", "mapping_nonlinearity": "relu"},
    "one mapping layer": {"mapping_layers": 1},
    "another learning rate": {"mapping_lrmul": 0.1, "normalize_latents": False},
}
each_network = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


def as_uint8(pictures: np.ndarray) -> np.ndarray:
    """float [N, 3, H, W], -1 to 1 -> int16 [N, H, W, 3] of 0 to 255, rounded as the official code does."""
    return np.clip(np.floor(pictures * 127.5 + 128), 0, 255).astype(np.int16).transpose(0, 2, 3, 1)


def pictures(model: onnx.ModelProto, w: np.ndarray) -> np.ndarray:
    """int16 [N, H, W, 3], so that differences have a sign."""
    return run_onnx(model, w=w)[0].astype(np.int16)


def assert_same_pictures(got: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(got - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= ROUNDED


def synthesis_of(path: Path, name: str = "Gs", noise: bool = True) -> Synthesis:
    return read_synthesis(read(path)[name].components["synthesis"], noise)


def random_w(network: Synthesis, count: int = 2) -> np.ndarray:
    """Another w in every layer: a layer that takes its neighbour's is seen."""
    shape = (count, len(network.layers), network.dlatent)
    return np.random.default_rng(5).standard_normal(shape, dtype=np.float32)


# --- the official file ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(official) -> list[Converted]:
    return convert(official, "tiny", Options())


@pytest.fixture(scope="module")
def truncated(converted, answers) -> np.ndarray:
    """w float32 [3, 12, 64] as the service makes it: psi 0.7 in the first eight layers."""
    mapping, synthesis = converted
    w = broadcast(run_onnx(mapping.model, z=answers["z"])[0], synthesis.serves)
    return truncate(w, np.float32(mapping.card["w_mean"]), **mapping.card["truncation"])


def test_mapping_is_the_official_one(converted, answers):
    w = broadcast(run_onnx(converted[0].model, z=answers["z"])[0], converted[1].serves)
    np.testing.assert_allclose(w, answers["w"], atol=1e-5 * np.ptp(answers["w"]))


def test_synthesis_is_the_official_one(official, answers):
    model = build_synthesis(synthesis_of(official), kind="float").model
    expected = answers["synthesis"]
    np.testing.assert_allclose(run_onnx(model, w=answers["w"])[0], expected, rtol=0, atol=CLOSE * np.ptp(expected))


def test_truncated_pictures_are_the_official_ones(converted, truncated, answers):
    assert_same_pictures(pictures(converted[1].model, truncated), answers["uint8_psi07"])


def test_half_precision_pictures_are_nearly_the_official_ones(official, truncated, answers):
    synthesis = convert(official, "tiny", Options(precision="fp16"))[1]
    difference = pictures(synthesis.model, truncated) - answers["uint8_psi07"]
    assert synthesis.parity.value <= synthesis.parity.tolerance
    assert 0 < np.sqrt((difference.astype(float) ** 2).mean()) <= synthesis.parity.tolerance


def test_numpy_mapping_is_the_official_one(official, answers):
    mapping = read_mapping(read(official)["Gs"].components["mapping"])
    w = stylegan_reference.mapping(mapping, answers["z"])
    np.testing.assert_allclose(w, answers["w"][:, 0], atol=1e-5 * np.ptp(answers["w"]))


def test_numpy_synthesis_is_the_official_one(official, answers):
    got, expected = stylegan_reference.synthesis(synthesis_of(official), answers["w"]), answers["synthesis"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=CLOSE * np.ptp(expected))


def test_numpy_truncated_pictures_are_the_official_ones(official, truncated, answers):
    assert_same_pictures(
        as_uint8(stylegan_reference.synthesis(synthesis_of(official), truncated)), answers["uint8_psi07"]
    )


def test_official_pictures_are_neither_flat_nor_alike(answers):
    """All of the above would hold for blank pictures as well."""
    told = answers["uint8_psi07"].astype(float)
    assert told.std(axis=(1, 2)).min() > 10
    assert np.abs(told[0] - told[1]).mean() > 10


def test_picture_does_not_depend_on_the_batch(converted, truncated):
    together = pictures(converted[1].model, truncated)
    alone = np.concatenate([pictures(converted[1].model, w[None]) for w in truncated])
    assert np.abs(together - alone).max() <= 1


def test_pictures_without_noise_are_others(official, truncated, converted):
    quiet = convert(official, "tiny", Options(noise="none"))[1]
    assert np.abs(pictures(quiet.model, truncated) - pictures(converted[1].model, truncated)).mean() > 1


def test_pictures_without_noise_are_those_of_the_network_without(official, truncated):
    quiet = convert(official, "tiny", Options(noise="none"))[1]
    network = synthesis_of(official)
    silent = replace(network, layers=[replace(layer, noise=None, strength=None) for layer in network.layers])
    assert_same_pictures(pictures(quiet.model, truncated), as_uint8(stylegan_reference.synthesis(silent, truncated)))


def test_trained_generator_of_the_official_file_converts(official, truncated):
    synthesis = convert(official, "tiny", Options(network="G"))[1]
    expected = stylegan_reference.synthesis(synthesis_of(official, "G"), truncated)
    assert_same_pictures(pictures(synthesis.model, truncated), as_uint8(expected))


# --- files written here -----------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes a file whose Gs has these options; its source must not have run when the test is over."""
    path = tmp_path / "written.pkl"

    def write(protocol: int = 3, **options) -> Path:
        return files.write(path, files.generator(**options), protocol=protocol)

    yield write
    assert not path.with_name("ran").exists()


@each_network
def test_pictures_are_those_of_numpy(write, options):
    path = write(**options)
    network = synthesis_of(path)
    w = random_w(network)
    expected = as_uint8(stylegan_reference.synthesis(network, w))
    assert expected.std() > 10
    assert_same_pictures(pictures(convert(path, "net", Options())[1].model, w), expected)


@each_network
def test_values_before_rounding_are_those_of_numpy(write, options):
    """uint8 hides what is beyond black and white."""
    network = synthesis_of(write(**options))
    w = random_w(network)
    got = run_onnx(build_synthesis(network, kind="float").model, w=w)[0]
    expected = stylegan_reference.synthesis(network, w.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.ptp(expected))


@each_network
def test_w_is_that_of_numpy(write, options):
    path = write(**options)
    mapping = read_mapping(read(path)["Gs"].components["mapping"])
    z = np.random.default_rng(6).standard_normal((4, mapping.latent), dtype=np.float32)
    expected = stylegan_reference.mapping(mapping, z.astype(np.float64))
    got = run_onnx(convert(path, "net", Options())[0].model, z=z)[0]
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize(("told", "first"), [("auto", 10), (True, 0), (False, 12)], ids=str)
def test_scaling_is_fused_from_128_on_unless_told(write, told, first):
    """Layers 10 and 11 are those of 128."""
    assert synthesis_of(write(resolution=128, fused_scale=told)).fused == tuple(i >= first for i in range(12))


def test_every_variable_of_the_file_is_seen(write):
    """In the picture of a fixed w, or in w; but for the ways to RGB of lower resolutions, and `lod`."""
    generator = read(write())["Gs"]
    synthesis, mapping = generator.components["synthesis"], generator.components["mapping"]
    w, z = random_w(read_synthesis(synthesis, True), 1), np.random.default_rng(6).standard_normal((2, 24))

    def answer(network):
        if network.name == "G_mapping":
            return stylegan_reference.mapping(read_mapping(network), z)
        return stylegan_reference.synthesis(read_synthesis(network, True), w)

    unseen = []
    for network in (synthesis, mapping):
        before = answer(network)
        for name, value in network.variables.items():
            changed = replace(network, variables={**network.variables, name: value + np.float32(0.3)})
            if np.abs(answer(changed) - before).max() < 1e-3 if name != "lod" else True:
                unseen.append(name)
    assert unseen == ["lod", *(f"ToRGB_lod{n}/{part}" for n in (3, 2, 1) for part in ("weight", "bias"))]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_gives_the_same_network(write, protocol):
    got, expected = synthesis_of(write(protocol)), files.generator().components["synthesis"]
    np.testing.assert_array_equal(got.start, expected["4x4/Const/const"][0])
    np.testing.assert_array_equal(got.layers[-1].noise, expected["noise7"][0, 0])


def test_options_of_the_whole_network_hold_for_its_parts(tmp_path):
    """They are in both places in official files; those of a part win."""
    generator = files.generator()
    whole = convert(files.write(tmp_path / "whole.pkl", generator), "net", Options())
    for part in generator.components.values():
        part.static_kwargs = {"dlatent_size": 20}
    bare = convert(files.write(tmp_path / "bare.pkl", generator), "net", Options())
    assert [model.model for model in bare] == [model.model for model in whole]


def test_average_and_trained_generator_are_told_apart(tmp_path):
    path = files.write(tmp_path / "both.pkl", files.generator(seed=1), files.generator("G", seed=2))
    w = random_w(synthesis_of(path))
    for network in ("G", "Gs"):
        got = pictures(convert(path, "net", Options(network=network))[1].model, w)
        assert_same_pictures(got, as_uint8(stylegan_reference.synthesis(synthesis_of(path, network), w)))
    assert np.abs(got - as_uint8(stylegan_reference.synthesis(synthesis_of(path, "G"), w))).mean() > 10


@pytest.mark.parametrize("kind", ["<f2", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [3, 5])
def test_arrays_of_other_kinds_and_orders_are_read_right(tmp_path, kind, order, protocol):
    generator = files.generator()
    value = np.arange(24 * 28).reshape(24, 28) / 8
    generator.components["mapping"]["Dense0/weight"] = value.astype(kind, order=order)
    path = files.write(tmp_path / "file.pkl", generator, protocol=protocol)
    np.testing.assert_array_equal(read(path)["Gs"].components["mapping"].variables["Dense0/weight"], value)
    convert(path, "net", Options())


def test_w_mean_is_the_average_of_the_file(tmp_path):
    generator = files.generator()
    told = convert(files.write(tmp_path / "file.pkl", generator), "net", Options())[0].card["w_mean"]
    np.testing.assert_array_equal(np.float32(told), generator["dlatent_avg"])


def test_w_mean_of_a_file_without_average_is_that_of_many_people(tmp_path):
    generator = files.generator()
    del generator["dlatent_avg"]
    mapping = convert(files.write(tmp_path / "file.pkl", generator), "net", Options())[0]
    z = np.random.default_rng(9).standard_normal((20_000, 24), dtype=np.float32)
    w = run_onnx(mapping.model, z=z)[0]
    np.testing.assert_allclose(mapping.card["w_mean"], w.mean(axis=0), atol=5 * np.sqrt(2 / 20_000) * w.std())


@pytest.mark.parametrize(
    ("told", "truncation"),
    [
        ({}, {"psi": 0.7, "cutoff": 8}),
        ({"truncation_psi": 0.5, "truncation_cutoff": 4}, {"psi": 0.5, "cutoff": 4}),
        ({"truncation_psi": None, "truncation_cutoff": None}, {"psi": None, "cutoff": None}),
        ({"truncation_psi": 10**5000, "truncation_cutoff": np.nan}, {"psi": None, "cutoff": None}),
    ],
    ids=["default", "another", "none", "no number"],
)
def test_truncation_of_the_file_is_told(write, told, truncation):
    assert convert(write(**told), "net", Options())[0].card["truncation"] == truncation


# --- half precision ---------------------------------------------------------------------------------------------


def types_of_weights(model: onnx.ModelProto) -> list[str]:
    """Of every convolution, in the order of the graph; the last one makes RGB."""
    stored = {constant.name: numpy_helper.to_array(constant).dtype.name for constant in model.graph.initializer}
    return [stored[node.input[1]] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]


@pytest.mark.parametrize(("precision", "kind"), [("fp16", "float16"), ("fp32", "float32")])
def test_convolutions_hold_weights_of_the_precision_asked_for(write, precision, kind):
    model = convert(write(), "net", Options(precision=precision))[1].model
    *convolutions, to_rgb = types_of_weights(model)
    assert (set(convolutions), len(convolutions), to_rgb) == ({kind}, 10, "float32")


@each_network
def test_half_precision_pictures_are_near_those_of_numpy(write, options):
    path = write(**options)
    synthesis = convert(path, "net", Options(precision="fp16"))[1]
    w = random_w(synthesis_of(path))
    difference = pictures(synthesis.model, w) - as_uint8(stylegan_reference.synthesis(synthesis_of(path), w))
    assert np.sqrt((difference.astype(float) ** 2).mean()) <= synthesis.parity.tolerance


@pytest.mark.parametrize(("factor", "says"), [(1e7, "a weight is larger than float16 holds"), (1e4, "values reach")])
def test_values_beyond_half_precision_are_refused(tmp_path, factor, says):
    generator = files.generator()
    synthesis = generator.components["synthesis"]
    synthesis["32x32/Conv1/weight"] = synthesis["32x32/Conv1/weight"] * np.float32(factor)
    path = files.write(tmp_path / "file.pkl", generator)
    with pytest.raises(ConversionError, match=f"{says}.*use --precision fp32"):
        convert(path, "net", Options(precision="fp16"))
    convert(path, "net", Options())

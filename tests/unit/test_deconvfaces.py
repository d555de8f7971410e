"""The face generator as a graph is the network its file describes; another file is refused saying what is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

from conversion.deconvfaces import convert as deconvfaces
from conversion.deconvfaces.convert import EMOTIONS, build, check, convert, reference
from conversion.deconvfaces.keras_h5 import KerasModel, read_model
from conversion.parity import run_onnx
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.models import Generator
from services.errors import ConversionError
from services.provenance import check_model
from tests.unit.keras_files import LAYOUTS, Network, generator, write

TOLERANCE = 1e-5  # of floats in [0, 1]: these networks are shallow
SMALL = {"blocks": (3, 2)}


@pytest.fixture
def saved(tmp_path) -> Callable[..., KerasModel]:
    """A network as it comes back from a file."""

    def save_and_read(net: Network, layout: str = "keras2") -> KerasModel:
        return read_model(write(tmp_path / "tiny.h5", net, layout))

    return save_and_read


def asked(model: KerasModel, count: int = 4, seed: int = 21) -> dict[str, np.ndarray]:
    """People, mixes of people, cameras and emotions, none of them as in training."""
    rng = np.random.default_rng(seed)
    codes = {name: rng.random((count, size)).astype(np.float32) for name, size in sorted(model.inputs.items())}
    codes["identity"][0] = np.eye(model.inputs["identity"])[0]
    return codes


def answers(model: KerasModel, flip_kernels: bool = False) -> np.ndarray:
    """The graph's floats, [4, H, W, 3]."""
    return run_onnx(build(model, flip_kernels, as_float=True), **asked(model))[0]


# --- the same network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "picture"),
    [
        ({"ids": 1, "start": (1, 1), "blocks": (2,)}, (2, 2)),
        ({"ids": 9, "start": (5, 4), "blocks": (6, 5, 4)}, (40, 32)),
        ({"ids": 57, "emotions": 5, "start": (2, 3), "blocks": (4, 3)}, (8, 12)),
    ],
    ids=["1x1", "5x4", "2x3"],
)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("flip", [False, True], ids=["straight", "flipped"])
def test_graph_is_the_reference(saved, sizes, picture, seed, flip):
    model = saved(generator(**sizes, seed=seed))
    pictures = answers(model, flip)
    assert pictures.shape == (4, *picture, 3)
    np.testing.assert_allclose(pictures, reference(model, asked(model), flip), atol=TOLERANCE)


def test_people_and_emotions_are_seen_in_the_picture(saved):
    """Guards the comparisons here: two blank pictures would agree as well."""
    pictures = answers(saved(generator()))
    assert pictures.std() > 0.05
    assert min(np.abs(pictures[i] - pictures[j]).max() for i in range(4) for j in range(i)) > 0.01


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pictures(saved, layout):
    np.testing.assert_array_equal(answers(saved(generator(), layout)), answers(saved(generator())))


def test_order_of_layers_in_the_file_does_not_matter(saved):
    net = generator()
    expected = answers(saved(net))
    net.layers.reverse()
    np.testing.assert_array_equal(answers(saved(net)), expected)


@pytest.mark.parametrize(
    "how", [answers, lambda model, flip: reference(model, asked(model), flip)], ids=["graph", "numpy"]
)
def test_flipping_is_what_it_is_by_hand(saved, how):
    net = generator()
    straight, flipped = (how(saved(net), flip) for flip in (False, True))
    for layer in net.layers:
        if layer.kind == "Conv2D":
            layer.weights["kernel"] = layer.weights["kernel"][::-1, ::-1]
    np.testing.assert_array_equal(how(saved(net), False), flipped)
    assert np.abs(straight - flipped).max() > 0.01


def vary_bias(net: Network) -> None:
    for name in ("rgb", "mixed"):
        net[name].settings["use_bias"] = False
        del net[name].weights["bias"]


def vary_normalisation(net: Network) -> None:
    net["block0_norm"].settings.update(scale=False, axis=[3])
    del net["block0_norm"].weights["gamma"]
    net["block1_norm"].settings.update(center=False, axis=3)
    del net["block1_norm"].weights["beta"]


def vary_activation(net: Network) -> None:
    net["mixed"].settings["activation"] = "relu"
    net["rgb"].settings["activation"] = "linear"
    net.add("Activation", "tanned", "rgb", activation="tanh")
    net.output = "tanned"


def vary_kernels(net: Network) -> None:
    """Of even sizes: the larger half of the padding comes after."""
    net["rgb"].settings["kernel_size"] = [4, 2]
    net.give("rgb", kernel=(4, 2, 5, 3))


def vary_upsampling(net: Network) -> None:
    net["block0_up"].settings["size"] = [3, 1]


@pytest.mark.parametrize("layout", ["keras1", "keras2"])
@pytest.mark.parametrize("vary", [vary_bias, vary_normalisation, vary_activation, vary_kernels, vary_upsampling])
def test_variants_of_layers_are_the_reference(saved, vary, layout):
    net = generator()
    usual = answers(saved(net))
    vary(net)
    model = saved(net, layout)
    varied = answers(model)
    np.testing.assert_allclose(varied, reference(model, asked(model), flip_kernels=False), atol=TOLERANCE)
    assert varied.shape != usual.shape or np.abs(varied - usual).max() > 0.01


def test_zero_padding_comes_after_the_normalisation(saved):
    """By hand, at one corner: a shift that was folded into the next convolution would leak in from outside."""
    net = generator(start=(1, 1), blocks=(1,))
    for layer in net.layers:
        if layer.kind == "Conv2D":
            layer.weights["kernel"][:] = 0
            layer.weights["bias"][:] = 0
    net["block0_norm"].weights["beta"][:] = 1
    net["block0_norm"].weights["moving_mean"][:] = 0
    net["rgb"].weights["kernel"][:] = 0.5  # sums the 3 x 3 pixels around, of which 4 are inside
    expected = 1 / (1 + np.exp(-0.5 * 4))
    np.testing.assert_allclose(answers(saved(net)), expected, atol=1e-6)


# --- as it is served --------------------------------------------------------------------------------------------


def test_grey_levels_are_the_floats_rounded(saved):
    model = saved(generator())
    levels = run_onnx(build(model, flip_kernels=False), **asked(model))[0]
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, np.rint(answers(model) * 255))


def test_floats_beyond_the_range_are_cut_off(saved):
    net = generator()
    net["rgb"].settings["activation"] = "linear"
    net["rgb"].weights["kernel"] *= 5
    model = saved(net)
    floats = answers(model)
    assert floats.min() < -0.1
    assert floats.max() > 1.1
    levels = run_onnx(build(model, flip_kernels=False), **asked(model))[0]
    np.testing.assert_array_equal(levels, np.rint(np.clip(floats, 0, 1) * 255))


def test_picture_does_not_depend_on_the_batch(saved):
    model = saved(generator())
    graph = build(model, flip_kernels=False, as_float=True)
    alone = [run_onnx(graph, **{k: v[i : i + 1] for k, v in asked(model).items()})[0] for i in range(4)]
    np.testing.assert_allclose(np.concatenate(alone), answers(model), atol=1e-6)


def test_check_measures_the_difference_and_would_see_flipped_kernels(saved):
    model = saved(generator())
    parity = check(build(model, flip_kernels=False), model, flip_kernels=False)
    assert parity.value <= TOLERANCE < parity.tolerance
    with pytest.raises(ConversionError, match="grey levels from the reference"):
        check(build(model, flip_kernels=True), model, flip_kernels=False)


def test_overflowing_network_is_not_passed_as_equal(saved):
    net = generator(**SMALL)
    for layer in net.layers:
        if layer.kind == "Dense":
            layer.weights["kernel"] *= 1e30
    model = saved(net)
    with pytest.raises(ConversionError, match=r"grey levels|above the tolerance"):
        check(build(model, flip_kernels=False), model, flip_kernels=False).require("tiny")


# --- conversion -------------------------------------------------------------------------------------------------


def test_converted_file_says_how_it_is_used(tmp_path):
    (converted,) = convert(write(tmp_path / "tiny.h5", generator()), "tiny", Options())
    row = converted.serves
    assert isinstance(row, Generator)
    assert (row.name, row.model, row.latent, row.latent_shape) == ("tiny", "tiny", "identity", (6,))
    assert (row.image_size, row.fixed) == ((12, 8), {"orientation": (0.0, 1.0)})
    assert (row.choices["emotion"].default, tuple(row.choices["emotion"].values)) == ("neutral", EMOTIONS)
    assert row.choices["emotion"].values["neutral"] == (0, 0, 0, 0, 0, 1, 0, 0)


def test_emotions_of_another_number_have_numbers_for_names(tmp_path):
    (converted,) = convert(write(tmp_path / "tiny.h5", generator(emotions=3)), "tiny", Options())
    assert isinstance(converted.serves, Generator)
    choice = converted.serves.choices["emotion"]
    assert (choice.default, choice.values) == ("0", {"0": (1, 0, 0), "1": (0, 1, 0), "2": (0, 0, 1)})


def test_card_counts_what_a_picture_costs(tmp_path):
    (converted,) = convert(write(tmp_path / "tiny.h5", generator(start=(1, 1), blocks=(2,))), "tiny", Options())
    dense = (6 + 2 + 8) * 10 + 30 * 2
    convolutions = 2 * 2 * (25 * 2 * 2 + 9 * 2 * 2 + 9 * 2 * 3)
    assert converted.card["flops_per_image"] == 2 * (dense + convolutions)
    assert (converted.card["ids"], converted.card["layers"]) == (6, 21)
    assert (converted.card["keras_version"], converted.card["backend"]) == ("2.1.3", "tensorflow")


@pytest.mark.parametrize(
    ("backend", "flip", "hint"),
    [
        ("theano", False, "trained under Theano"),
        ("theano", True, None),
        ("tensorflow", False, None),
        (None, False, "did not record"),
    ],
)
def test_card_hints_at_kernels_that_may_be_flipped(tmp_path, backend, flip, hint):
    path = write(tmp_path / "tiny.h5", generator(**SMALL), "keras1")
    if backend:
        with h5py.File(path, "r+") as root:
            root.attrs["backend"] = backend
    (converted,) = convert(path, "tiny", Options(flip_kernels=flip))
    assert converted.card["flip_kernels"] == flip
    assert hint in converted.card["hint"] if hint else "hint" not in converted.card


@pytest.mark.parametrize("layout", LAYOUTS)
def test_file_is_published_whole(tmp_path, layout):
    path = write(tmp_path / "tiny.h5", generator(), layout)
    (published,) = convert_file("cnn", path, "tiny", tmp_path / "repo", Options())
    folder = tmp_path / "repo" / "tiny"
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} >= {
        "config.pbtxt",
        "1/model.onnx",
        "1/provenance.json",
    }
    provenance = check_model(tmp_path / "repo", "tiny")
    assert provenance["serves"]["generator"]["latent_shape"] == [6]
    assert (published.name, provenance["card"]["ids"]) == ("tiny", 6)
    onnx.checker.check_model(onnx.load(folder / "1" / "model.onnx"), full_check=True)


# --- what is refused --------------------------------------------------------------------------------------------


def unknown_layer(net: Network) -> None:
    net["mixed_leaky"].kind = "ELU"


def settings(name: str, **changed):
    """A network in which one layer has other settings."""

    def change(net: Network) -> None:
        net[name].settings.update(changed)

    return change


def weights(name: str, **shapes):
    """A network in which one layer has other weights."""

    def change(net: Network) -> None:
        net.give(name, **shapes)

    return change


def without_weights(net: Network) -> None:
    net["rgb"].weights.clear()


def joined_by_a_sum(net: Network) -> None:
    net["joined"].kind = "Add"


def picture_to_dense(net: Network) -> None:
    net["mixed"].inbound = ["folded"]
    net["folded"].inbound = ["of_identity_leaky"]
    net["folded"].settings["target_shape"] = [5, 2, 1]


def two_to_one(net: Network) -> None:
    net["rgb"].inbound = ["block1_norm", "block1_3_leaky"]


def other_input(net: Network) -> None:
    net["identity"].name = "person"
    net["of_identity"].inbound = ["person"]


def more_inputs(net: Network) -> None:
    net.add("InputLayer", "lighting", batch_input_shape=[None, 4])


def no_variance(net: Network) -> None:
    net["block0_norm"].weights["moving_variance"][1] = -0.001


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (unknown_layer, r"layer 'mixed_leaky' \(ELU\): is not supported"),
        (joined_by_a_sum, r"layer 'joined' \(Add\): is not supported"),
        (settings("rgb", activation="softmax"), "layer 'rgb' .*activation 'softmax' is not supported"),
        (settings("rgb", activation={"class_name": "x"}), "layer 'rgb' .*activation .* is not supported"),
        (settings("rgb", data_format="channels_first"), "layer 'rgb' .*data_format 'channels_first'"),
        (settings("block0_up", data_format="channels_first"), "layer 'block0_up' .*'channels_first'"),
        (settings("block0_up", interpolation="bilinear"), "layer 'block0_up' .*'bilinear'"),
        (settings("block0_up", size=[0, 2]), r"layer 'block0_up' .*its size is \[0, 2\]"),
        (settings("block0_up", size=[2, 2, 2]), "layer 'block0_up' .*2 positive whole numbers"),
        (settings("block0_up", size=[9000, 9000]), "layer 'block0_up' .*values a picture; at most"),
        (settings("block0_pool", pool_size=[2, 2]), r"layer 'block0_pool' .*a window of \[2, 2\]"),
        (settings("block0_pool", strides=[2, 2]), "layer 'block0_pool' .*a window"),
        (settings("rgb", padding="valid"), "layer 'rgb' .*padding 'valid' is not supported"),
        (settings("rgb", strides=[2, 2]), "layer 'rgb' .*strides"),
        (settings("rgb", dilation_rate=[2, 2]), "layer 'rgb' .*dilation_rate"),
        (settings("rgb", groups=2), "layer 'rgb' .*groups"),
        (settings("rgb", filters=None), "layer 'rgb' .*its filters is None"),
        (settings("rgb", filters=4), "layer 'rgb' .*its weights have the shapes"),
        (settings("mixed", units=-1), "layer 'mixed' .*its units is -1"),
        (settings("mixed_leaky", alpha="steep"), "layer 'mixed_leaky' .*its alpha is 'steep'"),
        (settings("mixed_leaky", alpha=float("nan")), "layer 'mixed_leaky' .*its alpha is nan"),
        (settings("block0_norm", axis=1), "layer 'block0_norm' .*axis 1 is not supported"),
        (settings("block0_norm", epsilon=None), "layer 'block0_norm' .*its epsilon is None"),
        (no_variance, "layer 'block0_norm' .*variance is not above zero"),
        (settings("folded", target_shape=[3, 2, 4]), "layer 'folded' .*do not make 3 x 2 x 4"),
        (settings("joined", axis=0), "layer 'joined' .*axis 0"),
        (weights("rgb", kernel=(3, 3, 3, 2)), r"layer 'rgb' .*\(3, 3, 3, 2\).*ask for \[\(3, 3, 2, 3\), \(3,\)\]"),
        (weights("mixed", kernel=(31, 18)), "layer 'mixed' .*its weights have the shapes"),
        (weights("block0_norm", gamma=(4,)), "layer 'block0_norm' .*its weights have the shapes"),
        (without_weights, r"layer 'rgb' .*its weights have the shapes \[\]"),
        (picture_to_dense, r"layer 'mixed' .*cannot take \[\(1, 5, 2\)\]"),
        (two_to_one, "layer 'rgb' .*cannot take"),
        (other_input, "the inputs are person, orientation, emotion"),
        (more_inputs, "the inputs are identity, orientation, emotion, lighting"),
    ],
)
def test_network_that_is_not_this_generator_is_refused_saying_why(saved, change, says):
    net = generator(**SMALL)
    change(net)
    with pytest.raises(ConversionError, match=says):
        build(saved(net), flip_kernels=False)


def test_orientation_that_is_no_sine_and_cosine_is_refused(saved):
    with pytest.raises(ConversionError, match="orientation has 5 values; a sine and a cosine are needed"):
        build(saved(generator(orientation=5)), flip_kernels=False)


def test_more_people_than_a_latent_may_have_are_refused(saved):
    with pytest.raises(ConversionError, match="none may be above 4096"):
        build(saved(generator(ids=4097)), flip_kernels=False)


@pytest.mark.parametrize("output", ["block1_norm", "mixed"], ids=["2 channels", "a vector"])
def test_output_that_is_no_picture_is_refused(saved, output):
    model = replace(saved(generator(**SMALL)), output=output)
    with pytest.raises(ConversionError, match=f"layer '{output}' gives .*a picture of 3 channels"):
        build(model, flip_kernels=False)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def poison(path: Path) -> None:
    with h5py.File(path, "r+") as root:
        root["model_weights/rgb/rgb/bias:0"][0] = np.nan


def describe_as_nothing(path: Path) -> None:
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {}})


@pytest.mark.parametrize("damage", [truncate, poison, describe_as_nothing])
def test_bad_file_leaves_nothing(tmp_path, damage):
    path = write(tmp_path / "tiny.h5", generator(**SMALL))
    damage(path)
    with pytest.raises(ConversionError, match=r"tiny\.h5"):
        convert_file("cnn", path, "tiny", tmp_path / "repo", Options())
    assert not list((tmp_path / "repo").glob("*"))


def test_wrong_conversion_leaves_nothing(tmp_path, monkeypatch):
    """Should the graph ever differ from the reference, it is not published."""
    monkeypatch.setattr(deconvfaces, "reference", lambda *given: reference(*given) + 1e-3)
    path = write(tmp_path / "tiny.h5", generator(**SMALL))
    with pytest.raises(ConversionError, match="above the tolerance"):
        convert_file("cnn", path, "tiny", tmp_path / "repo", Options())
    assert not list((tmp_path / "repo").glob("*"))

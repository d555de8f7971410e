"""The reader of Keras's files gives what is in them, in every layout, or says why not with our own error."""

import json
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from conversion.deconvfaces import keras_h5
from conversion.deconvfaces.keras_h5 import KerasModel, read_model
from services.errors import ConversionError
from tests.unit.keras_files import LAYOUTS, VERSIONS, Network, described, generator, write

GROUP = "model_weights/rgb"
KERNEL = f"{GROUP}/rgb/kernel:0"


@pytest.fixture
def net() -> Network:
    return generator(blocks=(3, 2))


@pytest.fixture
def path(tmp_path, net) -> Path:
    """A whole file of Keras 2; tests damage it."""
    return write(tmp_path / "tiny.h5", net)


@pytest.fixture
def described_as(path, net):
    """The same file with another description: `change` gets it as Keras 2 writes it, and may answer with another."""

    def write_config(change) -> Path:
        config = described(net, "keras2")
        changed = change(config)
        with h5py.File(path, "r+") as root:
            root.attrs["model_config"] = changed if isinstance(changed, str) else json.dumps(config)
        return path

    return write_config


def replace(path: Path, name: str, **dataset) -> Path:
    """Puts another dataset in the place of one."""
    with h5py.File(path, "r+") as root:
        del root[name]
        root.create_dataset(name, **dataset)
    return path


def weights_of(model: KerasModel) -> dict[str, list[np.ndarray]]:
    return {layer.name: list(layer.weights) for layer in model.layers}


def refused(path: Path, says: str) -> None:
    """One error, ours, that names the file and says what is wrong."""
    with pytest.raises(ConversionError, match=says) as error:
        read_model(path)
    assert path.name in str(error.value)


# --- what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stored", [{"fixed": True}, {"fixed": False}, {"parts": 4}], ids=["bytes", "text", "in parts"])
def test_every_layer_and_weight_is_read(tmp_path, net, layout, stored):
    model = read_model(write(tmp_path / "tiny.h5", net, layout, **stored))
    assert {layer.name: (layer.kind, list(layer.inbound)) for layer in model.layers} == {
        layer.name: (layer.kind, layer.inbound) for layer in net.layers
    }
    for layer in model.layers:
        for have, want in zip(layer.weights, net[layer.name].weights.values(), strict=True):
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_output_and_origin_are_read(tmp_path, net, layout):
    model = read_model(write(tmp_path / "tiny.h5", net, layout))
    assert model.inputs == {"identity": 6, "orientation": 2, "emotion": 8}
    assert (model.output, model.keras_version) == ("rgb", VERSIONS[layout])
    assert model.backend == ("" if layout == "keras1" else "tensorflow")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_settings_come_in_the_words_of_keras_2(tmp_path, net, layout):
    layers = {layer.name: layer.config for layer in read_model(write(tmp_path / "tiny.h5", net, layout)).layers}
    wanted = {"filters": 3, "kernel_size": [3, 3], "padding": "same", "data_format": "channels_last", "use_bias": True}
    assert wanted.items() <= layers["rgb"].items()
    assert (layers["mixed"]["units"], layers["mixed_leaky"]["alpha"], layers["joined"]["axis"]) == (18, 0.3, -1)


def test_layers_come_after_those_they_read_whatever_their_order_in_the_file(tmp_path, net):
    net.layers.reverse()
    order = [layer.name for layer in read_model(write(tmp_path / "tiny.h5", net)).layers]
    for layer in net.layers:
        assert all(order.index(source) < order.index(layer.name) for source in layer.inbound)


@pytest.mark.parametrize(
    "storage",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": True},
        {"chunks": True, "fletcher32": True},
        {"dtype": "f8"},
        {"dtype": ">f4"},
    ],
    ids=lambda storage: " ".join(map(str, storage.values())),
)
def test_packed_and_wider_weights_are_read(tmp_path, net, storage):
    model = read_model(write(tmp_path / "tiny.h5", net, **storage))
    np.testing.assert_array_equal(weights_of(model)["rgb"][0], net["rgb"].weights["kernel"])
    assert weights_of(model)["rgb"][0].dtype == np.float32


def test_rows_of_zeros_may_shrink_to_almost_nothing(path):
    replace(path, f"{GROUP}/rgb/bias:0", data=np.zeros(4000, "f4"), compression="gzip")
    assert weights_of(read_model(path))["rgb"][1].shape == (4000,)


# --- files of other kinds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"not a network", bytes(5000)], ids=["empty", "text", "zeros"])
def test_file_that_is_not_hdf5_is_refused(tmp_path, data):
    (tmp_path / "tiny.h5").write_bytes(data)
    refused(tmp_path / "tiny.h5", "not an HDF5 file")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "truncated")


def test_other_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "tiny.h5", "w") as root:
        root["temperatures"] = np.arange(10.0)
    refused(tmp_path / "tiny.h5", "no model_config: it holds no Keras model")


def test_file_of_weights_only_is_refused_saying_how_to_save_the_model(path):
    with h5py.File(path, "r+") as root:
        del root.attrs["model_config"]
        root.attrs["layer_names"] = root["model_weights"].attrs["layer_names"]
    refused(path, r"holds only weights; save the whole model with model\.save")


def test_file_without_weights_is_refused(path):
    with h5py.File(path, "r+") as root:
        del root["model_weights"]
    refused(path, "'model_weights' is named, but not there")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x01"], ids=["cut off", "deep", "control character"])
def test_description_that_is_not_json_is_refused(path, text):
    with h5py.File(path, "r+") as root:
        del root.attrs["model_config"]
        root.attrs.create("model_config", text, dtype=h5py.string_dtype())
    refused(path, "model_config is not JSON")


@pytest.mark.parametrize("text", ['{"class_name": "Sequential", "config": []}', "[]", "7", "null"])
def test_description_of_something_else_is_refused(described_as, text):
    refused(described_as(lambda config: text), "only functional models")


def cut(config, *keys):
    """Removes one entry, deep inside."""
    for key in keys[:-1]:
        config = config[key]
    del config[keys[-1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: cut(c, "config", "layers"),
        lambda c: cut(c, "config", "output_layers"),
        lambda c: cut(c, "config", "layers", 4, "inbound_nodes"),
        lambda c: cut(c, "config", "layers", 4, "class_name"),
        lambda c: cut(c, "config", "layers", 4, "name"),
        lambda c: c["config"].update(layers=[1, 2]),
        lambda c: c["config"]["layers"][4].update(inbound_nodes=[7]),
        lambda c: c["config"]["layers"][4].update(inbound_nodes=[{"args": 3}]),
        lambda c: c["config"]["layers"][4].update(inbound_nodes=[[[]]]),
        lambda c: c["config"]["layers"][4].update(name=["a"]),
    ],
    ids=["layers", "outputs", "nodes", "class", "name", "no dicts", "node", "args", "no source", "name of a list"],
)
def test_malformed_description_is_refused(described_as, change):
    refused(described_as(change), "model")


def set_sources(*names):
    return lambda c: c["config"]["layers"][4].update(inbound_nodes=[[[name, 0, 0, {}] for name in names]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_sources("nobody"), "reads 'nobody', which is not there"),
        (set_sources("rgb"), "in a circle: .*rgb"),
        (lambda c: c["config"]["layers"].append(c["config"]["layers"][5]), "two layers are called"),
        (lambda c: c["config"]["layers"][4]["inbound_nodes"].append([]), "is used 2 times"),
        (lambda c: c["config"]["layers"][5]["inbound_nodes"][0][0].__setitem__(1, 1), "a shared layer"),
        (lambda c: c["config"].update(output_layers=[["rgb", 0, 0], ["mixed", 0, 0]]), "one is needed"),
        (lambda c: c["config"].update(output_layers=[["nobody", 0, 0]]), "must be a layer"),
        (lambda c: c["config"].update(layers=[c["config"]["layers"][0]] * 1001), "1001 layers; at most 1000"),
        (lambda c: c["config"]["layers"][0]["config"].update(batch_input_shape=[None, None]), "fixed length"),
        (lambda c: c["config"]["layers"][0]["config"].update(batch_input_shape=[None, 4, 4, 3]), "fixed length"),
    ],
    ids=["dangling", "circle", "twice", "shared", "call", "outputs", "no output", "many", "free", "picture"],
)
def test_layers_that_do_not_add_up_are_refused_saying_why(described_as, change, says):
    refused(described_as(change), says)


# --- weights that are not what they should be -------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_weight_that_is_no_finite_float_is_refused(path, value):
    replace(path, KERNEL, data=np.full((3, 3, 2, 3), value))
    refused(path, "'rgb/rgb/kernel:0' has values that are not finite")


@pytest.mark.parametrize("dtype", ["i4", "S4", "c8", [("a", "f4")]], ids=["integers", "text", "complex", "records"])
def test_weight_of_another_type_is_refused(path, dtype):
    replace(path, KERNEL, data=np.zeros((3, 3, 2, 3), dtype))
    refused(path, "not made of single or double precision")


@pytest.mark.parametrize("missing", [KERNEL, GROUP], ids=["dataset", "group"])
def test_weight_that_is_named_but_missing_is_refused(path, missing):
    with h5py.File(path, "r+") as root:
        del root[missing]
    refused(path, "is named, but not there")


def test_group_in_the_place_of_a_weight_is_refused(path):
    with h5py.File(path, "r+") as root:
        del root[KERNEL]
        root.create_group(KERNEL)
    refused(path, "is not a dataset")


@pytest.mark.parametrize("key", ["layer_names", "model_config"])
def test_names_that_are_not_text_are_refused(path, key):
    with h5py.File(path, "r+") as root:
        (root if key == "model_config" else root["model_weights"]).attrs[key] = np.arange(1.0)
    refused(path, f"{key} is not text")


def test_more_names_than_layers_are_ever_read_are_refused(path):
    with h5py.File(path, "r+") as root:
        root["model_weights"].attrs["layer_names"] = np.full(1001, b"a")
    refused(path, "layer_names claims 1,001 values; at most 1,000")


# --- hostile files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [KERNEL, GROUP, "model_weights"], ids=["dataset", "layer", "all"])
@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/"), h5py.SoftLink("/")], ids=["external", "soft"])
def test_link_is_not_followed(path, name, link, tmp_path):
    write(tmp_path / "other.h5", generator())
    with h5py.File(path, "r+") as root:
        del root[name]
        root[name] = link
    refused(path, "soft or external link")


def test_weight_stored_in_another_file_is_not_read(path, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 54))
    external = [(str(tmp_path / "secret.bin"), 0, 4 * 54)]
    replace(path, KERNEL, shape=(3, 3, 2, 3), dtype="f4", external=external)
    refused(path, "lies in other files")


def test_virtual_weight_is_not_read(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones((3, 3, 2, 3), "f4")
    layout = h5py.VirtualLayout((3, 3, 2, 3), "f4")
    layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (3, 3, 2, 3))
    with h5py.File(path, "r+") as root:
        del root[KERNEL]
        root.create_virtual_dataset(KERNEL, layout)
    refused(path, "lies in other files")


@pytest.mark.parametrize(
    "storage",
    [{}, {"chunks": (1 << 20,)}, {"chunks": (1 << 20,), "compression": "gzip"}, {"chunks": (1 << 29,)}],
    ids=["whole", "chunked", "packed", "one chunk"],
)
def test_claim_of_gigabytes_in_a_small_file_is_refused_at_once(path, storage):
    replace(path, KERNEL, shape=(800_000_000,), dtype="f4", **storage)
    before = time.perf_counter()
    refused(path, r"'rgb/rgb/kernel:0' claims [34],\d{3},\d{3},\d{3} bytes, but the file .* holds 0")
    assert time.perf_counter() - before < 1
    assert path.stat().st_size < 100_000


def test_chunk_larger_than_its_weight_counts_as_what_it_is(path):
    """HDF5 unpacks whole chunks, however little of one is used."""
    replace(path, KERNEL, data=np.zeros(54, "f4"), maxshape=(None,), chunks=(1 << 24,), compression="gzip")
    refused(path, "claims 67,108,864 bytes")


def test_weight_that_unpacks_to_far_more_than_it_holds_is_refused(path):
    replace(path, KERNEL, data=np.zeros(1 << 20, "f4"), compression="gzip")
    refused(path, "claims 4,194,304 bytes")


@pytest.mark.parametrize("size", [0, 100, 4 * 54 - 1, 4 * 54 + 5, 50_000_000])
def test_chunk_that_unpacks_to_another_size_is_refused(path, size):
    replace(path, KERNEL, shape=(54,), dtype="f4", chunks=(54,), compression="gzip")
    with h5py.File(path, "r+") as root:
        root[KERNEL].id.write_direct_chunk((0,), zlib.compress(bytes(size)))
    refused(path, "unpacks to .* where 216 belong")


def test_chunk_that_is_not_packed_as_said_is_refused(path):
    replace(path, KERNEL, shape=(54,), dtype="f4", chunks=(54,), compression="gzip")
    with h5py.File(path, "r+") as root:
        root[KERNEL].id.write_direct_chunk((0,), bytes(range(216)))
    refused(path, "cannot be unpacked")


@pytest.mark.parametrize("packing", [{"compression": "lzf"}, {"scaleoffset": 3}, {"chunks": (1,)}])
def test_other_packing_is_refused(path, packing):
    replace(path, KERNEL, data=np.ones(20_000, "f4"), **packing)
    refused(path, "packed in a way that is not read")


def test_one_weight_named_often_does_not_count_often(path):
    """A small file could otherwise fill the memory with copies."""
    with h5py.File(path, "r+") as root:
        root[KERNEL + "big"] = np.ones(20_000, "f4")
        for i in range(8):
            root[f"{GROUP}/copy{i}"] = root[KERNEL + "big"]
        root[GROUP].attrs["weight_names"] = [f"copy{i}" for i in range(8)]
    refused(path, "'rgb/copy[0-9]' claims 80,000 bytes, but the file")


def test_weights_above_the_limit_are_refused(path, monkeypatch):
    monkeypatch.setattr(keras_h5, "MAX_WEIGHT_BYTES", 2000)
    refused(path, "its weights claim more than")


def test_changed_bytes_are_read_or_refused(path):
    """A damaged file may still be a model, but nothing else than a model or our error may come of it."""
    whole, rng = path.read_bytes(), np.random.default_rng(11)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert isinstance(read_model(path), KerasModel)
        except ConversionError as error:
            assert path.name in str(error)  # noqa: PT017 -- it need not be raised

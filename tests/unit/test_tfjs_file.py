"""A TensorFlow.js model as it lies on disk: constants come out as they went in, damaged files are one error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.tfjs import convert as tfjs
from conversion.tfjs.file import TfjsModel, read_model
from services.errors import ConversionError
from tests.unit.tfjs_files import Network


def added(network: Network, constant: str) -> str:
    return network.op("Add", network.picture, constant)


def constant_of(network: Network, name: str, folder: Path) -> np.ndarray:
    """A constant as it is read, of a network that uses it."""
    output = added(network, name)
    return read_model(network.write(folder), output).constants[name]


# --- constants --------------------------------------------------------------------------------------------------


def test_constant_comes_out_as_it_went_in(tmp_path):
    network = Network()
    value = network.rng.normal(size=(3, 2)).astype(np.float32)
    np.testing.assert_array_equal(constant_of(network, network.const(value), tmp_path), value)


@pytest.mark.parametrize(("stored", "highest"), [("uint8", 255), ("uint16", 65535)])
def test_quantised_constant_is_scaled_and_shifted(tmp_path, stored, highest):
    network = Network()
    name = network.const([0, 1, highest], stored=stored, scale=0.25, min=-3.5)
    found = constant_of(network, name, tmp_path)
    assert found.dtype == np.float32
    assert found.tolist() == [-3.5, -3.25, 0.25 * highest - 3.5]


def test_quantised_integers_are_rounded(tmp_path):
    network = Network()
    found = constant_of(network, network.const([0, 1, 2], "int32", "uint8", scale=1.5, min=-4), tmp_path)
    assert found.dtype == np.int32
    assert found.tolist() == [-4, -2, -1]  # -2.5 is rounded up, as JavaScript does


def test_half_precision_is_read_as_it_is(tmp_path):
    network = Network()
    found = constant_of(network, network.const([0.1, -65504, 6e-8], stored="float16"), tmp_path)
    np.testing.assert_array_equal(found, np.array([0.1, -65504, 6e-8], np.float16).astype(np.float32))


def test_constants_lie_one_after_the_other(tmp_path):
    network = Network()
    network.const([7], stored="uint8", scale=1.0, min=0.0)  # what follows starts at an odd byte
    assert constant_of(network, network.const([1.5, 2.5]), tmp_path).tolist() == [1.5, 2.5]


def test_shards_of_a_group_are_joined(tmp_path):
    network = Network()
    output = added(network, network.const([1.0, 2.0, 3.0]))
    path = network.write(tmp_path)
    document = network.document()
    document["weightsManifest"][0]["paths"] = ["a.bin", "b.bin"]
    path.write_text(json.dumps(document))
    (tmp_path / "a.bin").write_bytes(network.data[:5])  # within a value
    (tmp_path / "b.bin").write_bytes(network.data[5:])
    assert next(iter(read_model(path, output).constants.values())).tolist() == [1, 2, 3]


# --- topology ---------------------------------------------------------------------------------------------------


def test_model_is_found_in_its_folder(tmp_path):
    network = Network()
    output = network.op("Relu", network.picture)
    network.write(tmp_path)
    model = read_model(tmp_path, output)
    assert (model.input, model.side, model.output, len(model.nodes)) == (network.picture, 7, output, 1)


def test_nodes_come_after_those_they_take_from(tmp_path):
    network = Network()
    last = network.op("Relu", network.op("Abs", network.op("Identity", network.picture)))
    network.nodes.reverse()
    assert [node.op for node in read_model(network.write(tmp_path), last).nodes] == ["Identity", "Abs", "Relu"]


def test_what_the_output_does_not_need_is_left_out(tmp_path):
    network = Network()
    output = network.op("Relu", network.picture)
    network.op("DecodeJpeg", output, network.const([1.0]))
    model = read_model(network.write(tmp_path), output)
    assert ([node.op for node in model.nodes], model.constants) == (["Relu"], {})


def test_first_output_may_be_named_and_control_inputs_say_nothing(tmp_path):
    network = Network()
    output = network.op("Relu", f"{network.picture}:0", "^nowhere")
    assert read_model(network.write(tmp_path), output).nodes[0].inputs == (network.picture,)


# --- damaged files ----------------------------------------------------------------------------------------------


def written(folder: Path, **changed: Any) -> Path:
    """relu(picture + constant) with members of its JSON replaced."""
    network = Network()
    network.op("Relu", added(network, network.const([1.0, 2.0, 3.0])), name="out")
    path = network.write(folder)
    path.write_text(json.dumps({**network.document(), **changed}))
    return path


def manifest(paths: list[str] | None = None, **changed: Any) -> list[dict[str, Any]]:
    """The manifest of `written`, fields of its one weight replaced."""
    weight = {"name": "Const_1", "shape": [3], "dtype": "float32", **changed}
    return [{"paths": paths or ["net.bin"], "weights": [weight]}]


def read(path: Path) -> TfjsModel:
    return read_model(path, "out")


def test_model_of_these_tests_is_read(tmp_path):
    assert len(read(written(tmp_path)).nodes) == 2


MANIFESTS = {
    "shard is missing": (manifest(["other.bin"]), "other.bin: No such file or directory"),
    "shard is elsewhere": (manifest(["../net.bin"]), r"weightsManifest\.0\.paths\.0"),
    "shard is a folder": (manifest(["."]), r"weightsManifest\.0\.paths\.0"),
    "weight is longer than the shard": (manifest(shape=[4]), "12 bytes, the weights need 16"),
    "weight is shorter than the shard": (manifest(shape=[2]), "12 bytes, the weights need 8"),
    "weight of any size": (manifest(shape=[1 << 40, 1 << 40]), "12 bytes, the weights need"),
    "weight is text": (manifest(dtype="string"), "dtype"),
    "weight of no length": (manifest(shape=[-3]), r"shape\.0"),
    "weight has another name": (manifest(name="other"), "no weights are stored for Const_1"),
    "quantised to one bit": (manifest(quantization={"dtype": "uint1"}), r"quantization\.dtype"),
    "scale is not finite": (manifest(quantization={"dtype": "uint8", "scale": float("inf")}), "not finite|scale"),
    "no groups": ([], "no weights are stored for Const_1"),
    "two of one name": (manifest() * 2, "two weights are called Const_1"),
}


@pytest.mark.parametrize(("groups", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifest_that_does_not_add_up_is_refused(tmp_path, groups, message):
    with pytest.raises(ConversionError, match=message):
        read(written(tmp_path, weightsManifest=groups))


def test_truncated_shard_is_refused_naming_it(tmp_path):
    path = written(tmp_path)
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.bin").read_bytes()[:-1])
    with pytest.raises(ConversionError, match=r"net\.bin: 11 bytes, the weights need 12"):
        read(path)


def test_weight_that_is_not_finite_is_refused(tmp_path):
    path = written(tmp_path)
    (tmp_path / "net.bin").write_bytes(np.array([1, np.nan, 3], "<f4").tobytes())
    with pytest.raises(ConversionError, match="Const_1 is not finite"):
        read(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x01\x02", b"[]", b'{"format": "layers-model"}', b'{"format": "graph-model"}', b"[" * 100_000],
    ids=["empty", "binary", "a list", "a Keras model", "no topology", "deeply nested"],
)
def test_file_that_is_no_graph_model_is_refused(tmp_path, data):
    path = written(tmp_path)
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=r"net\.json is no TensorFlow\.js graph model"):
        read(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path, share):
    path = written(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ConversionError, match=r"net\.json is no TensorFlow\.js graph model"):
        read(path)


def test_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"net\.json cannot be read"):
        read(tmp_path / "net.json")


@pytest.mark.parametrize("count", [0, 2])
def test_folder_without_one_json_is_refused(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.json").write_text("{}")
    with pytest.raises(ConversionError, match=rf"holds {count} \.json files"):
        read(tmp_path)


def picture(*sizes: int) -> list[dict[str, Any]]:
    """A topology that gives its input back."""
    shape = {"shape": {"dim": [{"size": str(size)} for size in sizes]}}
    return [
        {"name": "in", "op": "Placeholder", "attr": {"shape": shape}},
        {"name": "out", "op": "Identity", "input": ["in"]},
    ]


def chain(*edges: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "op": "Relu", "input": [source]} for name, source in edges]


TOPOLOGIES = {
    "nothing": ([], "modelTopology.node"),
    "no output of that name": (chain(("in", "in")), "there is no node out"),
    "a source is missing": (chain(("out", "nowhere")), "out takes nowhere, which is not there"),
    "a loop": (chain(("out", "a"), ("a", "b"), ("b", "a")), "depends on itself"),
    "itself": (chain(("out", "out")), "depends on itself"),
    "two nodes of one name": (chain(("out", "a"), ("out", "b")), "two nodes are called out"),
    "second output": ([*picture(-1, 7, 7, 3)[:1], *chain(("out", "in:1"))], "out takes output 1 of in"),
    "no input": ([{"name": "out", "op": "Const"}], "out has 0 inputs"),
    "grey": (picture(-1, 7, 7, 1), r"\[-1, 7, 7, 1\], not a square picture"),
    "not square": (picture(-1, 7, 8, 3), "not a square picture"),
    "free size": (picture(-1, -1, -1, 3), "not a square picture"),
    "of any size": (picture(-1, 1 << 40, 1 << 40, 3), "not a square picture"),
    "shape is not numbers": (
        [{**picture(-1)[0], "attr": {"shape": {"shape": {"dim": [{"size": "x"}]}}}}, *chain(("out", "in"))],
        "in: its shape cannot be read",
    ),
}


@pytest.mark.parametrize(("nodes", "message"), TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_topology_that_does_not_add_up_is_refused(tmp_path, nodes, message):
    with pytest.raises(ConversionError, match=message):
        read(written(tmp_path, modelTopology={"node": nodes}))


def test_long_chain_is_read(tmp_path):
    """As deep as a file may be: no recursion."""
    nodes = chain(*((f"n{i}", f"n{i - 1}" if i else "in") for i in range(15_000)), ("out", "n14999"))
    assert len(read(written(tmp_path, modelTopology={"node": [*picture(-1, 7, 7, 3)[:1], *nodes]})).nodes) == 15_001


# --- recognisers ------------------------------------------------------------------------------------------------


def test_network_that_is_no_known_recogniser_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="not known here; known are mobileface, faceres"):
        tfjs.read(written(tmp_path))


def test_recogniser_of_another_size_is_refused(tmp_path):
    network = Network()
    network.op("Relu", network.picture, name="batchnorm0/add_1")
    with pytest.raises(ConversionError, match="takes 7 pixels, mobileface 112"):
        tfjs.read(network.write(tmp_path))


def test_recogniser_of_another_length_is_refused(tmp_path):
    network = Network(side=112)
    axes = network.const([1, 2], "int32")
    network.op("Mean", network.picture, axes, name="batchnorm0/add_1")
    recogniser, model = tfjs.read(network.write(tmp_path))
    with pytest.raises(ConversionError, match=r"mine: its embedding has shape \[3\], not \[256\]"):
        tfjs.build(recogniser, model, "mine")

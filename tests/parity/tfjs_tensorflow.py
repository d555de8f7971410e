"""Runs a TensorFlow.js graph model in TensorFlow: its topology is a GraphDef written as JSON, and becomes one again.

Reads the files on its own, so that it judges the project's reader as well.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
json_format = pytest.importorskip("google.protobuf.json_format")
v1 = tf.compat.v1
PLAIN = {  # operations that only TensorFlow.js has, or whose kernels TensorFlow has for fused biases only
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}


def run(path: Path, output: str, pictures: np.ndarray) -> np.ndarray:
    """What TensorFlow gives for `pictures float [N, side, side, 3]`."""
    document = json.loads(path.read_text())
    nodes = document["modelTopology"]["node"]
    graph_def = v1.GraphDef()
    json_format.ParseDict({"node": [n for node in nodes for n in _plain(node)]}, graph_def, ignore_unknown_fields=True)
    constants = _constants(document["weightsManifest"], path)
    for node in graph_def.node:
        node.device = ""
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(constants[node.name]))
    (entry,) = (node["name"] for node in nodes if node["op"] == "Placeholder")
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            return session.run(f"{output}:0", {f"{entry}:0": pictures.astype(np.float32)})


def _plain(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node as nodes that TensorFlow has, the last one with its name."""
    kind, name, inputs = node["op"], node["name"], node.get("input", [])
    attr = {
        key: value for key, value in node.get("attr", {}).items() if key not in ("fused_ops", "num_args", "epsilon")
    }
    real = {"T": {"type": "DT_FLOAT"}}
    if kind in PLAIN:
        fused = json_format.ParseDict(node["attr"]["fused_ops"], tf.compat.v1.AttrValue()).list.s
        steps = [(PLAIN[kind], inputs[:2], attr), *((step.decode(), [], real) for step in fused)]
        steps[1][1].extend(inputs[2:])
        for number, (op, more, attributes) in enumerate(steps):
            before = [f"{name}/{number - 1}"] if number else []
            own = name if number == len(steps) - 1 else f"{name}/{number}"
            yield {"name": own, "op": op, "input": before + more, "attr": attributes}
    elif kind == "Prelu":  # relu(x) + slope (x - relu(x))
        x, slope = inputs
        yield {"name": f"{name}/0", "op": "Relu", "input": [x], "attr": real}
        yield {"name": f"{name}/1", "op": "Sub", "input": [x, f"{name}/0"], "attr": real}
        yield {"name": f"{name}/2", "op": "Mul", "input": [slope, f"{name}/1"], "attr": real}
        yield {"name": name, "op": "AddV2", "input": [f"{name}/0", f"{name}/2"], "attr": real}
    else:
        yield {**node, "attr": attr}


def _constants(groups: list[dict[str, Any]], path: Path) -> dict[str, np.ndarray]:
    found = {}
    for group in groups:
        data = b"".join(path.with_name(name).read_bytes() for name in group["paths"])
        for weight in group["weights"]:
            kept = weight.get("quantization", {})
            stored = np.dtype(kept.get("dtype", weight["dtype"]))
            count = int(np.prod(weight["shape"], dtype=int))
            value = np.frombuffer(data[: count * stored.itemsize], stored).reshape(weight["shape"])
            if "scale" in kept:
                value = value * kept["scale"] + kept["min"]
            found[weight["name"]] = value.astype(weight["dtype"])
            data = data[count * stored.itemsize :]
    return found

"""Writes small TensorFlow.js graph models, as its converter does: a JSON file, and weights in shards beside it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 7


def attribute(value: Any) -> dict[str, Any]:
    """A value as GraphDef's JSON has it: integers as text, text in base64."""
    if isinstance(value, dict):
        return value
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, str):
        return {"s": encoded(value)}
    key, how = ("s", encoded) if value and isinstance(value[0], str) else ("i", str)
    return {"list": {key: [how(v) for v in value]}}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Network:
    """Grows a topology node by node; tests change `nodes` and `manifest` before they are written."""

    def __init__(self, side: int = SIDE, seed: int = 0, channels: int = 3):
        self.rng = np.random.default_rng(seed)
        dims = [{"size": str(size)} for size in (-1, side, side, channels)]
        self.nodes: list[dict[str, Any]] = []
        self.manifest: list[dict[str, Any]] = []
        self.data = b""
        self.picture = self.node("Placeholder", dtype={"type": "DT_FLOAT"}, shape={"shape": {"dim": dims}})

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{op.strip('_')}_{len(self.nodes)}"
        attr = {key: attribute(value) for key, value in attributes.items()}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attr})
        return name

    def op(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """An operation on floats."""
        return self.node(op, *inputs, name=name, T={"type": "DT_FLOAT"}, **attributes)

    def const(self, value: Any, dtype: str = "float32", stored: str = "", **quantisation: float) -> str:
        """A constant; `stored` and scale, min say how it is kept, if not as it is."""
        stored_value = np.asarray(value, stored or dtype)
        name = self.node("Const", dtype={"type": {"float32": "DT_FLOAT", "int32": "DT_INT32"}[dtype]})
        self.manifest.append({"name": name, "shape": list(stored_value.shape), "dtype": dtype})
        if stored:
            self.manifest[-1]["quantization"] = {"dtype": stored, "original_dtype": dtype, **quantisation}
        self.data += stored_value.astype(stored_value.dtype.newbyteorder("<")).tobytes()
        return name

    def weights(self, *shape: int) -> str:
        """A random constant."""
        return self.const(self.rng.normal(size=shape))

    def document(self) -> dict[str, Any]:
        return {
            "format": "graph-model",
            "generatedBy": "a test",
            "modelTopology": {"node": self.nodes, "library": {}, "versions": {}},
            "weightsManifest": [{"paths": ["net.bin"], "weights": self.manifest}],
        }

    def write(self, folder: Path) -> Path:
        """Writes `net.json` and `net.bin`; returns the former."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "net.bin").write_bytes(self.data)
        (folder / "net.json").write_text(json.dumps(self.document()))
        return folder / "net.json"


def _window(op: str, kernel: tuple[int, ...], stride: int, padding: str, *fused: str) -> Callable[[Network], str]:
    """A convolution of the picture, of those that know `fused` one with a bias."""

    def grow(n: Network) -> str:
        more = [n.weights(kernel[3] * (kernel[2] if "Depthwise" in op else 1))] if "BiasAdd" in fused else []
        drawn = {"fused_ops": list(fused)} if fused else {}
        strides = [1, stride, stride, 1]
        return n.op(op, n.picture, n.weights(*kernel), *more, strides=strides, padding=padding, **drawn)

    return grow


def _of_features(op: str, *shapes: tuple[int, ...], **attributes: Any) -> Callable[[Network], str]:
    """An operation on the mean colour."""
    return lambda n: n.op(op, means(n), *(n.weights(*shape) for shape in shapes), **attributes)


def means(n: Network, keep_dims: bool = False) -> str:
    """The mean colour: three features, or a picture of one pixel."""
    axes = n.const([1, 2], "int32")
    return n.op("Mean", n.picture, axes, keep_dims=keep_dims, Tidx={"type": "DT_INT32"})


def _pad(n: Network) -> str:
    ends = n.const([[0, 0], [1, 0], [2, 3], [0, 1]], "int32")
    return n.op("Pad", n.picture, ends, Tpaddings={"type": "DT_INT32"})


def _sum_of_squares(n: Network) -> str:
    axis = n.const(-1, "int32")
    return n.op("Sum", n.op("Square", means(n)), axis, keep_dims=True, Tidx={"type": "DT_INT32"})


def _reshape(n: Network) -> str:
    return n.op("Reshape", n.picture, n.const([-1, 3 * SIDE * SIDE], "int32"), Tshape={"type": "DT_INT32"})


def _normalised(n: Network) -> str:
    lowest = n.op("Maximum", _sum_of_squares(n), n.const(1e-12))
    return n.op("Mul", means(n), n.op("Rsqrt", lowest))


CASES: dict[str, Callable[[Network], str]] = {
    "Conv2D same": _window("Conv2D", (3, 3, 3, 5), 1, "SAME"),
    "Conv2D same, two steps": _window("Conv2D", (3, 3, 3, 5), 2, "SAME"),
    "Conv2D same, even kernel": _window("Conv2D", (2, 4, 3, 5), 2, "SAME"),
    "Conv2D valid": _window("Conv2D", (3, 2, 3, 4), 2, "VALID"),
    "Conv2D steps beyond its kernel": _window("Conv2D", (1, 1, 3, 4), 3, "SAME"),
    "DepthwiseConv2dNative": _window("DepthwiseConv2dNative", (3, 3, 3, 1), 2, "SAME"),
    "DepthwiseConv2dNative, two of each": _window("DepthwiseConv2dNative", (3, 3, 3, 2), 1, "VALID"),
    "_FusedConv2D": _window("_FusedConv2D", (3, 3, 3, 5), 2, "SAME", "BiasAdd", "Relu"),
    "_FusedConv2D, bias alone": _window("_FusedConv2D", (3, 3, 3, 5), 1, "VALID", "BiasAdd"),
    "FusedDepthwiseConv2dNative": _window("FusedDepthwiseConv2dNative", (3, 3, 3, 2), 1, "SAME", "BiasAdd", "Relu6"),
    "MaxPool same": lambda n: n.op("MaxPool", n.picture, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME"),
    "MaxPool valid": lambda n: n.op("MaxPool", n.picture, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID"),
    "Pad": _pad,
    "Abs": lambda n: n.op("Abs", n.picture),
    "Relu": lambda n: n.op("Relu", n.picture),
    "Relu6": lambda n: n.op("Relu6", n.op("Mul", n.picture, n.const(9.0))),
    "Prelu": lambda n: n.op("Prelu", n.picture, n.weights(3)),
    "Prelu, slopes of a picture's shape": lambda n: n.op("Prelu", n.picture, n.weights(1, 1, 3)),
    "Sigmoid": _of_features("Sigmoid"),
    "Softmax": _of_features("Softmax"),
    "Identity": lambda n: n.op("Identity", n.picture),
    "Add, a number": lambda n: n.op("Add", n.picture, n.const(2.0)),
    "AddV2, itself": lambda n: n.op("AddV2", n.picture, n.op("Abs", n.picture)),
    "BiasAdd": lambda n: n.op("BiasAdd", n.picture, n.weights(3)),
    "Sub, from a constant": lambda n: n.op("Sub", n.weights(1), n.picture),
    "Mul, a row of pixels": lambda n: n.op("Mul", n.picture, n.weights(SIDE, 3)),
    "Mul, a pixel": lambda n: n.op("Mul", n.picture, means(n, keep_dims=True)),
    "Maximum": lambda n: n.op("Maximum", n.const(0.3), n.picture),
    "Minimum": lambda n: n.op("Minimum", n.picture, n.weights(1, SIDE, SIDE, 1)),
    "Mean": means,
    "Mean, kept": lambda n: means(n, keep_dims=True),
    "Sum and Square": _sum_of_squares,
    "Rsqrt": _normalised,
    "Squeeze": lambda n: n.op("Squeeze", means(n, keep_dims=True), squeeze_dims=[1, 2]),
    "Squeeze, counted from behind": lambda n: n.op("Squeeze", means(n, keep_dims=True), squeeze_dims=[-3, -2]),
    "Reshape": _reshape,
    "MatMul": _of_features("MatMul", (3, 4)),
    "MatMul, transposed": _of_features("MatMul", (4, 3), transpose_b=True),
    "_FusedMatMul": _of_features("_FusedMatMul", (3, 4), (4,), fused_ops=["BiasAdd", "Relu"]),
}

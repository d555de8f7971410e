"""TensorFlow.js graph model -> ONNX, for the operations that small convolutional networks have.

TensorFlow keeps pictures as [N, H, W, C], ONNX as [N, C, H, W]. Here shapes and axes are TensorFlow's everywhere, less
the batch; only the tensors of the graph that is written are ONNX's. What each operation means: TensorFlow's raw ops.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np

from conversion.graph import Graph
from conversion.tfjs.file import Node, TfjsModel
from services.errors import ConversionError

MAX_VALUES = 1 << 24  # of one layer for one picture
Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """A value of the graph: its name there, and the shape of one row, (height, width, channels) or (features,)."""

    name: str
    shape: Shape


Argument = Tensor | np.ndarray  # what depends on the picture, and what does not
Operation = Callable[..., Tensor]  # of the graph, the node and its inputs


def emit(graph: Graph, model: TfjsModel, picture: str) -> Tensor:
    """Writes a network behind `picture float32 [N, channels, side, side]`; returns its output.

    Raises:
        ConversionError: an operation is not known here, or not in that form.
    """
    shape = (model.side, model.side, model.channels)
    known: dict[str, Argument] = {**model.constants, model.input: Tensor(picture, shape)}
    for node in model.nodes:
        if node.op not in OPERATIONS:
            raise ConversionError(
                f"{node.name}: {node.op} is not known here; there are {', '.join(sorted(OPERATIONS))}"
            )
        arguments = [known[name] for name in node.inputs]
        try:
            result = OPERATIONS[node.op](graph, node, *arguments)
        except (ValueError, IndexError, TypeError, AttributeError) as unfit:  # too few inputs, shapes that do not fit
            raise ConversionError(f"{node.name}: {node.op} of {_described(arguments)} is not known here") from unfit
        if min(result.shape) < 1 or prod(result.shape) > MAX_VALUES:
            raise ConversionError(
                f"{node.name} would be {list(result.shape)} for one picture; no face network has that"
            )
        known[node.name] = result
    output = known[model.output]
    if isinstance(output, np.ndarray):
        raise ConversionError(f"{model.output} does not depend on the picture")
    return output


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after for TensorFlow's "SAME": ceil(size / stride) windows, the odd zero behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _described(arguments: list[Argument]) -> str:
    return ", ".join(str(["N", *a.shape] if isinstance(a, Tensor) else list(a.shape)) for a in arguments) or "nothing"


def _unfit(node: Node, why: str) -> ConversionError:
    return ConversionError(f"{node.name}: {node.op} with {why} is not known here")


# --- one value to one value -------------------------------------------------------------------------------------


def _binary(kind: str) -> Operation:
    """Element by element, with TensorFlow's broadcasting."""

    def write(g: Graph, node: Node, a: Argument, b: Argument) -> Tensor:
        rank = max(len(x.shape) for x in (a, b) if isinstance(x, Tensor))
        names, shapes = zip(*(_spread(g, x, rank) for x in (a, b)), strict=True)
        return Tensor(g.op(kind, *names), np.broadcast_shapes(*shapes))

    return write


def _spread(g: Graph, x: Argument, rank: int) -> tuple[str, Shape]:
    """A value as the graph has it, for an operation on rows of that rank."""
    if isinstance(x, Tensor):
        if len(x.shape) != rank:
            raise ValueError("rows of different ranks")
        return x
    full = x.reshape((1,) * (rank + 1 - x.ndim) + x.shape)
    if full.ndim != rank + 1 or full.shape[0] != 1:
        raise ValueError("a constant that differs from row to row")
    return g.const(full.transpose(0, 3, 1, 2) if rank == 3 else full), full.shape[1:]


def _unary(*kinds: str) -> Operation:
    """One or several ONNX operations, one behind the other."""

    def write(g: Graph, node: Node, x: Tensor) -> Tensor:
        name = x.name
        for kind in kinds:
            name = g.op(kind, name)
        return Tensor(name, x.shape)

    return write


def _square(g: Graph, node: Node, x: Tensor) -> Tensor:
    return Tensor(g.op("Mul", x.name, x.name), x.shape)


def _identity(g: Graph, node: Node, x: Tensor) -> Tensor:
    return Tensor(x.name, x.shape)


def _relu6(g: Graph, node: Node, x: Tensor) -> Tensor:
    return Tensor(g.op("Clip", x.name, g.const(0.0), g.const(6.0)), x.shape)


# --- windows ----------------------------------------------------------------------------------------------------


def _convolution(g: Graph, node: Node, x: Tensor, weight: np.ndarray, *more: np.ndarray) -> Tensor:
    kh, kw, channels, outputs = weight.shape
    if node.text("data_format", "NHWC") != "NHWC" or set(node.integers("dilations")) - {1}:
        raise _unfit(node, "another layout, or dilations,")
    if channels != x.shape[2]:
        raise _unfit(node, f"weights for {channels} channels of {x.shape[2]}")
    if "Depthwise" in node.op:  # output channel = input channel * multiplier + which of them
        outputs, groups = channels * outputs, channels
        weight = weight.transpose(2, 3, 0, 1).reshape(outputs, 1, kh, kw)
    else:
        groups = 1
        weight = weight.transpose(3, 2, 0, 1)
    strides = node.integers("strides")[1:3]
    pads, sizes = _windows(node, x.shape[:2], (kh, kw), strides)
    bias, activations = _fused(node, more)
    inputs = [x.name, g.const(weight)] + ([g.const(bias.reshape(outputs))] if bias is not None else [])
    name = g.op("Conv", *inputs, kernel_shape=[kh, kw], strides=strides, pads=pads, group=groups)
    return _activated(g, node, Tensor(name, (*sizes, outputs)), activations)


def _windows(node: Node, sizes: Shape, kernel: Shape, strides: Shape) -> tuple[list[int], Shape]:
    """ONNX's pads, and the size of what comes out."""
    if len(strides) != 2 or min(strides) < 1:
        raise _unfit(node, f"strides {strides}")
    match node.text("padding"):
        case "SAME":
            rows, columns = (same_padding(*side) for side in zip(sizes, kernel, strides, strict=True))
        case "VALID":
            rows, columns = (0, 0), (0, 0)
        case padding:
            raise _unfit(node, f"padding {padding!r}")
    ends = zip(sizes, kernel, strides, (rows, columns), strict=True)
    out = tuple((size + sum(pad) - side) // stride + 1 for size, side, stride, pad in ends)
    return [rows[0], columns[0], rows[1], columns[1]], out


def _max_pool(g: Graph, node: Node, x: Tensor) -> Tensor:
    kernel, strides = node.integers("ksize")[1:3], node.integers("strides")[1:3]
    pads, sizes = _windows(node, x.shape[:2], kernel, strides)  # what is added never is the largest, in both
    name = g.op("MaxPool", x.name, kernel_shape=kernel, strides=strides, pads=pads)
    return Tensor(name, (*sizes, x.shape[2]))


def _fused(node: Node, arguments: tuple[np.ndarray, ...]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The bias, and the activations, that TensorFlow.js's converter has drawn into an operation."""
    fused = node.texts("fused_ops")
    biased = fused[:1] == ("BiasAdd",)
    if len(arguments) != int(biased):
        raise _unfit(node, f"{len(arguments)} more inputs for {fused}")
    return (arguments[0], fused[1:]) if biased else (None, fused)


def _activated(g: Graph, node: Node, x: Tensor, activations: tuple[str, ...]) -> Tensor:
    for activation in activations:
        if activation not in ("Relu", "Relu6"):
            raise _unfit(node, f"{activation} drawn into it")
        x = OPERATIONS[activation](g, node, x)
    return x


def _pad(g: Graph, node: Node, x: Tensor, ends: np.ndarray) -> Tensor:
    """Zeros around a picture."""
    before, after = ends.T.tolist()
    if len(before) != 4 or before[0] or after[0] or ends.min() < 0:
        raise _unfit(node, f"ends {ends.tolist()}")
    order = (0, 3, 1, 2)
    pads = g.ints(*(before[i] for i in order), *(after[i] for i in order))
    name = g.op("Pad", x.name, pads, mode="constant")
    return Tensor(name, tuple(x.shape[i] + before[i + 1] + after[i + 1] for i in range(3)))


# --- shapes, sums, products -------------------------------------------------------------------------------------


def _reduction(kind: str) -> Operation:
    """A sum or a mean over some axes, never the batch's."""

    def write(g: Graph, node: Node, x: Tensor, axes: np.ndarray) -> Tensor:
        rank, kept = len(x.shape), node.flag("keep_dims")
        gone = {int(axis) % (rank + 1) for axis in axes.reshape(-1)}
        if not gone or 0 in gone or not (kept or rank - len(gone) == 1):
            raise _unfit(node, f"axes {sorted(gone)}")
        there = {1: 2, 2: 3, 3: 1} if rank == 3 else {1: 1}  # TensorFlow's axes -> ONNX's
        name = g.op(kind, x.name, g.ints(*sorted(there[axis] for axis in gone)), keepdims=int(kept))
        sides = ((1 if i + 1 in gone else side) for i, side in enumerate(x.shape) if kept or i + 1 not in gone)
        return Tensor(name, tuple(sides))

    return write


def _squeeze(g: Graph, node: Node, x: Tensor) -> Tensor:
    """A picture of one pixel -> its channels."""
    axes = {axis % 4 for axis in node.integers("squeeze_dims") or node.integers("axis")}
    if x.shape[:2] != (1, 1) or axes != {1, 2}:
        raise _unfit(node, f"axes {sorted(axes)} of {x.shape}")
    return Tensor(g.op("Squeeze", x.name, g.ints(2, 3)), x.shape[2:])


def _reshape(g: Graph, node: Node, x: Tensor, shape: np.ndarray) -> Tensor:
    """A picture -> its values in TensorFlow's order."""
    count = prod(x.shape)
    if len(shape) != 2 or shape[0] != -1 or shape[1] != count:
        raise _unfit(node, f"shape {shape.tolist()}")
    name = g.op("Transpose", x.name, perm=[0, 2, 3, 1]) if len(x.shape) == 3 else x.name
    return Tensor(g.op("Reshape", name, g.ints(0, count)), (count,))


def _product(g: Graph, node: Node, x: Tensor, weight: np.ndarray, *more: np.ndarray) -> Tensor:
    if node.flag("transpose_a"):
        raise _unfit(node, "its rows transposed")
    weight = weight.T if node.flag("transpose_b") else weight
    if len(x.shape) != 1 or x.shape[0] != len(weight):
        raise _unfit(node, f"weights {weight.shape} for {x.shape}")
    bias, activations = _fused(node, more)
    name = g.op("MatMul", x.name, g.const(weight))
    if bias is not None:
        name = g.op("Add", name, g.const(bias.reshape(weight.shape[1])))
    return _activated(g, node, Tensor(name, weight.shape[1:]), activations)


OPERATIONS: dict[str, Operation] = {
    "Abs": _unary("Abs"),
    "Add": _binary("Add"),
    "AddV2": _binary("Add"),
    "BiasAdd": _binary("Add"),
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "Identity": _identity,
    "MatMul": _product,
    "MaxPool": _max_pool,
    "Maximum": _binary("Max"),
    "Mean": _reduction("ReduceMean"),
    "Minimum": _binary("Min"),
    "Mul": _binary("Mul"),
    "Pad": _pad,
    "Prelu": _binary("PRelu"),
    "Relu": _unary("Relu"),
    "Relu6": _relu6,
    "Reshape": _reshape,
    "Rsqrt": _unary("Sqrt", "Reciprocal"),
    "Sigmoid": _unary("Sigmoid"),
    "Softmax": _unary("Softmax"),
    "Square": _square,
    "Squeeze": _squeeze,
    "Sub": _binary("Sub"),
    "Sum": _reduction("ReduceSum"),
    "_FusedConv2D": _convolution,
    "_FusedMatMul": _product,
}

"""A TensorFlow.js graph model as its topology says, in numpy and float64: what the converted graph is checked against.

Slow and plain on purpose: pictures stay [N, H, W, C] as in TensorFlow, nothing is fused or reordered, so it shares no
shortcut with the graph it judges. What each operation means: TensorFlow's raw ops.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from conversion.tfjs.file import Node, TfjsModel


def evaluate(model: TfjsModel, pictures: np.ndarray) -> np.ndarray:
    """The network's output, float64 [N, ...], for `pictures float [N, side, side, channels]`.

    Raises:
        KeyError: an operation is not known here.
    """
    known = dict(model.constants)
    known[model.input] = pictures.astype(np.float64)  # and with it all that depends on it
    for node in model.nodes:
        known[node.name] = OPERATIONS[node.op](node, *(known[name] for name in node.inputs))
    return known[model.output]


def _padded(x: np.ndarray, axis: int, kernel: int, stride: int, value: float = 0) -> np.ndarray:
    """What "SAME" adds along one axis, by the formula of TensorFlow's documentation (tf.nn, "Notes on padding")."""
    rest = x.shape[axis] % stride
    total = max(kernel - (rest or stride), 0)
    ends = [(0, 0)] * x.ndim
    ends[axis] = (total // 2, total - total // 2)
    return np.pad(x, ends, constant_values=value)


def _windows(node: Node, x: np.ndarray, kernel: tuple[int, ...], value: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each place in a window: its row and column there, and what all windows [N, H', W', C] have at that place."""
    (kh, kw), (_, down, right, _) = kernel, node.integers("strides")
    if node.text("padding") == "SAME":
        x = _padded(_padded(x, 1, kh, down, value), 2, kw, right, value)
    rows, columns = (x.shape[1] - kh) // down + 1, (x.shape[2] - kw) // right + 1
    for row in range(kh):
        for column in range(kw):
            yield row, column, x[:, row::down, column::right][:, :rows, :columns]


def _convolution(node: Node, x: np.ndarray, weight: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """Cross-correlation; `weight` is [kh, kw, channels, outputs], or with multipliers of each channel."""
    out: Any = 0.0
    for row, column, values in _windows(node, x, weight.shape[:2], 0):
        if "Depthwise" in node.op:  # [N, H, W, channels, 1] * [channels, multipliers]
            product = values[..., None] * weight[row, column]
            out = out + product.reshape(*product.shape[:3], -1)
        else:
            out = out + values @ weight[row, column]
    return _fused(node, out, *more)


def _max_pool(node: Node, x: np.ndarray) -> np.ndarray:
    return np.maximum.reduce([values for *_, values in _windows(node, x, node.integers("ksize")[1:3], -np.inf)])


def _product(node: Node, x: np.ndarray, weight: np.ndarray, *more: np.ndarray) -> np.ndarray:
    return _fused(node, x @ (weight.T if node.flag("transpose_b") else weight), *more)


def _fused(node: Node, x: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """What the converter of TensorFlow.js has drawn into an operation, in its order."""
    rest = iter(more)
    for name in node.texts("fused_ops"):
        x = x + next(rest) if name == "BiasAdd" else OPERATIONS[name](node, x)
    return x


def _reduced(how: Callable[..., np.ndarray], node: Node, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return how(x, axis=tuple(np.atleast_1d(axes).tolist()), keepdims=node.flag("keep_dims"))


def _squeezed(node: Node, x: np.ndarray) -> np.ndarray:
    return x.squeeze(node.integers("squeeze_dims") or node.integers("axis"))


OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "Abs": lambda node, x: np.abs(x),
    "Add": lambda node, x, y: x + y,
    "AddV2": lambda node, x, y: x + y,
    "BiasAdd": lambda node, x, y: x + y,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "Identity": lambda node, x: x,
    "MatMul": _product,
    "MaxPool": _max_pool,
    "Maximum": lambda node, x, y: np.maximum(x, y),
    "Mean": partial(_reduced, np.mean),
    "Minimum": lambda node, x, y: np.minimum(x, y),
    "Mul": lambda node, x, y: x * y,
    "Pad": lambda node, x, ends: np.pad(x, ends),
    "Prelu": lambda node, x, slope: np.where(x > 0, x, x * slope),
    "Relu": lambda node, x: np.maximum(x, 0),
    "Relu6": lambda node, x: np.clip(x, 0, 6),
    "Reshape": lambda node, x, shape: x.reshape(shape),
    "Rsqrt": lambda node, x: 1 / np.sqrt(x),
    "Sigmoid": lambda node, x: 1 / (1 + np.exp(-x)),
    "Softmax": lambda node, x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "Square": lambda node, x: x**2,
    "Squeeze": _squeezed,
    "Sub": lambda node, x, y: x - y,
    "Sum": partial(_reduced, np.sum),
    "_FusedConv2D": _convolution,
    "_FusedMatMul": _product,
}

"""Runs a graph that conversion wrote as a function PyTorch can differentiate: picture and embedding of a latent.

The graphs that are published are the ones that serve; a second copy of every network for PyTorch would have to be
compared with them. Here their few dozen kinds of nodes are done one after the other, in float32 whatever the weights
are kept in: gradients get lost in half precision.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from services.errors import ConfigurationError, ConversionError

try:
    import torch  # type: ignore[import-not-found, unused-ignore]
    import torch.nn.functional as functional  # type: ignore[import-not-found, unused-ignore]
except ImportError as missing:
    raise ConfigurationError("refining needs PyTorch; install the extra `refine`") from missing

__all__ = ["TorchGraph", "functional", "straight_through", "torch"]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
Attributes = dict[str, Any]


class TorchGraph:
    """A graph as a function of tensors. Its weights are constants: gradients flow to what is passed in, and no further.

    uint8 tensors, pictures and chips, are float32 of 0 to 255: rounding in the graph is done, and is invisible to
    gradients.

    Args:
        path: a `model.onnx` whose hash was checked.
        device: PyTorch's name of it, `cpu` or `cuda`.

    Raises:
        ConversionError: the graph has a kind of node that is not covered; names it.
    """

    def __init__(self, path: Path, device: str):
        graph = onnx.load(path).graph
        unknown = sorted({node.op_type for node in graph.node if node.domain or node.op_type not in OPERATIONS})
        if unknown:
            raise ConversionError(f"{path} cannot be refined through: {', '.join(unknown)} is not covered")
        self.inputs = tuple(value.name for value in graph.input)
        self._outputs = [value.name for value in graph.output]
        self._constants = {tensor.name: _constant(tensor, device) for tensor in graph.initializer}
        self._nodes = list(graph.node)
        self._attributes = [
            {a.name: _text(helper.get_attribute_value(a)) for a in node.attribute} for node in self._nodes
        ]
        last = {name: i for i, node in enumerate(self._nodes) for name in node.input}
        kept = {*self._outputs, *self._constants}
        self._spent = [[name for name in node.input if last[name] == i] for i, node in enumerate(self._nodes)]
        self._spent = [[name for name in names if name not in kept] for names in self._spent]

    def __call__(self, **inputs: torch.Tensor) -> list[torch.Tensor]:
        """All outputs in the graph's order, float32.

        Args:
            inputs: float32 on the graph's device, shaped as the graph says.

        Raises:
            ConversionError: inputs are missing, or a node asks for a variant that is not covered.
        """
        if set(inputs) != set(self.inputs):
            raise ConversionError(f"the graph takes {', '.join(self.inputs)}, not {', '.join(inputs)}")
        values: dict[str, torch.Tensor | None] = {"": None, **self._constants, **inputs}
        for node, attributes, spent in zip(self._nodes, self._attributes, self._spent, strict=True):
            result = OPERATIONS[node.op_type](attributes, *(values[name] for name in node.input))
            values.update(zip(node.output, result if isinstance(result, list) else [result], strict=True))
            for name in spent:  # what gradients need of it, they hold
                values.pop(name, None)
        return [values[name] for name in self._outputs]


def straight_through(x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """The value of `rounded` with the gradient of `x` (Bengio et al. 2013, arXiv:1308.3432)."""
    return rounded.detach() + (x - x.detach())


def _constant(tensor: onnx.TensorProto, device: str) -> torch.Tensor:
    """Numbers go to the device as float32; shapes and axes stay where Python reads them."""
    value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
    return value.float().to(device) if value.is_floating_point() else value


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _require(attributes: Attributes, kind: str, **known: Any) -> None:
    """Refuses a node whose attributes, where it has them, are not those that are covered."""
    for name, value in known.items():
        if attributes.get(name, value) != value:
            raise ConversionError(f"{kind} with {name}={attributes[name]} is not covered")


def _cast(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    if a["to"] in FLOATS:
        return x.float()
    if a["to"] == TensorProto.UINT8:
        return straight_through(x, x.trunc())
    if a["to"] in (TensorProto.INT64, TensorProto.INT32):
        return x.long()
    raise ConversionError(f"Cast to {TensorProto.DataType.Name(a['to'])} is not covered")


def _padded(a: Attributes, x: torch.Tensor, value: float = 0.0) -> tuple[torch.Tensor, list[int]]:
    """x and what a window over it still has to pad: what is not the same on both sides is padded here."""
    _require(a, "a window", auto_pad="NOTSET", ceil_mode=0)
    top, left, bottom, right = a.get("pads", [0] * 4)
    if (top, left) == (bottom, right):
        return x, [top, left]
    return functional.pad(x, (left, right, top, bottom), value=value), [0, 0]


def _conv(a: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    x, padding = _padded(a, x)
    stride, dilation = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    return functional.conv2d(x, weight, bias, stride, padding, dilation, a.get("group", 1))


def _conv_transpose(
    a: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    _require(a, "ConvTranspose", auto_pad="NOTSET", dilations=[1, 1], output_shape=None)
    top, left, bottom, right = a.get("pads", [0] * 4)
    if (top, left) != (bottom, right):
        raise ConversionError("ConvTranspose with pads that differ from side to side is not covered")
    more = a.get("output_padding", [0, 0])
    return functional.conv_transpose2d(x, weight, bias, a.get("strides", [1, 1]), [top, left], more, a.get("group", 1))


def _max_pool(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    _require(a, "MaxPool", dilations=[1, 1])
    x, padding = _padded(a, x, -torch.inf)
    return functional.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), padding)


def _average_pool(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    _require(a, "AveragePool", dilations=[1, 1])
    counted = bool(a.get("count_include_pad", 0))
    padded, padding = _padded(a, x)
    if padded is not x and not counted:
        raise ConversionError("AveragePool with pads that differ from side to side is not covered")
    return functional.avg_pool2d(
        padded, a["kernel_shape"], a.get("strides", [1, 1]), padding, count_include_pad=counted
    )


def _pad(
    a: Attributes,
    x: torch.Tensor,
    pads: torch.Tensor,
    value: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    _require(a, "Pad", mode="constant")
    if axes is not None:
        raise ConversionError("Pad of some axes is not covered")
    starts, ends = pads.reshape(2, -1).tolist()
    # PyTorch counts from the last axis.
    pairs = [amount for pair in zip(starts[::-1], ends[::-1], strict=True) for amount in pair]
    return functional.pad(x, pairs, value=0.0 if value is None else value.item())


def _gemm(a: Attributes, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    x = x.T if a.get("transA", 0) else x
    y = y.T if a.get("transB", 0) else y
    product = a.get("alpha", 1.0) * (x @ y)
    return product if bias is None else product + a.get("beta", 1.0) * bias


def _split(a: Attributes, x: torch.Tensor, sizes: torch.Tensor | None = None) -> list[torch.Tensor]:
    axis = a.get("axis", 0)
    parts = -(-x.shape[axis] // a["num_outputs"]) if sizes is None else sizes.tolist()
    return list(torch.split(x, parts, dim=axis))


def _unsqueeze(a: Attributes, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    rank = x.ndim + axes.numel()
    return reduce(torch.unsqueeze, sorted(axis % rank for axis in axes.tolist()), x)


def _squeeze(a: Attributes, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _depth_to_space(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    _require(a, "DepthToSpace", mode="DCR")
    n, channels, height, width = x.shape
    block = a["blocksize"]
    cells = x.reshape(n, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return cells.reshape(n, channels // block**2, height * block, width * block)


def _reshape(a: Attributes, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    _require(a, "Reshape", allowzero=0)
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(shape.tolist())])


def _gather(a: Attributes, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    axis = a.get("axis", 0) % x.ndim
    rows = (indices.reshape(-1) % x.shape[axis]).to(x.device)
    return x.index_select(axis, rows).reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _instance_norm(a: Attributes, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return functional.instance_norm(x, weight=scale, bias=shift, eps=a.get("epsilon", 1e-5))


def _batch_norm(a: Attributes, x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
    _require(a, "BatchNormalization", training_mode=0)
    scale, shift, mean, variance = given
    return functional.batch_norm(x, mean, variance, scale, shift, eps=a.get("epsilon", 1e-5))


def _clip(
    a: Attributes, x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
) -> torch.Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _resize(
    a: Attributes, x: torch.Tensor, region: torch.Tensor | None = None, scales: torch.Tensor | None = None
) -> torch.Tensor:
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if scales is None or any(a.get(name) != value for name, value in nearest.items()):
        raise ConversionError("Resize other than nearest, asymmetric, floor, by scales, is not covered")
    return functional.interpolate(x, scale_factor=scales.tolist()[2:], mode="nearest")


def _reduced(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def over(a: Attributes, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        chosen: Sequence[int] = a.get("axes", range(x.ndim)) if axes is None else axes.tolist()
        return function(x, dim=tuple(chosen), keepdim=bool(a.get("keepdims", 1)))

    return over


def _each(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda a, *x: function(*x)


OPERATIONS: dict[str, Callable[..., torch.Tensor | list[torch.Tensor]]] = {
    "Add": _each(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _each(torch.div),
    "Flatten": lambda a, x: x.reshape(prod(x.shape[: a.get("axis", 1)]), -1),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean(dim=(2, 3), keepdim=True),
    "Identity": lambda a, x: x,
    "InstanceNormalization": _instance_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": _each(torch.matmul),
    "Max": lambda a, *x: reduce(torch.maximum, x),
    "MaxPool": _max_pool,
    "Mul": _each(torch.mul),
    "Pad": _pad,
    "Reciprocal": _each(torch.reciprocal),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _each(functional.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": lambda a, x: straight_through(x, x.round()),
    "Shape": lambda a, x: torch.tensor(x.shape),
    "Sigmoid": _each(torch.sigmoid),
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _each(torch.sub),
    "Tanh": _each(torch.tanh),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}

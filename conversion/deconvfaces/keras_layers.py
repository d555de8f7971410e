"""What Keras's layers mean: settings and weights, checked against each other, as steps that a graph can be made of.

Only layers of up-convolutional generators are known. Keras's `channels_last` is expected; steps are told in
[channels, height, width], as the graphs are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from conversion.deconvfaces.keras_h5 import KerasLayer, KerasModel
from services.errors import ConversionError

MAX_VALUES = 64 << 20  # floats of one layer's answer to one picture
ACTIVATIONS = ("relu", "sigmoid", "tanh")

Shape = tuple[int, ...]  # without the batch: (features,), or (channels, height, width)
Values = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A layer whose settings and weights are known to fit."""

    what: str  # input, dense, conv, normalise, leaky, fold, enlarge, join or same
    name: str
    sources: tuple[str, ...]
    shape: Shape  # of its answer
    values: Values = field(default_factory=dict)  # weights in Keras's own layouts, and numbers
    activation: str = "linear"  # applied last
    multiply_adds: int = 0  # of one picture, in products with a kernel


def read_steps(model: KerasModel) -> dict[str, Step]:
    """The layers as steps by name, sources first.

    Raises:
        ConversionError: a layer of a kind, or with settings or weights, that is not supported; names it.
    """
    steps: dict[str, Step] = {}
    for layer in model.layers:
        steps[layer.name] = _step(layer, [steps[source].shape for source in layer.inbound], model.inputs)
    return steps


def _step(layer: KerasLayer, shapes: list[Shape], inputs: dict[str, int]) -> Step:
    if layer.kind == "InputLayer":
        return Step("input", layer.name, (), (inputs[layer.name],))
    if layer.kind not in LAYERS:
        raise _refusal(layer, f"is not supported; there are {', '.join(LAYERS)}")
    read, axes = LAYERS[layer.kind]
    if not shapes or (len(shapes) > 1 and read is not _join) or {len(shape) for shape in shapes} - set(axes):
        raise _refusal(layer, f"cannot take {shapes or 'nothing'}")
    _require(layer, data_format=("channels_last", None), activation=("linear", None, *ACTIVATIONS))
    what, shape, values = read(layer, *shapes)
    if prod(shape) > MAX_VALUES:
        raise _refusal(layer, f"gives {prod(shape):,} values a picture; at most {MAX_VALUES:,} are accepted")
    work = values["kernel"].size * prod(shape[1:]) if "kernel" in values else 0
    return Step(what, layer.name, layer.inbound, shape, values, layer.config.get("activation") or "linear", work)


# --- one layer each ---------------------------------------------------------------------------------------------


def _refusal(layer: KerasLayer, why: str) -> ConversionError:
    return ConversionError(f"layer {layer.name!r} ({layer.kind}): {why}")


def _number(layer: KerasLayer, key: str) -> float:
    value = layer.config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise _refusal(layer, f"its {key} is {value!r}, no number that is expected")
    return float(value)


def _sizes(layer: KerasLayer, key: str, count: int) -> Shape:
    value = layer.config.get(key)
    sizes = value if isinstance(value, list) else [value] * count
    if len(sizes) != count or not all(type(size) is int and 0 < size <= MAX_VALUES for size in sizes):
        raise _refusal(layer, f"its {key} is {value!r}; {count} positive whole numbers are expected")
    return tuple(sizes)


def _require(layer: KerasLayer, **allowed: tuple[Any, ...]) -> None:
    """Settings that are not there are as usual: Keras always writes those that matter."""
    for key, values in allowed.items():
        if key in layer.config and layer.config[key] not in values:
            raise _refusal(layer, f"{key} {layer.config[key]!r} is not supported; {values[0]!r} is")


def _weights(layer: KerasLayer, *shapes: Shape) -> list[np.ndarray]:
    have = [weight.shape for weight in layer.weights]
    if have != list(shapes):
        raise _refusal(layer, f"its weights have the shapes {have}, its settings ask for {list(shapes)}")
    return list(layer.weights)


def _kernel(layer: KerasLayer, *shape: int) -> Values:
    _require(layer, use_bias=(True, False))
    if layer.config.get("use_bias", True):
        kernel, bias = _weights(layer, shape, shape[-1:])
        return {"kernel": kernel, "bias": bias}
    (kernel,) = _weights(layer, shape)
    return {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}


def _dense(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    (units,) = _sizes(layer, "units", 1)
    return "dense", (units,), _kernel(layer, *shape, units)


def _conv(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    _require(layer, padding=("same",), strides=([1, 1],), dilation_rate=([1, 1],), groups=(1,))
    (filters,) = _sizes(layer, "filters", 1)
    return "conv", (filters, *shape[1:]), _kernel(layer, *_sizes(layer, "kernel_size", 2), shape[0], filters)


def _normalise(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    last = len(shape)
    _require(layer, axis=(-1, last, [last], [-1]), mode=(0, 2), scale=(True, False), center=(True, False))
    kept = [name for name, flag in (("gamma", "scale"), ("beta", "center")) if layer.config.get(flag, True)]
    names = [*kept, "mean", "variance"]
    values: Values = dict(zip(names, _weights(layer, *[shape[:1]] * len(names)), strict=True))
    epsilon = _number(layer, "epsilon")
    if values["variance"].min() + epsilon <= 0:
        raise _refusal(layer, "its variance is not above zero")
    usual = {"gamma": np.ones(shape[0], np.float32), "beta": np.zeros(shape[0], np.float32)}
    return "normalise", shape, {**usual, **values, "epsilon": epsilon}


def _leaky(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    return "leaky", shape, {"slope": _number(layer, "alpha")}


def _fold(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    height, width, channels = _sizes(layer, "target_shape", 3)
    if (height * width * channels,) != shape:
        raise _refusal(layer, f"{shape} values do not make {height} x {width} x {channels}")
    return "fold", (channels, height, width), {}


def _enlarge(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    _require(layer, interpolation=("nearest",))
    rows, columns = _sizes(layer, "size", 2)
    return "enlarge", (shape[0], shape[1] * rows, shape[2] * columns), {"rows": rows, "columns": columns}


def _pool(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    """A window of one pixel; others are not needed by this family."""
    if (layer.config.get("pool_size"), layer.config.get("strides") or [1, 1]) != ([1, 1], [1, 1]):
        raise _refusal(layer, f"a window of {layer.config.get('pool_size')!r} is not supported; [1, 1] is")
    return "same", shape, {}


def _same(layer: KerasLayer, shape: Shape) -> tuple[str, Shape, Values]:
    return "same", shape, {}


def _join(layer: KerasLayer, *shapes: Shape) -> tuple[str, Shape, Values]:
    _require(layer, axis=(-1, len(shapes[0])))
    if len({shape[1:] for shape in shapes}) != 1:
        raise _refusal(layer, f"{list(shapes)} cannot be joined")
    return "join", (sum(shape[0] for shape in shapes), *shapes[0][1:]), {}


Reader = Callable[..., tuple[str, Shape, Values]]
ONE, MAP, ANY = (1,), (3,), (1, 3)  # axes a layer accepts
LAYERS: dict[str, tuple[Reader, tuple[int, ...]]] = {
    "Dense": (_dense, ONE),
    "Reshape": (_fold, ONE),
    "Conv2D": (_conv, MAP),
    "UpSampling2D": (_enlarge, MAP),
    "MaxPooling2D": (_pool, MAP),
    "BatchNormalization": (_normalise, ANY),
    "LeakyReLU": (_leaky, ANY),
    "Activation": (_same, ANY),
    "Concatenate": (_join, ANY),
}

"""Reads dlib's serialised networks (`.dat`) without dlib.

The format (dlib 19-20, dnn/core.h): integers are a control byte (sign and byte count) and that many bytes, floats a
mantissa and an exponent, tensors a version, four extents and raw little-endian float32. A network first spells its
nesting as a run of integers (2: layer on layer, 1: tag or skip, 3: layer on the input), then each layer from the bottom
up: its own record, three flags and three scratch tensors.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from services.errors import ConversionError

MAX_TENSOR_VALUES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Layer:
    """One layer: `kind` is con, affine, relu, max_pool, avg_pool, add_prev, fc, or mark (a tag or a skip)."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DlibNetwork:
    """A network bottom layer first, and how its input is prepared."""

    height: int
    width: int
    mean: tuple[float, float, float]  # subtracted per RGB channel; the rest is divided by 256
    layers: list[Layer]


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ConversionError(f"truncated: {count} bytes wanted at offset {self.at}, {len(self.data)} in the file")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x0F
        if not 1 <= size <= 8:
            raise ConversionError(f"not a dlib network: bad integer at offset {self.at - 1}")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def text(self) -> str:
        return self.take(self.integer()).decode("latin1")

    def boolean(self) -> bool:
        value = self.take(1)
        if value not in (b"0", b"1"):
            raise ConversionError(f"not a dlib network: bad flag at offset {self.at - 1}")
        return value == b"1"

    def real(self) -> float:
        mantissa, exponent = self.integers(2)
        special = {32000: math.inf, 32001: -math.inf, 32002: math.nan}
        return special[exponent] if exponent in special else math.ldexp(mantissa, exponent)

    def tensor(self) -> np.ndarray:
        if self.integer() != 2:
            raise ConversionError(f"unknown tensor version at offset {self.at}")
        shape = self.integers(4)
        count = math.prod(shape)
        if min(shape) < 0 or count > MAX_TENSOR_VALUES:
            raise ConversionError(f"implausible tensor {shape} at offset {self.at}")
        values = np.frombuffer(self.take(4 * count), "<f4").reshape(shape)
        if not np.isfinite(values).all():
            raise ConversionError(f"values that are not finite numbers, before offset {self.at}")
        return values

    def view(self) -> list[int]:
        """The shape of an alias into a parameter tensor."""
        if self.integer() != 1:
            raise ConversionError(f"unknown alias version at offset {self.at}")
        return self.integers(4)

    def skip_reals(self, count: int) -> None:
        for _ in range(count):
            self.real()


def _convolution(r: _Reader, version: str) -> Layer:
    parameters = r.tensor().ravel()
    filters, kh, kw, sy, sx, py, px = r.integers(7)
    shape, _ = r.view(), r.view()
    r.skip_reals(4)  # learning rate and weight decay multipliers
    biased = r.boolean() if version != "con_4" else True
    relu = r.boolean() if version == "con_6" else False
    count = math.prod(shape)
    bias = parameters[count : count + filters] if biased else None
    values = {"weight": parameters[:count].reshape(shape), "bias": bias, "stride": (sy, sx), "pad": (py, px)}
    if (kh, kw) != tuple(shape[2:]) or relu:
        raise ConversionError(f"a convolution of kind {version} with a fused ReLU is not supported")
    return Layer("con", values)


def _affine(r: _Reader, version: str) -> Layer:
    parameters = r.tensor().ravel()
    gamma, _ = r.view(), r.view()
    r.integer()  # mode
    if version == "affine_2":
        r.boolean()
    count = math.prod(gamma)
    return Layer("affine", {"gamma": parameters[:count], "beta": parameters[count:]})


def _pool(r: _Reader, version: str) -> Layer:
    kh, kw, sy, sx, py, px = r.integers(6)
    return Layer(version.removesuffix("_2"), {"kernel": (kh, kw), "stride": (sy, sx), "pad": (py, px)})


def _fully_connected(r: _Reader, version: str) -> Layer:
    outputs, inputs = r.integers(2)
    parameters = r.tensor()
    r.view(), r.view(), r.integer()
    r.skip_reals(4)
    if version == "fc_3":
        r.boolean()
    rows = parameters.reshape(-1, outputs)
    return Layer("fc", {"weight": rows[:inputs], "bias": rows[inputs] if len(rows) > inputs else None})


def _record(r: _Reader) -> Layer:
    version = r.text()
    if version in ("con_4", "con_5", "con_6"):
        return _convolution(r, version)
    if version in ("affine_", "affine_2"):
        return _affine(r, version)
    if version in ("relu_", "relu_2"):
        if version == "relu_2":
            r.boolean()
        return Layer("relu")
    if version in ("max_pool_2", "avg_pool_2"):
        return _pool(r, version)
    if version == "add_prev_":
        return Layer("add_prev")
    if version in ("fc_2", "fc_3"):
        return _fully_connected(r, version)
    raise ConversionError(f"unknown dlib layer {version!r} at offset {r.at}; this reader knows inference layers only")


def read_network(path: Path) -> DlibNetwork:
    """Reads a metric-loss network such as `dlib_face_recognition_resnet_model_v1.dat`; every byte must be used.

    Raises:
        ConversionError: not such a file, truncated, an unknown layer, or bytes left over.
    """
    try:
        return _read(path.name, _Reader(path.read_bytes()))
    except (ValueError, OverflowError) as broken:  # shapes that do not add up, numbers beyond any float
        raise ConversionError(f"{path.name} is not a dlib network: {broken}") from broken


def _read(name: str, r: _Reader) -> DlibNetwork:
    if r.integer() != 1:
        raise ConversionError(f"{name}: unknown version of the loss layer")
    loss = r.text()
    if loss == "loss_metric_2":
        r.skip_reals(2)
    elif loss != "loss_metric_":
        raise ConversionError(f"{name}: loss layer {loss!r}; only metric-learning networks give embeddings")
    nesting = [r.integer()]
    while nesting[-1] != 3:
        if nesting[-1] not in (1, 2) or len(nesting) > 10_000:
            raise ConversionError(f"{name}: not a dlib network (nesting {nesting[-1]} at offset {r.at})")
        nesting.append(r.integer())
    kind = r.text()
    if kind != "input_rgb_image_sized":
        raise ConversionError(f"{name}: input layer {kind!r}; only fixed-size RGB input is supported")
    mean = (r.real(), r.real(), r.real())
    height, width = r.integers(2)
    layers = []
    for step in reversed(nesting):
        if step == 1:
            layers.append(Layer("mark"))
            continue
        layers.append(_record(r))
        for _ in range(3):
            r.boolean()
        for _ in range(3):
            r.tensor()
        if step == 3:
            r.integer()  # sample expansion factor
    if r.at != len(r.data):
        raise ConversionError(f"{name}: {len(r.data) - r.at} bytes left after the last layer")
    return DlibNetwork(height, width, mean, layers)

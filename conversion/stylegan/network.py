"""What a StyleGAN (1) file says of its generator: sizes and weights, checked, with the learning-rate scales applied.

Karras et al. 2019 (arXiv:1812.04948); Karras et al. 2018 (arXiv:1710.10196, section 4.1) for the equalised learning
rate: a stored weight is multiplied by gain / sqrt(fan in) when it is used.
"""

from dataclasses import dataclass
from math import log2, sqrt
from typing import Any, TypeVar

import numpy as np

from conversion.stylegan.pickle_file import Network
from services.errors import ConversionError

RESOLUTIONS = tuple(2**n for n in range(3, 11))
SLOPES = {"lrelu": 0.2, "relu": 0.0}
Value = TypeVar("Value", int, float, bool, str)


@dataclass(frozen=True)
class Dense:
    """weight float32 [in, out], bias float32 [out]."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Mapping:
    """z -> w."""

    latent: int
    dlatent: int
    normalise: bool
    slope: float
    layers: list[Dense]


@dataclass(frozen=True)
class Layer:
    """A layer that takes a w: a convolution (none in the first), then noise, bias, activation, norms, style."""

    weight: np.ndarray | None  # float32 [3, 3, in, out]
    up: bool  # twice the size, then blur
    noise: np.ndarray | None  # float32 [R, R], times the strength of each channel float32 [C]
    strength: np.ndarray | None
    bias: np.ndarray  # float32 [C]
    style: Dense  # w -> 2 C: scale - 1, shift


@dataclass(frozen=True)
class Synthesis:
    """w of every layer -> picture."""

    resolution: int
    dlatent: int
    slope: float
    start: np.ndarray  # float32 [C, 4, 4]
    layers: list[Layer]
    fused: tuple[bool, ...]  # by layer: whether the file's network scales up inside its convolution
    blur: np.ndarray  # float32 [n], one axis of a separable filter, sum 1
    pixel_norm: bool
    instance_norm: bool
    to_rgb: Dense  # weight float32 [C, 3]


class _Reader:
    """Options with their defaults, and variables of the shape they must have."""

    def __init__(self, network: Network):
        self.network = network

    def option(self, name: str, default: Value) -> Value:
        value = self.network.options.get(name, default)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ConversionError(f"{self.network.name}: option {name} is not of the kind {type(default).__name__}")
        return value

    def variable(self, name: str, *shape: int) -> np.ndarray:
        value = self.network.variables.get(name)
        if value is None:
            raise ConversionError(f"{self.network.name} has no variable {name}; is it StyleGAN (1)?")
        if value.shape != shape:
            raise ConversionError(f"{self.network.name}: {name} has shape {value.shape}, not {shape}")
        value = value.astype(np.float32)
        if not np.isfinite(value).all():
            raise ConversionError(f"{self.network.name}: {name} holds values that are not finite numbers")
        return value

    def dense(self, name: str, fan_in: int, fan_out: int, gain: float, rate: float = 1.0) -> Dense:
        scale = self.scale(fan_in, gain, rate)
        weight = self.variable(f"{name}/weight", fan_in, fan_out) * np.float32(scale)
        return Dense(weight, self.variable(f"{name}/bias", fan_out) * np.float32(rate))

    def scale(self, fan_in: int, gain: float, rate: float = 1.0) -> float:
        return gain / sqrt(fan_in) * rate if self.option("use_wscale", True) else rate

    def activation(self, option: str) -> tuple[float, float]:
        """(slope below zero, gain)."""
        name = self.option(option, "lrelu")
        if name not in SLOPES:
            raise ConversionError(f"{self.network.name}: activation {name[:40]!r} is not known")
        return SLOPES[name], sqrt(2)


def read_mapping(network: Network) -> Mapping:
    """The mapping network of a generator.

    Raises:
        ConversionError: an option that is not supported (labels, say), a variable missing, misshapen or not finite.
    """
    r = _Reader(network)
    if r.option("label_size", 0):
        raise ConversionError(
            f"the network takes a label of {r.option('label_size', 0)} values; "
            "only networks without labels are converted"
        )
    latent, dlatent = r.option("latent_size", 512), r.option("dlatent_size", 512)
    count, width = r.option("mapping_layers", 8), r.option("mapping_fmaps", 512)
    if not (1 <= count <= 64 and all(1 <= n <= 8192 for n in (latent, dlatent, width))):
        raise ConversionError(f"{network.name}: sizes {latent}, {dlatent}, {width}, {count} make no mapping network")
    slope, gain = r.activation("mapping_nonlinearity")
    sides = [latent, *[width] * (count - 1), dlatent]
    rate = r.option("mapping_lrmul", 0.01)
    layers = [r.dense(f"Dense{i}", sides[i], sides[i + 1], gain, rate) for i in range(count)]
    return Mapping(latent, dlatent, r.option("normalize_latents", True), slope, layers)


def read_synthesis(network: Network, noise: bool) -> Synthesis:
    """The synthesis network of a generator, with the file's noise or with none.

    Raises:
        ConversionError: an option that is not supported, a variable missing, misshapen or not finite.
    """
    r = _Reader(network)
    resolution, dlatent = r.option("resolution", 1024), r.option("dlatent_size", 512)
    if resolution not in RESOLUTIONS:
        raise ConversionError(f"{network.name}: resolution {resolution} is not one of {RESOLUTIONS}")
    if r.option("num_channels", 3) != 3:
        raise ConversionError(f"{network.name} makes pictures of {r.option('num_channels', 3)} channels, not RGB")
    for option in ("use_styles", "const_input_layer"):
        if not r.option(option, True):
            raise ConversionError(f"{network.name} was built with {option} off; such networks are not converted")
    if "lod" in network.variables and float(r.variable("lod")) != 0:
        raise ConversionError(f"{network.name} is of the middle of its training (lod {float(r.variable('lod')):g})")
    slope, gain = r.activation("nonlinearity")
    channels = [_channels(r, stage) for stage in range(int(log2(resolution)))]
    layers = _layers(r, channels, dlatent, gain, noise and r.option("use_noise", True))
    weight = r.variable("ToRGB_lod0/weight", 1, 1, channels[-1], 3)[0, 0] * np.float32(r.scale(channels[-1], 1.0))
    return Synthesis(
        resolution=resolution,
        dlatent=dlatent,
        slope=slope,
        start=r.variable("4x4/Const/const", 1, channels[1], 4, 4)[0],
        layers=layers,
        fused=tuple(_is_fused(r, i) for i in range(len(layers))),
        blur=_blur(network),
        pixel_norm=r.option("use_pixel_norm", False),
        instance_norm=r.option("use_instance_norm", True),
        to_rgb=Dense(weight, r.variable("ToRGB_lod0/bias", 3)),
    )


def _channels(r: _Reader, stage: int) -> int:
    base, most = r.option("fmap_base", 8192), r.option("fmap_max", 512)
    channels = min(int(base / 2.0 ** (stage * r.option("fmap_decay", 1.0))), most)
    if not 1 <= channels <= 4096:
        raise ConversionError(f"{r.network.name}: fmap_base {base} gives {channels} channels at stage {stage}")
    return channels


def _layers(r: _Reader, channels: list[int], dlatent: int, gain: float, noise: bool) -> list[Layer]:
    """4x4/Const, 4x4/Conv, then Conv0_up and Conv1 of every further resolution."""
    layers = []
    for stage in range(1, len(channels)):
        side = 2 ** (stage + 1)
        for place, scope in enumerate(("Const", "Conv") if stage == 1 else ("Conv0_up", "Conv1")):
            name, out = f"{side}x{side}/{scope}", channels[stage]
            weight = None
            if scope != "Const":
                into = channels[stage - 1] if scope == "Conv0_up" else out
                weight = r.variable(f"{name}/weight", 3, 3, into, out) * np.float32(r.scale(9 * into, gain))
            index = 2 * (stage - 1) + place
            layers.append(
                Layer(
                    weight=weight,
                    up=scope == "Conv0_up",
                    noise=r.variable(f"noise{index}", 1, 1, side, side)[0, 0] if noise else None,
                    strength=r.variable(f"{name}/Noise/weight", out) if noise else None,
                    bias=r.variable(f"{name}/bias", out),
                    style=r.dense(f"{name}/StyleMod", dlatent, 2 * out, 1.0),
                )
            )
    return layers


def _is_fused(r: _Reader, layer: int) -> bool:
    """Whether the file's network scales up inside the convolution of a layer.

    The two ways differ by more than speed: the fused one uses the kernel mirrored.
    """
    fused = r.network.options.get("fused_scale", "auto")
    if type(fused) is bool:
        return fused
    if type(fused) is str and fused == "auto":
        return bool(2 ** (layer // 2 + 2) >= 128)
    raise ConversionError(f"{r.network.name}: option fused_scale is not understood")


def _blur(network: Network) -> np.ndarray:
    taps: Any = network.options.get("blur_filter", [1, 2, 1])
    if taps is None or taps == []:
        return np.ones(1, np.float32)
    if type(taps) is not list or len(taps) % 2 == 0 or len(taps) > 15 or any(type(t) not in (int, float) for t in taps):
        raise ConversionError(f"{network.name}: option blur_filter is not understood")
    values = np.array(taps, np.float32)
    if not np.isfinite(values).all() or values.sum() == 0:
        raise ConversionError(f"{network.name}: blur_filter does not sum to anything")
    return values / values.sum()

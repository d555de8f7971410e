"""StyleGAN (Karras et al. 2019, arXiv:1812.04948) from its official pickles: z -> w, and w of every layer -> pictures.

Every layer becomes: one convolution (with the scaling up inside it, whichever way the file did it), blur and bias as
one depthwise convolution, noise, activation, instance norm, and the style's scale and shift. The first layer does not
depend on w before its style, so it is a constant. The way to uint8 is folded into the last convolution.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from conversion.converted import Converted
from conversion.graph import FLOAT, FLOAT16, UINT8, Graph
from conversion.parity import Parity, run_onnx
from conversion.reference import leaky_relu
from conversion.registry import Options
from conversion.stylegan import reference as stylegan_reference
from conversion.stylegan.network import Dense, Layer, Mapping, Synthesis, read_mapping, read_synthesis
from conversion.stylegan.pickle_file import Network, read
from services.anonymizer.models import Generator
from services.errors import ConversionError

EPSILON = stylegan_reference.EPSILON
HALF_LARGEST = 65504.0  # of float16
HALF_MARGIN = 4.0  # pictures that were not tried may go so much further than those that were
Kind = Literal["uint8", "float", "peaks"]


def build_mapping(network: Mapping) -> onnx.ModelProto:
    """`z float32 [N, latent]`, standard normal -> `w float32 [N, dlatent]`, not truncated."""
    graph = Graph()
    x = "z"
    if network.normalise:
        square = graph.op("ReduceMean", graph.op("Mul", x, x), graph.ints(1), keepdims=1)
        x = graph.op("Div", x, graph.op("Sqrt", graph.op("Add", square, graph.const(EPSILON))))
    for layer in network.layers:
        x = graph.op("Gemm", x, graph.const(layer.weight), graph.const(layer.bias))
        x = graph.op("LeakyRelu", x, alpha=network.slope)
    graph.name(x, "w")
    return graph.model("stylegan-mapping", [("z", FLOAT, [network.latent])], [("w", FLOAT, [network.dlatent])])


class _SynthesisGraph(Graph):
    """Writes the synthesis network; `emit` is the forward pass."""

    def __init__(self, network: Synthesis, half: bool):
        super().__init__()
        self.network = network
        self.half = half
        self.flops = 0  # 2 x multiply-adds of one picture
        self.watched: list[str] = []  # what float16 must hold: what goes into a convolution and what comes out

    def _convolve(self, kind: str, x: str, weight: np.ndarray, bias: np.ndarray | None, **attributes: Any) -> str:
        """A convolution, in float16 if asked; what follows it is float32 always."""
        dtype = np.float16 if self.half else np.float32
        if self.half and not np.abs(weight).max() <= HALF_LARGEST:
            raise ConversionError("a weight is larger than float16 holds; use --precision fp32")
        self.watched.append(x)
        constants = [self.const(value, dtype) for value in (weight, bias) if value is not None]
        if self.half:
            x = self.op("Cast", x, to=FLOAT16)
        x = self.op(kind, x, *constants, kernel_shape=list(weight.shape[2:]), **attributes)
        self.watched.append(x)
        return self.op("Cast", x, to=FLOAT) if self.half else x

    def emit(self) -> str:
        x = self.const(_start(self.network, self.network.layers[0]))
        for index, layer in enumerate(self.network.layers):
            if layer.weight is not None:
                side = 2 ** (index // 2 + 2)
                x = self._up(x, layer, index, side) if layer.up else self._same(x, layer, side)
                x = self._after(x, layer)
            x = self._style(x, layer.style, index)
        return x

    def _same(self, x: str, layer: Layer, side: int) -> str:
        assert layer.weight is not None
        self.flops += 2 * layer.weight.size * side**2
        return self._convolve("Conv", x, layer.weight.transpose(3, 2, 0, 1), layer.bias, pads=[1] * 4)

    def _up(self, x: str, layer: Layer, index: int, side: int) -> str:
        """Twice the size, a 3x3 kernel, blur, and bias.

        To repeat every pixel and convolve is to spread a 4x4 stamp at a stride of two: less than half the multiplies.
        The stamp is the sum of four shifted kernels; the fused networks spread the kernel itself, the others, being
        cross-correlations, its mirror image.
        """
        assert layer.weight is not None
        kernel = layer.weight if self.network.fused[index] else layer.weight[::-1, ::-1]
        wide = np.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
        stamp = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
        self.flops += 2 * stamp.size * (side // 2) ** 2
        x = self._convolve("ConvTranspose", x, stamp.transpose(2, 3, 0, 1), None, strides=[2, 2], pads=[1] * 4)
        taps, channels = self.network.blur, stamp.shape[3]
        filters = np.broadcast_to(np.outer(taps, taps), (channels, 1, len(taps), len(taps)))
        self.flops += 2 * filters.size * side**2
        return self._convolve("Conv", x, filters, layer.bias, pads=[len(taps) // 2] * 4, group=channels)

    def _after(self, x: str, layer: Layer) -> str:
        """Noise, activation, norms."""
        if layer.noise is not None and layer.strength is not None and layer.strength.any():
            # Two constants: the product is a picture for every channel, and would be most of the file.
            strength = self.const(layer.strength[None, :, None, None])
            x = self.op("Add", x, self.op("Mul", self.const(layer.noise[None, None]), strength))
        x = self.op("LeakyRelu", x, alpha=self.network.slope)
        if self.network.pixel_norm:
            square = self.op("ReduceMean", self.op("Mul", x, x), self.ints(1), keepdims=1)
            x = self.op("Div", x, self.op("Sqrt", self.op("Add", square, self.const(EPSILON))))
        if self.network.instance_norm:
            ones, zeros = np.ones(len(layer.bias)), np.zeros(len(layer.bias))
            x = self.op("InstanceNormalization", x, self.const(ones), self.const(zeros), epsilon=EPSILON)
        return x

    def _style(self, x: str, style: Dense, index: int) -> str:
        """x * (scale + 1) + shift, both from this layer's w; the 1 is in the bias."""
        channels = len(style.bias) // 2
        self.flops += 2 * style.weight.size
        bias = style.bias + np.repeat([1, 0], channels)
        w = self.op("Gather", "w", self.const(index, np.int64), axis=1)
        both = self.op("Gemm", w, self.const(style.weight), self.const(bias))
        scale, shift = self.ops(
            "Split", self.op("Reshape", both, self.ints(0, -1, 1, 1)), outputs=2, axis=1, num_outputs=2
        )
        return self.op("Add", self.op("Mul", x, scale), shift)

    def to_rgb(self, x: str, scale: float, shift: float) -> str:
        """Pictures times a scale plus a shift, as one 1x1 convolution in float32."""
        weight, bias = self.network.to_rgb.weight, self.network.to_rgb.bias
        self.flops += 2 * weight.size * self.network.resolution**2
        constants = self.const(weight.T[:, :, None, None] * scale), self.const(bias * scale + shift)
        return self.op("Conv", x, *constants, kernel_shape=[1, 1])


def _start(network: Synthesis, layer: Layer) -> np.ndarray:
    """The first layer up to its style: the same for every w. float32 [1, C, 4, 4]."""
    x = network.start[None].astype(np.float64)
    if layer.noise is not None and layer.strength is not None:
        x = x + layer.noise * layer.strength[None, :, None, None]
    x = leaky_relu(x + layer.bias[None, :, None, None], network.slope)
    if network.pixel_norm:
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)
    if network.instance_norm:
        x = x - x.mean(axis=(2, 3), keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=(2, 3), keepdims=True) + EPSILON)
    return x.astype(np.float32)


@dataclass(frozen=True)
class Built:
    """The synthesis graph, and what one picture costs."""

    model: onnx.ModelProto
    flops: int


def build_synthesis(network: Synthesis, half: bool = False, kind: Kind = "uint8") -> Built:
    """`w float32 [N, layers, dlatent]` -> `image uint8 [N, R, R, 3]` RGB.

    Args:
        half: weights and convolutions in float16; norms, styles and the last convolution stay float32.
        kind: `float` gives `image float32 [N, 3, R, R]`, about -1 to 1, for comparisons; `peaks` the largest |value|
            going into and coming out of every convolution instead of a picture, `peaks float32 [N, 2 x convolutions]`.
    """
    graph = _SynthesisGraph(network, half)
    side = network.resolution
    x = graph.emit()
    if kind == "peaks":
        largest = [
            graph.op("ReduceMax", graph.op("Abs", graph.op("Cast", c, to=FLOAT)), graph.ints(1, 2, 3), keepdims=0)
            for c in graph.watched
        ]
        graph.name(graph.op("Concat", *[graph.op("Unsqueeze", v, graph.ints(1)) for v in largest], axis=1), "peaks")
        outputs: list[tuple[str, int, list[int]]] = [("peaks", FLOAT, [len(largest)])]
    elif kind == "float":
        graph.name(graph.to_rgb(x, 1.0, 0.0), "image")
        outputs = [("image", FLOAT, [3, side, side])]
    else:
        # [-1, 1] -> [0, 255], rounded: x * 127.5 + 127.5, and 0.5 more because the cast cuts off.
        x = graph.op("Clip", graph.to_rgb(x, 127.5, 128.0), graph.const(0), graph.const(255))
        graph.name(graph.op("Transpose", graph.op("Cast", x, to=UINT8), perm=[0, 2, 3, 1]), "image")
        outputs = [("image", UINT8, [side, side, 3])]
    inputs = [("w", FLOAT, [len(network.layers), network.dlatent])]
    return Built(graph.model(f"stylegan-{side}", inputs, outputs), graph.flops)


def check_mapping(model: onnx.ModelProto, network: Mapping, samples: int = 16) -> Parity:
    """Against the network as its options define it, in float64."""
    z = np.random.default_rng(1).standard_normal((samples, network.latent))
    expected = stylegan_reference.mapping(network, z)
    difference = np.abs(run_onnx(model, z=z.astype(np.float32))[0] - expected).max()
    return Parity(
        reference="numpy, float64",
        measure="largest |difference| of w, as a share of its largest value",
        value=float(difference / max(np.abs(expected).max(), 1e-12)),
        tolerance=1e-4,
        samples=samples,
    )


def check_synthesis(model: onnx.ModelProto, network: Synthesis, w: np.ndarray, half: bool) -> Parity:
    """Against the network as its options define it, on `w float32 [N, layers, dlatent]`, brought to uint8 alike.

    Raises:
        ConversionError: float32 pictures differ by more than one step somewhere, or the file's are not finite.
    """
    expected = stylegan_reference.synthesis(network, w)
    if not np.isfinite(expected).all():
        raise ConversionError("its pictures are not finite numbers; the weights are too large")
    expected = np.clip(np.floor(expected * 127.5 + 128.0), 0, 255).astype(np.int16).transpose(0, 2, 3, 1)
    difference = np.abs(run_onnx(model, w=w)[0].astype(np.int16) - expected)
    if half:
        rms = float(np.sqrt((difference.astype(np.float64) ** 2).mean()))
        return Parity("numpy, float32", "root mean square difference of uint8 values", rms, 2.0, len(w))
    if difference.max() > 1:
        raise ConversionError(f"synthesis is off by {difference.max()} of 255 somewhere; nothing was published")
    measure = "share of uint8 values that differ (each by 1)"
    return Parity("numpy, float32", measure, float((difference > 0).mean()), 1e-3, len(w))


def check_half(network: Synthesis, w: np.ndarray) -> float:
    """The largest |value| that goes into or comes out of any convolution for some w, computed in float32.

    Raises:
        ConversionError: float16 (at most 65504) would not hold four times that.
    """
    largest = float(run_onnx(build_synthesis(network, kind="peaks").model, w=w)[0].max())
    if not largest * HALF_MARGIN <= HALF_LARGEST:
        raise ConversionError(
            f"values reach {largest:.3g} inside the network: too near to float16's {HALF_LARGEST:g}; "
            "use --precision fp32"
        )
    return largest


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A pickle -> `NAME-mapping` and `NAME-synthesis`, the generator NAME.

    Raises:
        ConversionError: the file is damaged or hostile, or holds a network that is not supported.
    """
    network = read(path)[options.network]
    if not {"mapping", "synthesis"} <= network.components.keys():
        raise ConversionError(
            f"{path.name} is not StyleGAN (1): {options.network} has no mapping and synthesis networks"
        )
    # The whole network's options hold for its parts, unless these say otherwise.
    parts = {key: _with_options(part, network.options) for key, part in network.components.items()}
    mapping, synthesis = read_mapping(parts["mapping"]), read_synthesis(parts["synthesis"], options.noise == "fixed")
    if mapping.dlatent != synthesis.dlatent:
        raise ConversionError(
            f"{path.name}: its mapping gives w of {mapping.dlatent}, its synthesis takes {synthesis.dlatent}"
        )
    half = options.precision == "fp16"
    mapping_model, built = build_mapping(mapping), build_synthesis(synthesis, half)
    w_mean = _average(network, mapping)
    w = _some_w(mapping, w_mean, len(synthesis.layers), 1 if synthesis.resolution > 256 else 2)
    layers, side = len(synthesis.layers), synthesis.resolution
    card = {
        "w_mean": [float(v) for v in w_mean],
        "truncation": {
            "psi": _number(network, "truncation_psi", 0.7),
            "cutoff": _number(network, "truncation_cutoff", 8),
        },
        "network": options.network,
    }
    facts: dict[str, Any] = {
        "resolution": side,
        "layers": layers,
        "noise": options.noise,
        "precision": options.precision,
        "nodes": len(built.model.graph.node),
        "flops_per_image": built.flops,
    }
    if half:
        tried = _some_w(mapping, w_mean, layers, 4 if side > 256 else 16, psi=1.0)
        facts["largest_value"] = check_half(synthesis, tried)
        facts["largest_value_of"] = f"{len(tried)} pictures, not truncated, in float32; float16 holds {HALF_LARGEST:g}"
    row = Generator(
        name=name,
        model=f"{name}-synthesis",
        latent_shape=(layers, synthesis.dlatent),
        image_size=(side, side),
        mapping=f"{name}-mapping",
        z_dims=mapping.latent,
    )
    return [
        Converted(f"{name}-mapping", mapping_model, check_mapping(mapping_model, mapping), card),
        Converted(row.model, built.model, check_synthesis(built.model, synthesis, w, half), facts, row),
    ]


def _with_options(part: Network, outer: dict[str, Any]) -> Network:
    return Network(part.name, {**outer, **part.options}, part.components, part.variables)


def _number(network: Network, option: str, default: float) -> float | None:
    value = network.options.get(option, default)
    return value if type(value) in (int, float) and abs(value) <= 1e6 else None


def _average(network: Network, mapping: Mapping) -> np.ndarray:
    """The file's running average of w, float32 [dlatent]; the mean of 20,000 if it has none."""
    if "dlatent_avg" in network.variables:
        average = network.variables["dlatent_avg"].astype(np.float32)
        if average.shape != (mapping.dlatent,) or not np.isfinite(average).all():
            raise ConversionError(f"{network.name}: dlatent_avg is not {mapping.dlatent} finite numbers")
        return average
    z = np.random.default_rng(0).standard_normal((20_000, mapping.latent), dtype=np.float32)
    return stylegan_reference.mapping(mapping, z).mean(axis=0).astype(np.float32)


def _some_w(mapping: Mapping, w_mean: np.ndarray, layers: int, count: int, psi: float = 0.7) -> np.ndarray:
    """w float32 [count, layers, dlatent] of random people."""
    z = np.random.default_rng(2).standard_normal((count, mapping.latent), dtype=np.float32)
    w = w_mean + psi * (stylegan_reference.mapping(mapping, z) - w_mean)
    return np.repeat(w[:, None].astype(np.float32), layers, axis=1)

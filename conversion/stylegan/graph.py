"""StyleGAN (Karras et al. 2019, arXiv:1812.04948) from its official pickles: z -> w, and w of every layer -> pictures.

Every layer becomes: one convolution (with the scaling up inside it, whichever way the file did it), blur and bias as
one depthwise convolution, noise, activation, instance norm, and the style's scale and shift. The first layer does not
depend on w before its style, so it is a constant. The way to uint8 is folded into the last convolution.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx

from conversion.graph import FLOAT, FLOAT16, UINT8, Graph
from conversion.stylegan import reference as stylegan_reference
from conversion.stylegan.network import Dense, Layer, Mapping, Synthesis
from services.errors import ConversionError

EPSILON = stylegan_reference.EPSILON
HALF_LARGEST = 65504.0  # of float16
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
    x = stylegan_reference.before_style(network, layer, network.start[None].astype(np.float64))
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

"""MobileStyleGAN (Belousov 2021, arXiv:2104.04767), FFHQ 1024, from its OpenVINO IR: z -> w, and w -> uint8 pictures.

The exported IR spells every shape computation and wavelet filter out (474 computing nodes). The network is small once
its structure is known: a constant 4x4 start, and seven stages of [inverse Haar wavelet, depthwise + pointwise
convolution, depthwise + pointwise convolution], each pointwise convolution fed by a modulation of w. Here it is rebuilt
from the weights: one Gemm for all 23 modulations, the wavelet as sums and a DepthToSpace, the scale to uint8 folded
into the last convolution.
"""

from pathlib import Path

import numpy as np
import onnx
import openvino

from conversion.converted import Converted
from conversion.graph import FLOAT, UINT8, Graph
from conversion.mobile_stylegan.ir import (
    STAGES,
    Convolution,
    Synthesis,
    constants,
    consumers,
    modulation_order,
    read_network,
    read_synthesis,
    require_finite,
)
from conversion.parity import Parity, run_onnx
from conversion.registry import Options
from services.anonymizer.models import Generator
from services.errors import ConversionError

W_DIM = 512
SIZES = (512, 1024)
LEAK = 0.2


def _by_band(channels: int) -> np.ndarray:
    """Reorders wavelet channels from the file's [LL | channel, band] to [LL, band 0, band 1, band 2]."""
    quarter = channels // 4
    bands = [quarter + np.arange(quarter) * 3 + band for band in range(3)]
    return np.concatenate([np.arange(quarter), *bands])


class _SynthesisGraph(Graph):
    """Writes the synthesis network; `emit` is the forward pass."""

    def __init__(self, weights: Synthesis):
        super().__init__()
        self.weights = weights
        self.spatial = self.ints(2, 3)
        self.style = self._modulate()

    def _modulate(self) -> dict[str, str]:
        """All modulations of w as one Gemm."""
        names, weights, biases = [], [], []
        for name, banded in modulation_order():
            weight, bias = self.weights.modulations[name]
            order = _by_band(len(bias)) if banded else np.arange(len(bias))
            names.append(name)
            weights.append(weight[order])
            biases.append(bias[order])
        stacked = self.op(
            "Gemm", "w", self.const(np.concatenate(weights)), self.const(np.concatenate(biases)), transB=1
        )
        parts = self.ops("Split", stacked, self.ints(*map(len, biases)), outputs=len(names), axis=1)
        return dict(zip(names, parts, strict=True))

    def _scaled(self, x: str, style: str) -> str:
        return self.op("Mul", x, self.op("Unsqueeze", style, self.spatial))

    def _pointwise(self, x: str, layer: Convolution, banded: bool, pad: int = 0) -> str:
        assert layer.bias is not None
        order = _by_band(len(layer.bias)) if banded else np.arange(len(layer.bias))
        x = self.op(
            "Conv",
            x,
            self.const(layer.weight[order]),
            self.const(layer.bias[order]),
            kernel_shape=list(layer.weight.shape[2:]),
            pads=[pad] * 4,
        )
        if layer.noise is not None:
            x = self.op("Add", x, self.const(layer.noise))
        return self.op("LeakyRelu", x, alpha=LEAK)

    def _depthwise(self, x: str, layer: Convolution) -> str:
        return self.op("Conv", x, self.const(layer.weight), kernel_shape=[3, 3], pads=[1] * 4, group=len(layer.weight))

    def _inverse_haar(self, x: str) -> str:
        """Four bands at one size -> one plane at twice the size (the factor 1/2 is in the modulation)."""
        low, h0, h1, h2 = self.ops("Split", x, outputs=4, axis=1, num_outputs=4)
        p, q = self.op("Add", low, h0), self.op("Sub", low, h0)
        r, s = self.op("Add", h1, h2), self.op("Sub", h1, h2)
        phases = [self.op("Add", p, r), self.op("Sub", p, r), self.op("Add", q, s), self.op("Sub", q, s)]
        return self.op("DepthToSpace", self.op("Concat", *phases, axis=1), blocksize=2, mode="DCR")

    def emit(self, size: int) -> str:
        layers = iter(self.weights.convolutions)
        x = self.op("Mul", self.op("Unsqueeze", self.style["conv1.conv"], self.spatial), self.const(self.weights.start))
        x = self._pointwise(x, next(layers), banded=True, pad=1)
        for i in range(STAGES):
            half = self.op("Mul", self.style[f"layers.{i}.conv1.conv"], self.const(0.5))
            up = self.op("Mul", self.style[f"layers.{i}.up"], self.op("Concat", *[half] * 4, axis=1))
            x = self._inverse_haar(self._scaled(x, up))
            x = self._pointwise(self._depthwise(x, next(layers)), next(layers), banded=False)
            x = self._scaled(x, self.style[f"layers.{i}.conv2.conv"])
            x = self._pointwise(self._depthwise(x, next(layers)), next(layers), banded=i < STAGES - 1)
        x = self._scaled(x, self.style[f"layers.{STAGES - 1}.to_img.conv"])
        return self._to_pixels(x, next(layers), size)

    def _to_pixels(self, x: str, layer: Convolution, size: int) -> str:
        """The last convolution, with the last wavelet and the way to uint8 [N, size, size, 3] folded into it.

        At 1024 the four wavelet bands become the four pixels of a 2x2 cell; at 512 the low band alone, halved, is the
        picture at half the size.
        """
        assert layer.bias is not None
        weight, bias = layer.weight[_by_band(12)], layer.bias[_by_band(12)]
        if size == 1024:
            cell = 0.5 * np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
            mix = np.kron(cell, np.eye(3))
            weight, bias = (mix @ weight.reshape(12, -1)).reshape(12, -1, 1, 1), mix @ bias
        else:
            weight, bias = weight[:3] * 0.5, bias[:3] * 0.5
        # [-1, 1] -> [0, 255], rounded: x * 127.5 + 127.5, and 0.5 more because the cast cuts off.
        x = self.op("Conv", x, self.const(weight * 127.5), self.const(bias * 127.5 + 128.0), kernel_shape=[1, 1])
        x = self.op("Cast", self.op("Clip", x, self.const(0), self.const(255)), to=UINT8)
        if size == 512:
            return self.op("Transpose", x, perm=[0, 2, 3, 1])
        cells = self.op("Reshape", x, self.ints(0, 2, 2, 3, 512, 512))
        return self.op("Reshape", self.op("Transpose", cells, perm=[0, 4, 1, 5, 2, 3]), self.ints(0, 1024, 1024, 3))


def build_synthesis(weights: Synthesis, size: int) -> onnx.ModelProto:
    """`w float32 [N, 512]` -> `image uint8 [N, size, size, 3]` RGB, sRGB-coded; size 512 or 1024.

    Raises:
        ConversionError: another size.
    """
    if size not in SIZES:
        raise ConversionError(f"MobileStyleGAN renders at {SIZES}, not at {size}")
    graph = _SynthesisGraph(weights)
    graph.name(graph.emit(size), "image")
    return graph.model(f"mobile-stylegan-{size}", [("w", FLOAT, [W_DIM])], [("image", UINT8, [size, size, 3])])


def build_mapping(ir: Path) -> onnx.ModelProto:
    """`z float32 [N, 512]`, standard normal -> `w float32 [N, 512]`, not truncated, from `MappingNetwork.xml`.

    z is brought to unit mean square, then eight fully connected layers with a leaky ReLU and a gain, folded into the
    weights of the layer that follows.

    Raises:
        ConversionError: the file is not MobileStyleGAN's mapping network.
    """
    network = read_network(ir)
    require_finite(network, ir)
    layers = [node for node in network.get_ordered_ops() if node.get_type_name() == "MatMul"]
    if len(layers) != 8:
        raise ConversionError(f"{ir.name} is not MobileStyleGAN's mapping network ({len(layers)} layers, not 8)")
    graph = Graph()
    square = graph.op("ReduceMean", graph.op("Mul", "z", "z"), graph.ints(1), keepdims=1)
    norm = graph.op("Sqrt", graph.op("Add", square, graph.const(1e-8)))
    x = graph.op("Div", "z", norm)
    for matmul in layers:
        weight = constants(matmul)[0]
        add = consumers(matmul)[0]
        activation = consumers(add)[0]
        slope = float(constants(activation)[0].reshape(-1)[0])
        gain = float(constants(consumers(activation)[0])[0].reshape(-1)[0])
        transposed = matmul.get_attributes()["transpose_b"]
        # A positive gain passes through a leaky ReLU, so it moves into the layer's own weights.
        x = graph.op(
            "Gemm",
            x,
            graph.const(weight * gain),
            graph.const(constants(add)[0].reshape(-1) * gain),
            transB=int(transposed),
        )
        x = graph.op("LeakyRelu", x, alpha=slope)
    graph.name(x, "w")
    return graph.model("mobile-stylegan-mapping", [("z", FLOAT, [W_DIM])], [("w", FLOAT, [W_DIM])])


def mean_w(mapping: onnx.ModelProto, samples: int = 20_000, seed: int = 0) -> np.ndarray:
    """The average w, `float32 [512]`: the point that truncation shrinks towards."""
    z = np.random.default_rng(seed).standard_normal((samples, W_DIM), dtype=np.float32)
    return run_onnx(mapping, z=z)[0].mean(axis=0)


def _openvino_answers(ir: Path, rows: np.ndarray) -> np.ndarray:
    """What the original file answers.

    Raises:
        ConversionError: something that is not finite.
    """
    compiled = openvino.Core().compile_model(ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = np.concatenate([compiled(row[None])[0].copy() for row in rows])
    if not np.isfinite(answers).all():
        raise ConversionError(f"{ir.name} answers with values that are not finite numbers; its .bin is damaged")
    return answers


def check_mapping(model: onnx.ModelProto, ir: Path, samples: int = 16) -> Parity:
    """Against OpenVINO running the original file."""
    z = np.random.default_rng(1).standard_normal((samples, W_DIM), dtype=np.float32)
    difference = np.abs(run_onnx(model, z=z)[0] - _openvino_answers(ir, z)).max()
    return Parity(
        reference=f"openvino {openvino.__version__.split('-')[0]}",
        measure="largest |difference| of w",
        value=float(difference),
        tolerance=1e-4,
        samples=samples,
    )


def check_synthesis(model: onnx.ModelProto, size: int, ir: Path, w: np.ndarray) -> Parity:
    """Against OpenVINO running the original file on `w float32 [N, 512]`, brought to uint8 by the same rounding.

    At 512 the reference is the low band of the picture's Haar transform: the mean of each 2x2 cell.
    """
    reference = _openvino_answers(ir, w)
    if size == 512:
        n, c, height, width = reference.shape
        reference = reference.reshape(n, c, height // 2, 2, width // 2, 2).mean(axis=(3, 5))
    expected = np.clip(np.floor(reference * 127.5 + 128.0), 0, 255).astype(np.int16).transpose(0, 2, 3, 1)
    difference = np.abs(run_onnx(model, w=w)[0].astype(np.int16) - expected)
    if difference.max() > 1:
        raise ConversionError(
            f"synthesis at {size} is off by {difference.max()} of 255 somewhere; nothing was published"
        )
    return Parity(
        reference=f"openvino {openvino.__version__.split('-')[0]}",
        measure="share of uint8 values that differ (each by 1)",
        value=float((difference > 0).mean()),
        tolerance=1e-3,
        samples=len(w),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """The folder with both networks -> `NAME-mapping`, and `NAME-512` and `NAME-1024`, a generator each."""
    mapping_ir, synthesis_ir = path / "MappingNetwork.xml", path / "SynthesisNetwork.xml"
    mapping = build_mapping(mapping_ir)
    average = mean_w(mapping)
    card = {"w_mean": [round(float(v), 6) for v in average], "alignment": "ffhq"}
    models = [Converted(f"{name}-mapping", mapping, check_mapping(mapping, mapping_ir), card)]
    weights = read_synthesis(synthesis_ir)
    z = np.random.default_rng(2).standard_normal((2, W_DIM), dtype=np.float32)
    w = (average + 0.7 * (run_onnx(mapping, z=z)[0] - average)).astype(np.float32)
    for size in SIZES:
        synthesis = build_synthesis(weights, size)
        row = Generator(
            name=f"{name}-{size}",
            model=f"{name}-{size}",
            latent_shape=(W_DIM,),
            image_size=(size, size),
            mapping=f"{name}-mapping",
            z_dims=W_DIM,
            preview=None if size == SIZES[0] else f"{name}-{SIZES[0]}",
        )
        checked = check_synthesis(synthesis, size, synthesis_ir, w)
        models.append(Converted(row.model, synthesis, checked, {"nodes": len(synthesis.graph.node)}, row))
    return models

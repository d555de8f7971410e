"""dlib's face recognition ResNet (King 2017, `dlib_face_recognition_resnet_model_v1`) as ONNX.

29 convolutions with their affine layers folded in, residual blocks that grow by zero padding at the end of each axis
(dlib's `add_prev`), a global average, and a 128-D projection. The embedding is not normalised (its norm is about 1.4);
two photos of one person are usually nearer than 0.6 (Euclidean).
"""

from pathlib import Path

import dlib
import numpy as np
import onnx

from conversion.converted import Converted
from conversion.dlib_resnet.dat import DlibNetwork, Layer, read_network
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.registry import Options
from services.anonymizer.models import EMBEDDERS

EMBEDDING_DIM = 128
Shape = tuple[int, int, int]


def _fold_affine(layers: list[Layer]) -> list[Layer]:
    """Convolution then affine -> one convolution."""
    folded: list[Layer] = []
    for layer in layers:
        if layer.kind == "affine" and folded and folded[-1].kind == "con":
            before, gamma, beta = folded[-1].values, layer.values["gamma"], layer.values["beta"]
            bias = 0 if before["bias"] is None else before["bias"]
            weight = before["weight"] * gamma[:, None, None, None]
            folded[-1] = Layer("con", {**before, "weight": weight, "bias": bias * gamma + beta})
        else:
            folded.append(layer)
    return folded


class _ResnetGraph(Graph):
    """Walks the layers bottom up, keeping the current tensor's shape [C, H, W] for dlib's padding rules."""

    def emit(self, network: DlibNetwork) -> str:
        x = self.op("Transpose", self.op("Cast", "chips", to=FLOAT), perm=[0, 3, 1, 2])
        x = self.op("Sub", x, self.const(np.array(network.mean).reshape(1, 3, 1, 1)))
        x = self.op("Mul", x, self.const(1 / 256))
        shape: Shape = (3, network.height, network.width)
        tags: list[tuple[str, Shape]] = []
        previous = ""
        for layer in _fold_affine(network.layers):
            if layer.kind == "mark" and previous == "mark":  # a skip right after a tag: back to the block's input
                x, shape = tags[0]
            elif layer.kind == "mark":
                tags.append((x, shape))
            elif layer.kind == "add_prev":
                x, shape = self._add(x, shape, *tags[-1])
                tags = []
            else:
                x, shape = getattr(self, f"_{layer.kind}")(x, shape, layer)
            previous = layer.kind
        return x

    @staticmethod
    def _window(shape: Shape, channels: int, kernel: tuple[int, int], layer: Layer) -> Shape:
        stride, pad = layer.values["stride"], layer.values["pad"]
        height, width = ((shape[i + 1] + 2 * pad[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
        return channels, height, width

    def _con(self, x: str, shape: Shape, layer: Layer) -> tuple[str, Shape]:
        v = layer.values
        kernel = v["weight"].shape[2:]
        x = self.op(
            "Conv",
            x,
            self.const(v["weight"]),
            self.const(v["bias"]),
            kernel_shape=kernel,
            strides=v["stride"],
            pads=[*v["pad"], *v["pad"]],
        )
        return x, self._window(shape, len(v["weight"]), kernel, layer)

    def _relu(self, x: str, shape: Shape, layer: Layer) -> tuple[str, Shape]:
        return self.op("Relu", x), shape

    def _max_pool(self, x: str, shape: Shape, layer: Layer) -> tuple[str, Shape]:
        v = layer.values
        x = self.op("MaxPool", x, kernel_shape=v["kernel"], strides=v["stride"], pads=[*v["pad"], *v["pad"]])
        return x, self._window(shape, shape[0], v["kernel"], layer)

    def _avg_pool(self, x: str, shape: Shape, layer: Layer) -> tuple[str, Shape]:
        v = layer.values
        if v["kernel"][0] == 0:  # dlib writes the global average as a 0x0 window
            return self.op("GlobalAveragePool", x), (shape[0], 1, 1)
        pads = [*v["pad"], *v["pad"]]
        x = self.op("AveragePool", x, kernel_shape=v["kernel"], strides=v["stride"], pads=pads, count_include_pad=0)
        return x, self._window(shape, shape[0], v["kernel"], layer)

    def _fc(self, x: str, shape: Shape, layer: Layer) -> tuple[str, Shape]:
        v = layer.values
        x = self.op("MatMul", self.op("Flatten", x, axis=1), self.const(v["weight"]))
        if v["bias"] is not None:
            x = self.op("Add", x, self.const(v["bias"]))
        return x, (v["weight"].shape[1], 1, 1)

    def _add(self, x: str, shape: Shape, y: str, other: Shape) -> tuple[str, Shape]:
        """The residual sum; the smaller operand is padded with zeros at the end of each axis."""
        to = (max(shape[0], other[0]), max(shape[1], other[1]), max(shape[2], other[2]))

        def padded(value: str, have: Shape) -> str:
            if have == to:
                return value
            ends = [t - h for t, h in zip(to, have, strict=True)]
            return self.op("Pad", value, self.ints(0, 0, 0, 0, 0, *ends), mode="constant")

        return self.op("Add", padded(x, shape), padded(y, other)), to


def build(network: DlibNetwork) -> onnx.ModelProto:
    """`chips uint8 [N, 150, 150, 3]` RGB -> `embedding float32 [N, 128]`."""
    graph = _ResnetGraph()
    graph.name(graph.emit(network), "embedding")
    return graph.model(
        "dlib-resnet",
        [("chips", UINT8, [network.height, network.width, 3])],
        [("embedding", FLOAT, [EMBEDDING_DIM])],
    )


def check(model: onnx.ModelProto, weights: Path, chips: np.ndarray | None = None) -> Parity:
    """Against dlib's own `compute_face_descriptor` on `chips uint8 [N, 150, 150, 3]`, by default pictures of noise."""
    chips = smooth_images(8, 150, seed=3) if chips is None else chips
    recogniser = dlib.face_recognition_model_v1(str(weights))
    expected = np.array([recogniser.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])
    difference = np.abs(run_onnx(model, chips=chips)[0] - expected).max()
    return Parity(
        reference=f"dlib {dlib.__version__}",
        measure="largest |difference| of the embedding",
        value=float(difference),
        tolerance=1e-5,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A `.dat` file -> `NAME`, an embedder that cuts chips and compares distances as the shipped one does."""
    model = build(read_network(path))
    row = EMBEDDERS["dlib-resnet"].model_copy(update={"name": name, "model": name})
    return [Converted(name, model, check(model, path), serves=row)]

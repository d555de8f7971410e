"""Each operation of a TensorFlow.js model as ONNX: the numbers of the numpy walk, and some worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from conversion.graph import FLOAT, Graph
from conversion.parity import run_onnx
from conversion.tfjs.file import TfjsModel, read_model
from conversion.tfjs.graph import OPERATIONS, emit, same_padding
from conversion.tfjs.reference import OPERATIONS as REFERENCE
from conversion.tfjs.reference import evaluate
from services.errors import ConversionError
from tests.unit.tfjs_files import CASES, SIDE, Network, means

TOLERANCE = 1e-5


@pytest.fixture
def grown(tmp_path) -> Callable[..., TfjsModel]:
    """A network that a function grows, written and read."""

    def grow(how: Callable[[Network], str], side: int = SIDE) -> TfjsModel:
        network = Network(side)
        output = how(network)
        return read_model(network.write(tmp_path), output)

    return grow


def converted(model: TfjsModel, pictures: np.ndarray) -> np.ndarray:
    """What the ONNX graph gives for pictures [N, side, side, 3], in TensorFlow's layout."""
    graph = Graph()
    output = emit(graph, model, graph.op("Transpose", "x", perm=[0, 3, 1, 2]))
    name = graph.op("Transpose", output.name, perm=[0, 2, 3, 1]) if len(output.shape) == 3 else output.name
    graph.name(name, "y")
    written = graph.model("net", [("x", FLOAT, [model.side, model.side, 3])], [("y", FLOAT, list(output.shape))])
    return run_onnx(written, x=pictures.astype(np.float32))[0]


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, side, side, 3))


# --- what comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", CASES.values(), ids=CASES)
def test_operation_gives_what_the_reference_gives(grown, how):
    model = grown(how)
    np.testing.assert_allclose(converted(model, pictures(3)), evaluate(model, pictures(3)), atol=TOLERANCE)


def test_every_operation_is_among_the_cases(grown):
    seen = {node.op for how in CASES.values() for node in grown(how).nodes}
    assert seen == set(OPERATIONS) == set(REFERENCE)


@pytest.mark.parametrize("side", [6, 7, 8, 9])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_of_odd_and_even_sizes(grown, side, kernel, stride):
    def convolved(n: Network) -> str:
        return n.op(
            "Conv2D", n.picture, n.weights(kernel, kernel, 3, 2), strides=[1, stride, stride, 1], padding="SAME"
        )

    model = grown(convolved, side)
    found = converted(model, pictures(2, side))
    assert found.shape[1:3] == (-(-side // stride),) * 2
    np.testing.assert_allclose(found, evaluate(model, pictures(2, side)), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "ends"),
    [
        (224, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (7, 3, 1, (1, 1)),
        (7, 2, 1, (0, 1)),
        (8, 5, 2, (1, 2)),
        (9, 1, 2, (0, 0)),
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, ends):
    assert same_padding(size, kernel, stride) == ends


def test_odd_zero_of_same_padding_is_behind(grown):
    """Windows of 3 x 3 ones over ones, two steps apart: the last ones reach a row and a column of zeros."""

    def counted(n: Network) -> str:
        return n.op("Conv2D", n.picture, n.const(np.ones((3, 3, 3, 1))), strides=[1, 2, 2, 1], padding="SAME")

    assert converted(grown(counted, 4), np.ones((1, 4, 4, 3)))[0, ..., 0].tolist() == [[27, 18], [18, 12]]


def test_channels_of_a_depthwise_convolution_stay_together(grown):
    """TensorFlow's order: all that comes of red, then all that comes of green."""

    def scaled(n: Network) -> str:
        factors = n.const(np.reshape([1, 2, 10, 20, 100, 200], (1, 1, 3, 2)))
        return n.op("DepthwiseConv2dNative", n.picture, factors, strides=[1, 1, 1, 1], padding="VALID")

    assert converted(grown(scaled, 1), np.ones((1, 1, 1, 3))).reshape(-1).tolist() == [1, 2, 10, 20, 100, 200]


def test_reshaped_picture_keeps_tensorflows_order(grown):
    values = np.arange(3 * SIDE * SIDE, dtype=float).reshape(1, SIDE, SIDE, 3)
    assert converted(grown(CASES["Reshape"]), values).reshape(-1).tolist() == values.reshape(-1).tolist()


@pytest.mark.parametrize("name", ["Rsqrt", "Mul, a pixel", "Reshape", "Softmax"])
def test_result_does_not_depend_on_the_batch(grown, name):
    model = grown(CASES[name])
    alone = np.concatenate([converted(model, picture[None]) for picture in pictures(3)])
    np.testing.assert_allclose(converted(model, pictures(3)), alone, atol=1e-6)


# --- what is refused --------------------------------------------------------------------------------------------

ONE_STEP = {"strides": [1, 1, 1, 1], "padding": "SAME"}


def convolved(**changed) -> Callable[[Network], str]:
    return lambda n: n.op("Conv2D", n.picture, n.weights(3, 3, 3, 2), **{**ONE_STEP, **changed})


def reduced(op: str, *axes: int) -> Callable[[Network], str]:
    return lambda n: n.op(op, n.picture, n.const(axes, "int32"))


UNFIT = {
    "dilated": convolved(dilations=[1, 2, 2, 1]),
    "channels first": convolved(data_format="NCHW"),
    "explicit padding": convolved(padding="EXPLICIT"),
    "no strides": convolved(strides=[]),
    "stride zero": convolved(strides=[1, 0, 0, 1]),
    "elu drawn in": convolved(fused_ops=["Elu"]),
    "bias drawn in and missing": convolved(fused_ops=["BiasAdd"]),
    "window larger than the picture": lambda n: n.op(
        "Conv2D", n.picture, n.weights(9, 9, 3, 2), strides=[1, 1, 1, 1], padding="VALID"
    ),
    "weights for four channels": lambda n: n.op("Conv2D", n.picture, n.weights(3, 3, 4, 2), **ONE_STEP),
    "weights of three axes": lambda n: n.op("Conv2D", n.picture, n.weights(3, 3, 3), **ONE_STEP),
    "weights that are a picture": lambda n: n.op("Conv2D", n.picture, n.picture, **ONE_STEP),
    "no weights": lambda n: n.op("Conv2D", n.picture, **ONE_STEP),
    "bias of five for two": lambda n: n.op(
        "_FusedConv2D", n.picture, n.weights(3, 3, 3, 2), n.weights(5), fused_ops=["BiasAdd"], **ONE_STEP
    ),
    "mean over the batch": reduced("Mean", 0, 1),
    "sum to a row of pixels": reduced("Sum", 1),
    "more rows": lambda n: n.op("Pad", n.picture, n.const([[1, 0], [0, 0], [0, 0], [0, 0]], "int32")),
    "a smaller picture": lambda n: n.op("Pad", n.picture, n.const([[0, 0], [-1, 0], [0, 0], [0, 0]], "int32")),
    "two axes of ends": lambda n: n.op("Pad", n.picture, n.const([[0, 0], [0, 0]], "int32")),
    "squeezed where it is wide": lambda n: n.op("Squeeze", n.picture, squeeze_dims=[1, 2]),
    "another shape": lambda n: n.op("Reshape", n.picture, n.const([-1, 3, SIDE * SIDE], "int32")),
    "rows drawn together": lambda n: n.op("Reshape", n.picture, n.const([-1, 6 * SIDE * SIDE], "int32")),
    "transposed rows": lambda n: n.op("MatMul", means(n), n.weights(3, 2), transpose_a=True),
    "weights for four features": lambda n: n.op("MatMul", means(n), n.weights(4, 2)),
    "product of a picture": lambda n: n.op("MatMul", n.picture, n.weights(3, 2)),
    "features plus a picture": lambda n: n.op("Add", n.picture, means(n)),
    "three summands": lambda n: n.op("Add", n.picture, n.picture, n.picture),
    "four channels plus three": lambda n: n.op("Add", n.picture, n.weights(4)),
    "a constant of each row": lambda n: n.op("Add", n.picture, n.weights(2, 1, 1, 3)),
    "a larger picture than any": lambda n: n.op(
        "Pad", n.picture, n.const([[0, 0], [9000, 0], [9000, 0], [0, 0]], "int32")
    ),
}


@pytest.mark.parametrize("how", UNFIT.values(), ids=UNFIT)
def test_form_that_is_not_known_is_refused_naming_the_node(grown, how):
    model = grown(how)
    with pytest.raises(ConversionError, match=model.output):
        emit(Graph(), model, "x")


def test_unknown_operation_is_refused_with_the_known_ones(grown):
    model = grown(lambda n: n.op("NonMaxSuppressionV3", n.picture, name="boxes"))
    with pytest.raises(ConversionError, match=r"boxes: NonMaxSuppressionV3 is not known here; there are Abs, Add, "):
        emit(Graph(), model, "x")

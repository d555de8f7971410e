"""TensorFlow.js operations as ONNX, and in the numpy reference, against TensorFlow running the same topology."""

import numpy as np
import pytest

from conversion.graph import FLOAT, Graph
from conversion.parity import run_onnx
from conversion.tfjs.file import read_model
from conversion.tfjs.graph import emit
from conversion.tfjs.reference import evaluate
from tests.unit.tfjs_files import CASES, SIDE, Network

pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
TOLERANCE = 1e-5


@pytest.mark.parametrize("how", CASES.values(), ids=CASES)
def test_operation_gives_what_tensorflow_gives(how, tmp_path):
    from tests.parity.tfjs_tensorflow import run

    network = Network()
    output = how(network)
    path = network.write(tmp_path)
    model = read_model(path, output)
    pictures = np.random.default_rng(2).normal(size=(2, SIDE, SIDE, 3))
    expected = run(path, output, pictures)
    np.testing.assert_allclose(evaluate(model, pictures), expected, atol=TOLERANCE)

    graph = Graph()
    tensor = emit(graph, model, graph.op("Transpose", "x", perm=[0, 3, 1, 2]))
    name = graph.op("Transpose", tensor.name, perm=[0, 2, 3, 1]) if len(tensor.shape) == 3 else tensor.name
    graph.name(name, "y")
    converted = graph.model("net", [("x", FLOAT, [SIDE, SIDE, 3])], [("y", FLOAT, list(tensor.shape))])
    np.testing.assert_allclose(run_onnx(converted, x=pictures.astype(np.float32))[0], expected, atol=TOLERANCE)

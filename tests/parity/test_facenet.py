"""FaceNet as ONNX against TensorFlow running the graph as it was frozen, with everything training left in it.

No package ships FaceNet's weights; the network here has the published layers, and weights drawn at random.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from conversion.graph import FLOAT, IR_VERSION, OPSET, UINT8
from conversion.parity import run_onnx, smooth_images
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.models import find_embedder
from services.provenance import check_model

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (the extra `facenet`)")
facenet = import_module("conversion.facenet.convert")
v1 = tf.compat.v1
TOLERANCE = 1e-5  # of an embedding of norm 1
SEED = 20180402


# --- davidsandberg's inception_resnet_v1.py and train_softmax.py, written down once more --------------------------


class Network:
    """Layers that are trained where `training` holds; each batch norm is one, or two, `tf.cond`."""

    def __init__(self, training, fused: bool):
        self.training, self.fused = training, fused

    @staticmethod
    def variable(name: str, shape: list[int], low: float, high: float, trainable: bool = False):
        drawn = v1.random_uniform_initializer(low, high)
        return v1.get_variable(name, shape, initializer=drawn, trainable=trainable, use_resource=False)

    def normed(self, x):
        """slim's batch_norm: updates_collections=None, decay 0.995, epsilon 0.001, no scale."""
        channels = [x.shape[-1]]
        beta = self.variable("beta", channels, -0.3, 0.3, trainable=True)
        average = self.variable("moving_mean", channels, -0.3, 0.3)
        spread = self.variable("moving_variance", channels, 0.5, 2)

        def forced(mean, variance, *result):
            updates = [v1.assign_sub(a, (a - b) * 0.005) for a, b in ((average, mean), (spread, variance))]
            with tf.control_dependencies(updates):
                return [tf.identity(value) for value in result]

        if not self.fused:
            mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            mean, variance = v1.cond(
                self.training, lambda: forced(mean, variance, mean, variance), lambda: [average, spread]
            )
            return tf.nn.batch_normalization(x, mean, variance, beta, None, 0.001)
        ones, before = tf.ones(channels), tf.shape(x)
        flat = x if len(x.shape) == 4 else tf.reshape(x, [-1, 1, 1, channels[0]])
        norm = partial(v1.nn.fused_batch_norm, flat, ones, beta, epsilon=0.001)
        trained, given = partial(norm, is_training=True), partial(norm, average, spread, is_training=False)
        y, mean, variance = v1.cond(self.training, trained, given)
        y = v1.cond(self.training, lambda: forced(mean, variance, y)[0], lambda: y)
        return y if len(x.shape) == 4 else tf.reshape(y, before)

    def conv(self, x, name: str, channels: int, kernel, stride: int = 1, padding: str = "SAME", plain: bool = False):
        kernel = [kernel, kernel] if isinstance(kernel, int) else kernel
        with v1.variable_scope(name):
            limit = float(np.sqrt(6 / (kernel[0] * kernel[1] * int(x.shape[-1]))))
            weights = self.variable("weights", [*kernel, int(x.shape[-1]), channels], -limit, limit, trainable=True)
            x = v1.nn.conv2d(x, weights, strides=[1, stride, stride, 1], padding=padding)
            if plain:
                return tf.nn.bias_add(x, self.variable("biases", [channels], -0.1, 0.1, trainable=True))
            with v1.variable_scope("BatchNorm"):
                return tf.nn.relu(self.normed(x))

    def tower(self, x, name: str, *layers):
        """Convolutions one after another, each (channels, kernel[, stride, padding])."""
        for i, layer in enumerate(layers):
            x = self.conv(x, f"{name}_{i}", *layer)
        return x

    def block(self, x, name: str, scale: float, *towers, relu: bool = True):
        """A residual block: towers side by side, brought to as many channels as came in."""
        with v1.variable_scope(name):
            mixed = tf.concat([self.tower(x, f"Branch_{i}", *layers) for i, layers in enumerate(towers)], 3)
            x += scale * self.conv(mixed, "Conv2d_1x1", int(x.shape[-1]), 1, plain=True)
            return tf.nn.relu(x) if relu else x

    def reduction(self, x, name: str, *towers):
        with v1.variable_scope(name):
            sides = [self.tower(x, f"Branch_{i}", *layers) for i, layers in enumerate(towers)]
            return tf.concat([*sides, v1.nn.max_pool2d(x, 3, 2, "VALID")], 3)

    def prelogits(self, x, keep, dims: int, blocks: tuple[int, int, int]):
        half = (2, "VALID")
        x = self.tower(x, "Conv2d_1", (32, 3, *half), (32, 3, 1, "VALID"), (64, 3))
        x = v1.nn.max_pool2d(x, 3, 2, "VALID")
        x = self.tower(x, "Conv2d_3", (80, 1, 1, "VALID"), (192, 3, 1, "VALID"), (256, 3, *half))
        for i in range(blocks[0]):
            x = self.block(x, f"block35_{i}", 0.17, [(32, 1)], [(32, 1), (32, 3)], [(32, 1), (32, 3), (32, 3)])
        x = self.reduction(x, "Mixed_6a", [(384, 3, *half)], [(192, 1), (192, 3), (256, 3, *half)])
        for i in range(blocks[1]):
            x = self.block(x, f"block17_{i}", 0.10, [(128, 1)], [(128, 1), (128, [1, 7]), (128, [7, 1])])
        down = [(256, 1), (384, 3, *half)], [(256, 1), (256, 3, *half)], [(256, 1), (256, 3), (256, 3, *half)]
        x = self.reduction(x, "Mixed_7a", *down)
        for i in range(blocks[2] + 1):
            towers = [(192, 1)], [(192, 1), (192, [1, 3]), (192, [3, 1])]
            x = self.block(x, f"block8_{i}", 0.20, *towers, relu=i < blocks[2])
        x = v1.nn.avg_pool2d(x, x.shape[1:3], 1, "VALID")
        x = tf.reshape(x, [tf.shape(x)[0], -1])
        x.set_shape([None, 1792])  # known here, but not written into the graph
        x = v1.cond(self.training, lambda: v1.nn.dropout(x, keep_prob=keep), lambda: tf.identity(x))
        with v1.variable_scope("Bottleneck"):
            return self.normed(x @ self.variable("weights", [1792, dims], -0.06, 0.06, trainable=True))


@contextmanager
def switches_and_merges() -> Iterator[None]:
    """`tf.cond` as TensorFlow 1 wrote it; other tests see nothing of that."""
    modern = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if modern:
            v1.enable_control_flow_v2()


def freeze(path: Path, dims: int, fused: bool, blocks: tuple[int, int, int]) -> None:
    """Writes a graph as freeze_graph.py of that project does: the queue in front, labels and dropout still there."""
    with switches_and_merges(), tf.Graph().as_default() as graph, v1.Session() as session:
        v1.set_random_seed(SEED)
        training = v1.placeholder(tf.bool, name="phase_train")
        size = v1.placeholder(tf.int32, name="batch_size")
        queue = v1.FIFOQueue(400, [tf.float32, tf.int32], [[160, 160, 3], []], name="batch_join/fifo_queue")
        images, labels = queue.dequeue_up_to(size, name="batch_join")
        images = tf.identity(tf.identity(images, "image_batch"), "input")
        tf.identity(labels, "label_batch")
        with v1.variable_scope("InceptionResnetV1"):
            prelogits = Network(training, fused).prelogits(images, 0.8, dims, blocks)
        tf.nn.l2_normalize(prelogits, 1, 1e-10, name="embeddings")
        session.run(v1.global_variables_initializer())
        source = graph.as_graph_def()
        for node in source.node:
            if node.op in ("RefSwitch", "AssignSub"):
                node.op = node.op.removeprefix("Ref").removeprefix("Assign")
                node.attr.pop("use_locking", None)
        constant = v1.graph_util.convert_variables_to_constants(session, source, ["embeddings", "label_batch"])
    path.write_bytes(constant.SerializeToString())


def answer(path: Path, chips: np.ndarray, training: bool = False) -> np.ndarray:
    """What a user of the file gets who feeds it as that project does, float32 [N, dims]."""
    source = v1.GraphDef()
    source.ParseFromString(path.read_bytes())
    whitened = [(x - x.mean()) / max(x.std(), 1 / np.sqrt(x.size)) for x in chips.astype(np.float64)]
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(source, name="")
        return session.run("embeddings:0", {"input:0": np.array(whitened), "phase_train:0": training})


# --- the comparisons ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """As many blocks as the published network has, fused batch norms, 128-D."""
    path = tmp_path_factory.mktemp("facenet") / "20180402-114759.pb"
    freeze(path, dims=128, fused=True, blocks=(5, 10, 5))
    return path


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    """Batch norms written out, as older TensorFlow did, and 512-D; one block of each kind."""
    path = tmp_path_factory.mktemp("facenet") / "older.pb"
    freeze(path, dims=512, fused=False, blocks=(1, 1, 1))
    return path


@pytest.fixture(scope="module")
def model(older):
    return facenet.build(facenet.read_graph(older), "older")[0]


def test_published_network_is_converted_and_published(published, tmp_path):
    (result,) = convert_file("facenet", published, "net", tmp_path, Options())
    assert result.parity["value"] <= TOLERANCE
    provenance = check_model(tmp_path, "net")
    assert provenance["card"]["dims"] == 128
    assert 2.5e9 < provenance["card"]["flops"] < 3.5e9
    row = find_embedder("net", tmp_path)
    assert (row.model, row.dims, row.chip_px, row.aligner) == ("net", 128, 160, "centerface5-look192-facenet160")
    chips = smooth_images(3, 160, seed=61)
    embeddings = run_onnx(onnx.load(tmp_path / "net" / "1" / "model.onnx"), chips=chips)[0]
    np.testing.assert_allclose(embeddings, answer(published, chips), atol=TOLERANCE)


def test_older_network_answers_as_its_file_does(model, older):
    chips = smooth_images(3, 160, seed=62)
    np.testing.assert_allclose(run_onnx(model, chips=chips)[0], answer(older, chips), atol=TOLERANCE)


def test_extreme_chips_are_whitened_as_facenet_does(model, older):
    """Chips of one value, where all that float32 cannot say would be blown up; of nearly one value; and noise."""
    chips = np.stack([np.full((160, 160, 3), level, np.uint8) for level in (0, 1, 77, 255, 255, 0, 0)])
    chips[-3, 80, 80, 1] = 254
    chips[-2, 80:, :, :] = 1
    chips[-1] = np.random.default_rng(63).integers(0, 256, chips[-1].shape)
    np.testing.assert_allclose(run_onnx(model, chips=chips)[0], answer(older, chips), atol=TOLERANCE)


def test_training_would_be_seen(older):
    """Guards the comparison itself: statistics of the batch give other embeddings than the stored averages."""
    chips = smooth_images(2, 160, seed=64)
    assert np.abs(answer(older, chips, training=True) - answer(older, chips)).max() > 100 * TOLERANCE


def test_red_and_blue_are_not_exchanged(model):
    chips = smooth_images(1, 160, seed=65)
    straight, swapped = run_onnx(model, chips=np.concatenate([chips, chips[..., ::-1]]))[0]
    assert np.abs(straight - swapped).max() > 100 * TOLERANCE


def test_embedding_has_norm_one_and_does_not_depend_on_the_batch(model):
    chips = smooth_images(3, 160, seed=66)
    together = run_onnx(model, chips=chips)[0]
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=TOLERANCE)
    alone = np.concatenate([run_onnx(model, chips=chip[None])[0] for chip in chips])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_model_says_what_it_takes_and_gives_and_nothing_of_its_file(model):
    def described(value):
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]

    assert [described(v) for v in model.graph.input] == [("chips", UINT8, ["N", 160, 160, 3])]
    assert [described(v) for v in model.graph.output] == [("embedding", FLOAT, ["N", 512])]
    assert (model.graph.name, model.ir_version, model.opset_import[0].version) == ("older", IR_VERSION, OPSET)
    assert b"Inception" not in model.SerializeToString()
    assert not any([model.doc_string, model.graph.doc_string, *(node.doc_string for node in model.graph.node)])


def test_conversion_is_silent(older):
    """TensorFlow and tf2onnx have much to say, none of it to a user."""
    code = (
        "import sys; from pathlib import Path; from conversion.registry import Options, kind;"
        "print(*(c.name for c in kind('facenet').convert(Path(sys.argv[1]), 'net', Options())))"
    )
    command = [sys.executable, "-c", code, str(older)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("net\n", "")


def test_tensorflow_writes_cond_as_before():
    """The networks above were written with a switch of TensorFlow that concerns the whole process."""
    assert v1.control_flow_v2_enabled()

"""FaceNet (Schroff et al. 2015) as davidsandberg trained and published it, Inception-ResNet-v1, as ONNX.

The file is a frozen TensorFlow 1 graph (`20180402-114759.pb`). FaceNet's own `prewhiten` goes in front of it, so that
the model takes chips as they are. The embedding has norm 1; two photos of one person are usually nearer than 1.1
(Euclidean).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow is loaded; else it talks
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import onnx
import tensorflow as tf
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from tf2onnx import optimizer, tfonnx

from conversion.converted import Converted
from conversion.facenet.graph import CHIP, INPUT, OUTPUT, FrozenGraph
from conversion.graph import FLOAT, OPSET, UINT8, Graph
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.registry import Options
from services.anonymizer.models import Embedder
from services.errors import ConversionError

MAX_FILE_BYTES = 1 << 30
MAX_NODES = 100_000
MAX_UNWRITTEN_BYTES = 64 << 20  # a constant that repeats one value is written as that value
MAX_VALUES = 1 << 24  # of one layer for two chips; the published network's largest has 0.9 million
MIN_DIMS, MAX_DIMS = 64, 1024
ALIGNER = "centerface5-look192-facenet160"
SAME_PERSON = 0.9  # FaceNet is evaluated at about 1.1, but among many people different ones come nearer


def read_graph(path: Path) -> FrozenGraph:
    """Reads a frozen graph; nothing of it is run.

    Raises:
        ConversionError: it is no FaceNet, is damaged, or claims constants far larger than itself.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ConversionError(f"{path.name} has {size} bytes; no FaceNet has more than {MAX_FILE_BYTES}")
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError:
        raise ConversionError(f"{path.name} is no TensorFlow graph, or is cut off; convert a FaceNet's .pb") from None
    if not 0 < len(graph.node) <= MAX_NODES:
        raise ConversionError(f"{path.name} is no frozen TensorFlow graph ({len(graph.node)} nodes)")
    claimed = sum(_claimed(node) for node in graph.node if node.op == "Const")
    if claimed > size + MAX_UNWRITTEN_BYTES:
        raise ConversionError(f"{path.name} claims constants of {claimed} bytes and has {size}; it is damaged")
    return FrozenGraph(graph)


def _claimed(node: Any) -> int:
    """Bytes that a constant will have, by its own words."""
    tensor = node.attr["value"].tensor
    sides = [dim.size for dim in tensor.tensor_shape.dim]
    try:
        width = tf.dtypes.as_dtype(tensor.dtype).size or 24  # a string's head, however short the string
    except TypeError:
        width = 0
    sized = min(sides, default=0) >= 0 and not tensor.tensor_shape.unknown_rank
    if not (width and sized and tensor.dtype == node.attr["dtype"].type):
        raise ConversionError(f"{node.name} is a constant without a size or a type; the file is damaged")
    return prod(sides) * width


class _FacenetGraph(Graph):
    """Writes what tf2onnx made of the network once more, with names of its own, behind the whitening."""

    def emit(self, network: onnx.GraphProto) -> str:
        known = {"": "", network.input[0].name: self._whitened("chips")}
        for constant in network.initializer:
            value = numpy_helper.to_array(constant)
            known[constant.name] = self.const(value, value.dtype)
        for node in network.node:
            if node.domain not in ("", "ai.onnx"):
                raise ConversionError(f"tf2onnx does not convert {node.op_type}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            values = [known[name] for name in node.input]
            outputs = self.ops(node.op_type, *values, outputs=len(node.output), **attributes)
            known.update(zip(node.output, outputs, strict=True))
        return known[network.output[0].name]

    def _whitened(self, chips: str) -> str:
        """(x - mean) / max(deviation, 1 / sqrt(values)) over all values of a chip: `prewhiten` of FaceNet's facenet.py.

        In units of 256 the squares stay below 1, whatever precision a server computes in. A sum of 76,800 float32 loses
        digits, and in a chip of one value the floor of the deviation would blow them up; so means are taken of means of
        rows, and what is left is centred again.
        """

        def mean(x: str) -> str:
            return self.op("ReduceMean", self.op("ReduceMean", x, self.ints(2, 3)), self.ints(1))

        x = self.op("Mul", self.op("Cast", chips, to=FLOAT), self.const(1 / 256))
        for _ in range(2):
            x = self.op("Sub", x, mean(x))
        deviation = self.op("Sqrt", mean(self.op("Mul", x, x)))
        return self.op("Div", x, self.op("Max", deviation, self.const(1 / 256 / np.sqrt(prod(CHIP)))))


def prewhiten(chips: np.ndarray) -> np.ndarray:
    """What the network takes, of `chips uint8 [N, 160, 160, 3]`: float32, in FaceNet's own words but for each chip."""
    x = chips.astype(np.float64)
    axes, values = (1, 2, 3), x[0].size
    deviation = np.maximum(x.std(axis=axes, keepdims=True), 1 / np.sqrt(values))
    return ((x - x.mean(axis=axes, keepdims=True)) / deviation).astype(np.float32)


def build(source: FrozenGraph, name: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """`chips uint8 [N, 160, 160, 3]` RGB -> `embedding float32 [N, dims]` of norm 1, and the model's card.

    Raises:
        ConversionError: the network has operations that no FaceNet has, or does not fit chips of that size.
    """
    network = source.inference()
    with _loaded(network, chips=2) as graph:
        dims, flops = _measured(graph, chips=2)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with _loaded(network) as graph:
        ends = {"input_names": [f"{INPUT}:0"], "output_names": [f"{OUTPUT}:0"]}
        translated = optimizer.optimize_graph(tfonnx.process_tf_graph(graph, opset=OPSET, **ends)).make_model(name)
    result = _FacenetGraph()
    result.name(result.emit(translated.graph), "embedding")
    model = result.model(name, [("chips", UINT8, CHIP)], [("embedding", FLOAT, [dims])])
    card = {"dims": dims, "nodes": len(model.graph.node), "flops": flops, "tensorflow": tf.__version__}
    return model, card


@contextmanager
def _loaded(network: Any, chips: int | None = None) -> Iterator[tf.Graph]:
    """The graph in TensorFlow, which works out all shapes, for as many chips or any number.

    Raises:
        ConversionError: they do not fit together, or TensorFlow does not know an operation.
    """
    tf.get_logger().setLevel(logging.ERROR)  # of what is deprecated, which is all that this format is
    with tf.Graph().as_default() as graph:
        fixed = {f"{INPUT}:0": tf.compat.v1.placeholder(tf.float32, [chips, *CHIP])} if chips else None
        try:
            tf.import_graph_def(network, fixed, name="")
        except (ValueError, TypeError, tf.errors.OpError) as broken:
            reason = " ".join(str(broken).split())[:300]
            raise ConversionError(f"the network does not take chips of {CHIP[0]} x {CHIP[1]}: {reason}") from broken
        yield graph


def _measured(graph: tf.Graph, chips: int) -> tuple[int, int]:
    """Values of an embedding, and floating-point operations of the convolutions and products for one chip.

    Raises:
        ConversionError: the embedding is not [chips, 64 .. 1024], or a layer is far larger than any of a FaceNet.
    """
    flops = 0
    for operation in graph.get_operations():
        shape = operation.outputs[0].shape  # others are small: a batch norm's moments
        size = prod(shape) if shape.is_fully_defined() else MAX_VALUES + 1
        if size > MAX_VALUES and operation.name != INPUT:
            raise ConversionError(f"{operation.name} gives {shape} values; no layer of a FaceNet is so large")
        if operation.type in ("Conv2D", "MatMul"):
            flops += 2 * size // chips * prod(operation.inputs[1].shape[:-1])
    embedding = graph.get_tensor_by_name(f"{OUTPUT}:0")
    shape = embedding.shape.as_list()
    if embedding.dtype != tf.float32 or len(shape) != 2 or shape[0] != chips or not MIN_DIMS <= shape[1] <= MAX_DIMS:
        told = f"{embedding.dtype.name} {shape} for {chips} chips"
        raise ConversionError(f"{OUTPUT} is {told}; a FaceNet's is float32 [{chips}, {MIN_DIMS} to {MAX_DIMS}]")
    return shape[1], flops


def check(model: onnx.ModelProto, source: FrozenGraph, chips: np.ndarray | None = None) -> Parity:
    """Against TensorFlow on the file's own graph with `phase_train` false, for `chips uint8 [N, 160, 160, 3]`."""
    if chips is None:
        chips = np.concatenate([smooth_images(7, CHIP[0], seed=5), np.zeros((1, *CHIP), np.uint8)])
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # as written: nothing folded ahead of time
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    with _loaded(source.reference()) as graph, tf.compat.v1.Session(graph=graph, config=config) as session:
        expected = session.run(f"{OUTPUT}:0", {f"{INPUT}:0": prewhiten(chips)})
    return Parity(
        reference=f"tensorflow {tf.__version__}",
        measure="largest |difference| of the embedding",
        value=float(np.abs(run_onnx(model, chips=chips)[0] - expected).max()),
        tolerance=1e-4,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A frozen graph `.pb` -> `NAME`, an embedder.

    Raises:
        ConversionError: it is no FaceNet, is damaged, not frozen, or needs what no FaceNet needs.
    """
    source = read_graph(path)
    model, card = build(source, name)
    row = Embedder(name=name, model=name, aligner=ALIGNER, chip_px=CHIP[0], dims=card["dims"], same_person=SAME_PERSON)
    return [Converted(name, model, check(model, source), card, serves=row)]

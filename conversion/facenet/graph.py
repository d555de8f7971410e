"""Finds in FaceNet's frozen graphs what computes an embedding once training is over.

davidsandberg's FaceNet is trained and frozen as one TensorFlow 1 graph: queues that decode photos, `input`, the
network, `embeddings`. Each batch norm, and the dropout, is a `tf.cond` on `phase_train`, and a cond is made of Switch
and Merge. By TensorFlow's rules (Yu et al. 2018, "Dynamic Control Flow in Large-Scale Machine Learning", section 4) a
Switch passes its value to port 1 where its predicate holds, else to port 0, and the other port is dead; a node with a
dead input, control inputs included, is dead; a Merge passes on the one input that is not. With `phase_train` false this
is settled here, once, and what remains is a plain chain of layers.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow is loaded; else it talks
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
from tensorflow import make_ndarray
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.types_pb2 import DT_BOOL, DT_FLOAT, DataType

from services.errors import ConversionError

INPUT, PHASE, OUTPUT = "input", "phase_train", "embeddings"
CHIP = (160, 160, 3)

_LAYERS = """Add AddN AddV2 AvgPool BiasAdd Cast Concat ConcatV2 Const Conv2D ExpandDims FusedBatchNorm
 FusedBatchNormV2 FusedBatchNormV3 Identity MatMul MaxPool Maximum Mean Merge Mul Neg Pack Prod RealDiv Relu Reshape
 Rsqrt Shape Slice Sqrt Square Squeeze StridedSlice Sub Sum Switch"""
_BESIDE = "Div LogicalNot NoOp SquaredDifference StopGradient"
INFERENCE = frozenset(_LAYERS.split())
REFERENCE = INFERENCE.union(_BESIDE.split())  # moments of a batch are worked out before a Switch drops them
VARIABLES = frozenset(("ReadVariableOp", "VarHandleOp", "Variable", "VariableV2"))


class Ref(NamedTuple):
    """An input of a node: the node it comes from, and its output there; no output: a control input."""

    node: str
    port: int | None
    text: str


class FrozenGraph:
    """A frozen graph that holds a FaceNet, cut off at its input, with `phase_train` false.

    Args:
        graph: as TensorFlow wrote it, its constants no larger than what the machine can bear.

    Raises:
        ConversionError: it is no FaceNet, or is damaged.
    """

    def __init__(self, graph: GraphDef):
        self._versions = graph.versions
        self._functions = {function.signature.name for function in graph.library.function}
        self._nodes = {node.name: node for node in graph.node}
        if len(self._nodes) != len(graph.node):
            raise ConversionError("two nodes of the graph have one name; the file is damaged")
        _require_facenet(self._nodes)
        self._nodes[INPUT] = _chips()
        if PHASE in self._nodes:
            self._nodes[PHASE] = _false()
        self._inputs: dict[str, list[Ref]] = {}
        self._dead: dict[str, bool] = {}
        self._truth: dict[str, bool] = {}  # of nodes that may be predicates, as far as it is known
        for name in _ordered(OUTPUT, self._refs):
            self._settle(self._nodes[name])
        if self._dead[OUTPUT]:
            raise ConversionError(f"{OUTPUT} is computed in training only")

    def inference(self) -> GraphDef:
        """What `embeddings` needs of `input`, without Switch, Merge and control inputs.

        Raises:
            ConversionError: an operation is not one of a FaceNet's, a weight is not finite, there is a loop, or which
                side a Merge takes depends on more than `phase_train`.
        """
        result = GraphDef(versions=self._versions)
        for name in _ordered(OUTPUT, self._needed, loops=False):
            node = self._copied(name)
            self._require_op(node, INFERENCE)
            node.input.extend(self._plain(ref) for ref in self._needed(name))
            if node.op in ("Switch", "Merge"):
                node.op = "Identity"
                for key in set(node.attr) - {"T"}:
                    del node.attr[key]
            elif node.op == "Const":
                _require_finite(node)
            result.node.append(node)
        if not any(node.name == INPUT for node in result.node):
            raise ConversionError(f"{OUTPUT} does not depend on {INPUT}")
        return result

    def reference(self) -> GraphDef:
        """The file's own nodes, Switch and Merge left for TensorFlow to decide: what a conversion is compared with.

        A control input of something that is alive anyway decides nothing, and is left out. So only arithmetic runs.

        Raises:
            ConversionError: an operation that would run is not one of a FaceNet's.
        """
        result = GraphDef(versions=self._versions)
        for name in _ordered(OUTPUT, self._deciding):
            node = self._copied(name)
            if not self._dead[name]:
                self._require_op(node, REFERENCE)
            node.input.extend(ref.text for ref in self._deciding(name))
            result.node.append(node)
        return result

    def _settle(self, node: NodeDef) -> None:
        """Whether a node is dead, and its value if it may be a predicate, from those that were settled before."""
        data = self._data(node.name)
        if len(data) < {"Switch": 2, "Merge": 1, "Identity": 1, "LogicalNot": 1}.get(node.op, 0):
            raise ConversionError(f"{node.name} ({node.op}) has too few inputs; the file is damaged")
        if node.op == "Merge":
            data = [ref for ref in data if not self._is_dead(ref)]
            self._dead[node.name] = not data
        else:
            self._dead[node.name] = any(map(self._is_dead, self._refs(node.name)))
        passes = node.op in ("Identity", "Switch", "LogicalNot") or (node.op == "Merge" and len(data) == 1)
        if passes and data[0].node in self._truth:
            self._truth[node.name] = self._truth[data[0].node] != (node.op == "LogicalNot")
        elif node.op == "Const" and node.attr["dtype"].type == DT_BOOL and (value := _values(node)).size == 1:
            self._truth[node.name] = bool(value.item())

    def _is_dead(self, ref: Ref) -> bool:
        """Proven dead; what is not known counts as alive."""
        if self._dead.get(ref.node, False):
            return True
        if ref.port is None or self._nodes[ref.node].op != "Switch":
            return False
        holds = self._truth.get(self._data(ref.node)[-1].node)  # a Switch takes the value, then the predicate
        return holds is not None and holds != bool(ref.port)

    def _refs(self, name: str) -> list[Ref]:
        """All inputs of a node."""
        if name not in self._inputs:
            if name not in self._nodes:
                raise ConversionError(f"the graph refers to {name!r}, which it does not hold; the file is damaged")
            self._inputs[name] = [_parsed(text) for text in self._nodes[name].input]
        return self._inputs[name]

    def _data(self, name: str) -> list[Ref]:
        """Its inputs less control inputs."""
        return [ref for ref in self._refs(name) if ref.port is not None]

    def _needed(self, name: str) -> list[Ref]:
        """The inputs that a node's value is made of."""
        data, op = self._data(name), self._nodes[name].op
        if op != "Merge":
            return data[:1] if op == "Switch" else data
        data = [ref for ref in data if not self._is_dead(ref)]
        if len(data) != 1:
            raise ConversionError(f"{name} joins two sides, and which one counts depends on more than {PHASE}")
        return data

    def _deciding(self, name: str) -> list[Ref]:
        """The inputs that decide a node's value, or whether it has one."""
        return [ref for ref in self._refs(name) if ref.port is not None or self._is_dead(ref)]

    def _plain(self, ref: Ref) -> str:
        """An input as it is written once a Switch, with its two outputs, is an Identity."""
        op = self._nodes[ref.node].op
        if op == "Merge" and ref.port:
            raise ConversionError(f"the graph asks {ref.node} which side was taken; no FaceNet does")
        return ref.node if op == "Switch" or not ref.port else f"{ref.node}:{ref.port}"

    def _copied(self, name: str) -> NodeDef:
        """A node without its inputs, and without a word on where it ran."""
        node = NodeDef()
        node.CopyFrom(self._nodes[name])
        node.ClearField("input")
        node.ClearField("device")
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
        return node

    def _require_op(self, node: NodeDef, known: frozenset[str]) -> None:
        if node.op in known or node.name == INPUT:
            return
        why = f"{node.op} is no operation of a FaceNet, and is not converted"
        if node.op in VARIABLES:
            why = "it is a variable: the graph is not frozen, its weights are elsewhere"
        elif node.op in self._functions or node.op.endswith("PartitionedCall"):
            why = f"it calls a function of the file ({node.op}); freeze the graph without functions"
        elif node.op.startswith("Placeholder"):
            why = f"it is one more input; a FaceNet has {INPUT} and {PHASE} only"
        raise ConversionError(f"node {node.name}: {why}")


def _ordered(start: str, inputs: Callable[[str], Iterable[Ref]], loops: bool = True) -> Iterator[str]:
    """`start` and all it depends on, each after its inputs; in a loop, if there may be one, as far as that goes.

    Raises:
        ConversionError: there is a loop, and there may be none.
    """
    finished = {start: False}
    stack = [(start, iter(inputs(start)))]
    while stack:
        name, rest = stack[-1]
        for ref in rest:
            if ref.node not in finished:
                finished[ref.node] = False
                stack.append((ref.node, iter(inputs(ref.node))))
                break
            if not finished[ref.node] and not loops:
                raise ConversionError(f"{ref.node} depends on itself; no FaceNet has loops")
        else:
            stack.pop()
            finished[name] = True
            yield name


def _parsed(text: str) -> Ref:
    if text.startswith("^"):
        return Ref(text[1:], None, text)
    name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdecimal() and len(port) < 6):
        raise ConversionError(f"the graph refers to {text!r}, which is no output of a node; the file is damaged")
    return Ref(name, int(port or 0), text)


def _require_facenet(nodes: dict[str, NodeDef]) -> None:
    """A FaceNet's input and output are there, and take and give what they should, as far as the file says."""
    missing = [name for name in (INPUT, OUTPUT) if name not in nodes]
    if missing:
        used = {_parsed(text).node for node in nodes.values() for text in node.input}
        takes = [node.name for node in nodes.values() if node.op.startswith("Placeholder")]
        gives = [node.name for node in nodes.values() if node.name not in used]
        raise ConversionError(
            f"no FaceNet: the graph has no {' and no '.join(missing)}; it takes {_some(takes)} and gives {_some(gives)}"
        )
    told = nodes[INPUT].attr  # an attribute that is missing reads as an empty one
    for shape in (told["shape"].shape, *told["_output_shapes"].list.shape):
        sides = [dim.size for dim in shape.dim]
        if sides and (len(sides) != 4 or any(a not in (-1, b) for a, b in zip(sides[1:], CHIP, strict=True))):
            raise ConversionError(f"{INPUT} has the shape {sides}; a FaceNet's is [-1, {str(CHIP)[1:-1]}]")
    for name, wanted in ((INPUT, DT_FLOAT), (PHASE, DT_BOOL)):
        kinds = {value.type for key, value in nodes.get(name, NodeDef()).attr.items() if key in ("dtype", "T")}
        if kinds - {wanted}:
            raise ConversionError(f"{name} is not {DataType.Name(wanted)}; a FaceNet's is")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4] + ["..."] * (len(names) > 4)) or "nothing"


def _chips() -> NodeDef:
    """`input`, float32 [N, 160, 160, 3]."""
    node = NodeDef(name=INPUT, op="Placeholder")
    node.attr["dtype"].type = DT_FLOAT
    for side in (-1, *CHIP):
        node.attr["shape"].shape.dim.add(size=side)
    return node


def _false() -> NodeDef:
    """`phase_train`."""
    node = NodeDef(name=PHASE, op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = DT_BOOL
    node.attr["value"].tensor.bool_val.append(False)
    return node


def _values(node: NodeDef) -> np.ndarray:
    try:
        return make_ndarray(node.attr["value"].tensor)
    except (TypeError, ValueError, OverflowError) as broken:
        raise ConversionError(f"{node.name} is a constant that cannot be read ({broken})") from broken


def _require_finite(node: NodeDef) -> None:
    values = _values(node)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise ConversionError(f"{node.name} holds weights that are not finite; the file is damaged, or training failed")

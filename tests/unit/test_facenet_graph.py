"""What counts of FaceNet's frozen graph once training is over is found; what is no FaceNet is refused, saying why."""

from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from conversion.registry import Options
from conversion.repository import convert_file
from services.errors import ConversionError

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (the extra `facenet`)")
FrozenGraph = import_module("conversion.facenet.graph").FrozenGraph

GraphDef = tf.compat.v1.GraphDef
F32, I32, BOOL, TEXT = (kind.as_datatype_enum for kind in (tf.float32, tf.int32, tf.bool, tf.string))


# --- graphs, node by node -----------------------------------------------------------------------------------------


def node(name: str, op: str, *inputs: str, **types: int):
    """`types` are attributes that name a type; float32 is what T is unless told."""
    made = tf.compat.v1.NodeDef(name=name, op=op, input=inputs)
    if not types and op not in ("LogicalNot", "WriteFile"):
        types = {"T": F32}
    for key, kind in types.items():
        made.attr[key].type = kind
    if op in ("Merge", "ConcatV2"):
        made.attr["N"].i = 2
    return made


def const(name: str, value, *controls: str):
    made = node(name, "Const", *controls, dtype=F32)
    made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    made.attr["dtype"].type = made.attr["value"].tensor.dtype
    return made


def splat(name: str, sides: list[int], kind: int = F32):
    """A constant that is written as one value, however large it is."""
    made = const(name, 0.5)
    made.attr["dtype"].type = made.attr["value"].tensor.dtype = kind
    for side in sides:
        made.attr["value"].tensor.tensor_shape.dim.add(size=side)
    return made


def placeholder(name: str, kind: int = F32, sides: tuple[int, ...] = ()):
    made = node(name, "Placeholder", dtype=kind)
    for side in sides:
        made.attr["shape"].shape.dim.add(size=side)
    return made


def graph(*nodes) -> GraphDef:
    """The last one of a name counts, so that a test may put another node in the place of one."""
    return GraphDef(node={n.name: n for n in nodes}.values(), versions={"producer": 26})


INPUT, PHASE = placeholder("input"), placeholder("phase_train", BOOL)
TRAINED, GIVEN = const("two", 2.0), const("three", 3.0)


def network(*others, dims: int = 128):
    """Something that gives [N, dims] for chips, and the nodes of a test, which replace those of their name."""
    weight = const("weight", np.random.default_rng(7).normal(size=(3, dims)).astype(np.float32))
    axes, middle = const("axes", np.array([1, 2], np.int32)), node("mean", "Mean", "input", "axes", T=F32, Tidx=I32)
    ends = node("product", "MatMul", "mean", "weight"), node("embeddings", "Identity", "product")
    return graph(INPUT, axes, middle, weight, *ends, *others)


def switch(name: str, value: str, predicate: str, kind: int = F32):
    return node(name, "Switch", value, predicate, T=kind)


def cond(name: str, training: str, inference: str, predicate: str = "phase_train", turned: bool = False):
    """Two products of `input`, joined; `training` and `inference` name the other factors."""
    sides = [f"{name}/no", f"{name}/yes"]
    return [
        switch(f"{name}/Switch", "input", predicate),
        node(f"{name}/yes", "Mul", f"{name}/Switch:1", training),
        node(f"{name}/no", "Mul", f"{name}/Switch", inference),
        node(f"{name}/Merge", "Merge", *(sides[::-1] if turned else sides)),
    ]


# --- which side counts --------------------------------------------------------------------------------------------


def factor(source: GraphDef) -> float:
    """What `embeddings` makes of ones: as resolved here and, the same, as TensorFlow decides."""
    found, answers = FrozenGraph(source), []
    for resolved in (found.inference(), found.reference()):
        with tf.Graph().as_default() as loaded, tf.compat.v1.Session(graph=loaded) as session:
            tf.import_graph_def(resolved, name="")
            answers.append(session.run("embeddings:0", {"input:0": np.ones((1, 160, 160, 3))}).ravel()[0])
    assert answers[0] == answers[1]
    assert not any(n.op in ("Switch", "Merge") or "^" in "".join(n.input) for n in found.inference().node)
    return float(answers[0])


@pytest.mark.parametrize("turned", [False, True])
def test_side_that_is_not_training_counts_in_either_order(turned):
    nodes = cond("c", "two", "three", turned=turned)
    assert factor(graph(INPUT, PHASE, TRAINED, GIVEN, *nodes, node("embeddings", "Identity", "c/Merge"))) == 3


@pytest.mark.parametrize("turned", [False, True])
def test_value_that_one_side_hands_on_is_found(turned):
    """slim's fused batch norm ends so: the average is moved in training, else the value goes from Switch to Merge."""
    nodes = cond("c", "two", "three")[:2]
    sides = ["c/Switch", "c/yes"]
    merge = node("embeddings", "Merge", *(sides[::-1] if turned else sides))
    assert factor(graph(INPUT, PHASE, TRAINED, *nodes, merge)) == 1


def test_constants_of_a_side_are_told_by_their_control_inputs():
    nodes = [
        switch("c/Switch", "phase_train", "phase_train", BOOL),
        node("c/switch_t", "Identity", "c/Switch:1", T=BOOL),
        node("c/switch_f", "Identity", "c/Switch:0", T=BOOL),
        const("yes", 2.0, "^c/switch_t"),
        const("no", 3.0, "^c/switch_f"),
        node("c/Merge", "Merge", "no", "yes"),
        node("embeddings", "Mul", "input", "c/Merge"),
    ]
    assert factor(graph(INPUT, PHASE, *nodes)) == 3


@pytest.mark.parametrize("outer", ["training", "inference"])
def test_cond_within_a_cond_is_resolved(outer):
    """The inner one decides by the predicate as the outer one's Switch hands it on."""
    port = "p:1" if outer == "training" else "p"
    inner = cond("inner", "two", "three", predicate="p_id")
    inner[0].input[0] = "c/Switch:1" if outer == "training" else "c/Switch"
    sides = ("inner/Merge", "c/no") if outer == "training" else ("c/yes", "inner/Merge")
    nodes = [switch("p", "phase_train", "phase_train", BOOL), node("p_id", "Identity", port, T=BOOL), *inner]
    nodes += [*cond("c", "five", "seven")[:3], node("embeddings", "Merge", *sides)]
    fixed = [INPUT, PHASE, TRAINED, GIVEN, const("five", 5.0), const("seven", 7.0)]
    assert factor(graph(*fixed, *nodes)) == (7 if outer == "training" else 3)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [(const("p", False), 3), (const("p", True), 2), (node("p", "LogicalNot", "phase_train"), 2)],
    ids=["false", "true", "not training"],
)
def test_other_predicates_are_understood_where_they_are_known(predicate, expected):
    nodes = [*cond("c", "two", "three", predicate="p"), node("embeddings", "Identity", "c/Merge")]
    assert factor(graph(INPUT, PHASE, TRAINED, GIVEN, predicate, *nodes)) == expected


def test_phase_with_a_default_is_fixed_all_the_same():
    phase = [const("yes_please", True), node("phase_train", "PlaceholderWithDefault", "yes_please", dtype=BOOL)]
    nodes = [*phase, *cond("c", "two", "three"), node("embeddings", "Identity", "c/Merge")]
    assert factor(graph(INPUT, TRAINED, GIVEN, *nodes)) == 3


def test_what_lies_before_the_input_and_beside_the_embedding_is_dropped():
    queue = node("queue", "FIFOQueueV2", component_types=F32)
    source = graph(queue, node("input", "Identity", "queue"), GIVEN, node("embeddings", "Mul", "input", "three"))
    source.node.extend([PHASE, placeholder("label_batch", I32)])
    assert factor(source) == 3
    assert sorted(n.name for n in FrozenGraph(source).inference().node) == ["embeddings", "input", "three"]


def test_long_chain_is_walked_without_recursion():
    chain = [node(f"n{i}", "Identity", f"n{i - 1}" if i else "input") for i in range(20_000)]
    found = FrozenGraph(graph(INPUT, *chain, node("embeddings", "Identity", "n19999")))
    assert len(found.inference().node) == 20_002


# --- what is refused ----------------------------------------------------------------------------------------------


def convert(tmp_path: Path, source: GraphDef | bytes):
    path = tmp_path / "net.pb"
    path.write_bytes(source if isinstance(source, bytes) else source.SerializeToString())
    return convert_file("facenet", path, "net", tmp_path / "repo", Options())


def require_refused(tmp_path: Path, source: GraphDef | bytes, says: str) -> None:
    with pytest.raises(ConversionError, match=says):
        convert(tmp_path, source)
    assert not (tmp_path / "repo").exists()


CUT_OFF = network().SerializeToString()[:-9]


@pytest.mark.parametrize(
    "data",
    [b"", b"no graph at all", bytes(100), onnx.ModelProto(ir_version=8).SerializeToString(), CUT_OFF],
    ids=["empty", "text", "zeros", "ONNX", "cut off"],
)
def test_file_that_is_no_graph_is_refused(tmp_path, data):
    require_refused(tmp_path, data, r"^net\.pb is no (frozen )?TensorFlow graph")


def test_file_cut_off_between_two_nodes_is_refused(tmp_path):
    source = network()
    require_refused(tmp_path, GraphDef(node=source.node[:-1]), "no FaceNet: the graph has no embeddings")
    require_refused(tmp_path, GraphDef(node=source.node[2:]), "no FaceNet: the graph has no input")


def test_another_network_is_named_by_what_it_takes_and_gives(tmp_path):
    other = graph(placeholder("image_tensor"), node("detection_boxes", "Relu", "image_tensor"))
    require_refused(tmp_path, other, "no input and no embeddings; it takes image_tensor and gives detection_boxes")


SHORT = const("weight", np.ones((3, 128), "f4"))
SHORT.attr["value"].tensor.tensor_content = bytes(100)
JOINED = [*cond("c", "two", "three", "p"), TRAINED, GIVEN, node("embeddings", "Identity", "c/Merge")]
# A few nodes in the file, and 2 ** 40 values in memory.
DOUBLING = [const("one", np.int32(1)), node("d0", "ConcatV2", "input", "input", "one", T=F32, Tidx=I32)]
DOUBLING += [node(f"d{i}", "ConcatV2", *[f"d{i - 1}"] * 2, "one", T=F32, Tidx=I32) for i in range(1, 23)]
DOUBLING += [node("mean", "Mean", "d22", "axes", T=F32, Tidx=I32)]


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ([node("weight", "VariableV2", dtype=F32)], "node weight: it is a variable: the graph is not frozen"),
        ([node("weight", "ReadVariableOp", "v", dtype=F32), node("v", "VarHandleOp", dtype=F32)], "not frozen"),
        ([const("weight", [[1, 2, np.nan]])], "weight holds weights that are not finite"),
        ([const("weight", [[1, 2, -np.inf]])], "weight holds weights that are not finite"),
        ([node("product", "ReadFile", "name"), const("name", "secret")], "node product: ReadFile is no operation"),
        ([node("product", "PyFunc", "mean", Tin=F32)], "node product: PyFunc"),
        ([node("product", "MyOwnOp", "mean")], "node product: MyOwnOp"),
        ([node("product", "StatefulPartitionedCall", "mean")], "node product: it calls a function of the file"),
        ([node("product", "Placeholder", dtype=F32)], "node product: it is one more input"),
        ([placeholder("input", sides=(-1, 96, 96, 3))], r"input has the shape \[-1, 96, 96, 3\]"),
        ([placeholder("input", sides=(160, 160, 3))], r"a FaceNet's is \[-1, 160, 160, 3\]"),
        ([placeholder("input", I32)], "input is not DT_FLOAT"),
        ([PHASE, placeholder("phase_train", F32)], "phase_train is not DT_BOOL"),
        ([const("weight", np.ones((4, 128), "f4"))], "does not take chips of 160 x 160: .*3 and 4"),
        ([node("embeddings", "Relu", "input")], r"embeddings is float32 \[2, 160, 160, 3\] for 2 chips"),
        ([const("embeddings", np.ones((5, 128), "f4"))], "embeddings does not depend on input"),
        ([node("embeddings", "Relu", "weight")], "embeddings does not depend on input"),
        ([node("embeddings", "Identity", "elsewhere")], "refers to 'elsewhere', which it does not hold"),
        ([node("embeddings", "Identity", "mean:x")], "refers to 'mean:x'"),
        ([node("mean", "Relu", "embeddings")], "depends on itself"),
        ([node("product", "Switch", "mean")], r"product \(Switch\) has too few inputs"),
        ([PHASE, switch("product", "mean", "phase_train"), node("embeddings", "Relu", "product:1")], "training only"),
        ([splat("beside", [1 << 15, 1 << 15])], "claims constants of 42949"),
        ([splat("beside", [1 << 30], TEXT)], "claims constants"),
        ([splat("beside", [-1, 3])], "beside is a constant without a size"),
        ([splat("weight", [3, 128], 99)], "weight is a constant without a size or a type"),
        ([SHORT], "weight is a constant that cannot be read"),
        (DOUBLING, r"d6 gives \(2, 20480, 160, 3\) values; no layer of a FaceNet"),
        ([*JOINED, placeholder("p", BOOL)], "c/Merge joins two sides, and which one counts depends on more"),
        ([*JOINED, const("p", True), node("embeddings", "Cast", "c/Merge:1")], "asks c/Merge which side was taken"),
    ],
)
def test_bad_graph_is_refused_saying_why(tmp_path, others, says):
    require_refused(tmp_path, network(*others), says)


def test_two_nodes_of_one_name_and_functions_are_refused(tmp_path):
    source = network(node("product", "helper", "mean"))
    source.library.function.add().signature.name = "helper"
    require_refused(tmp_path, source, r"node product: it calls a function of the file \(helper\)")
    source.node.append(source.node[-1])
    require_refused(tmp_path, source, "two nodes of the graph have one name")


@pytest.mark.parametrize("dims", [63, 1025])
def test_embedding_of_an_unlikely_size_is_refused(tmp_path, dims):
    require_refused(tmp_path, network(dims=dims), rf"embeddings is float32 \[2, {dims}\] for 2 chips; a F")


# --- what is converted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [64, 512])
def test_network_without_a_phase_is_converted(tmp_path, dims):
    assert [published.name for published in convert(tmp_path, network(dims=dims))] == ["net"]


def test_what_only_training_or_nobody_waits_for_is_never_run(tmp_path):
    """A file is written in the other side of a cond, and another as something that the embedding waits for."""
    written = [tmp_path / "by-training", tmp_path / "by-waiting"]
    nodes = [
        switch("c/Switch", "phase_train", "phase_train", BOOL),
        node("c/switch_t", "Identity", "c/Switch:1", T=BOOL),
        *(const(f"name{i}", str(path), *["^c/switch_t"][i:]) for i, path in enumerate(written)),
        node("write0", "WriteFile", "name0", "name0"),
        node("write1", "WriteFile", "name1", "name1"),
        switch("d/Switch", "product", "phase_train"),
        node("d/yes", "Identity", "d/Switch:1", "^write0"),
        node("d/Merge", "Merge", "d/Switch", "d/yes"),
        node("embeddings", "Identity", "d/Merge", "^write1"),
    ]
    assert convert(tmp_path, network(PHASE, *nodes))
    assert not any(path.exists() for path in written)

"""CenterFace (Xu et al. 2019, arXiv:1911.03599) from its ONNX file, its heat maps decoded inside the graph.

The network answers at a quarter of the input's size: how likely a face is centred there, its height and width (log, in
cells), the centre's offset within the cell (y, x), and five landmarks (y, x; in units of the box). The graph keeps the
256 best local maxima, so that a few kilobytes leave the server instead of 4 MB; overlapping boxes are for the caller.

The first look at a photo takes the form of any size, `NAME-any`, so that nothing is spent on black beside a photo that
is not square; in int8 on CPUs. The second look takes the small square one.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from conversion.converted import Converted
from conversion.graph import FLOAT, HEIGHT, UINT8, WIDTH, Graph
from conversion.int8 import QUANTISED, Ranges, quantise
from conversion.int8 import check as check_int8
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.registry import Options
from services.errors import ConversionError
from services.files import sha256_of

SIZE = 192  # of the second look
ANY = "any"
SHAPES = ((64, 64), (448, 640), (704, 1024))  # height, width: on which the form of any size is compared
CANDIDATES = 256
STRIDE = 4
HEAT, SCALE, OFFSET, LANDMARKS = "537", "538", "539", "540"  # the file's names
BODY = "body_"  # how the network's own nodes are called in the form of any size
FLOAT_FIRST = 3  # convolutions
RANGES = Path(__file__).parent / "data" / "centerface-int8.npz"  # of the weights that the catalogue names
TRAINING_ONLY = "num_batches_tracked"


def _body(weights: Path) -> onnx.GraphProto:
    """The network's own nodes and tensors.

    Raises:
        ConversionError: not CenterFace.
    """
    try:
        graph = onnx.load(weights).graph
    except Exception as broken:  # protobuf raises several unrelated types for a file that is not ONNX
        raise ConversionError(f"{weights.name} is not an ONNX file: {broken}") from broken
    if [o.name for o in graph.output] != [HEAT, SCALE, OFFSET, LANDMARKS]:
        raise ConversionError(f"{weights.name} is not CenterFace: its outputs are {[o.name for o in graph.output]}")
    return graph


def build(weights: Path, size: int | None) -> onnx.ModelProto:
    """`image uint8 [N, size, size, 3]` RGB -> 256 candidates, best first.

    Args:
        size: side of the input; None: height and width are free, multiples of 64.

    Outputs: `boxes float32 [N, 256, 4]` (x0, y0, x1, y1 in pixels of the input, may reach beyond it), `scores float32
    [N, 256]` in [0, 1] (0 where there is no local maximum), `landmarks float32 [N, 256, 5, 2]` (x, y in pixels: left
    eye, right eye, nose, left and right corner of the mouth, as seen in the picture).
    """
    body = _body(weights)
    if size is None:
        for number, node in enumerate(body.node):
            node.name = f"{BODY}{number}"
    graph = Graph()
    planes = graph.op("Transpose", graph.op("Cast", "image", to=FLOAT), perm=[0, 3, 1, 2])
    graph.nodes.append(helper.make_node("Identity", [planes], [body.input[0].name], name="network_input"))
    graph.nodes.extend(body.node)
    graph.constants.extend(t for t in body.initializer if TRAINING_ONLY not in t.name)
    boxes, scores, landmarks = _decode(graph, size and size // STRIDE)
    for value, name in ((boxes, "boxes"), (scores, "scores"), (landmarks, "landmarks")):
        graph.name(value, name)
    return graph.model(
        f"centerface-{size or ANY}",
        [("image", UINT8, [size or HEIGHT, size or WIDTH, 3])],
        [
            ("boxes", FLOAT, [CANDIDATES, 4]),
            ("scores", FLOAT, [CANDIDATES]),
            ("landmarks", FLOAT, [CANDIDATES, 5, 2]),
        ],
    )


def _decode(g: Graph, cells: int | None) -> tuple[str, str, str]:
    """Heat maps of `cells` a side, or of any shape, to boxes, scores and landmarks."""
    flat = cells * cells if cells else -1

    def columns() -> str:
        return g.const(cells, np.int64) if cells else g.op("Gather", g.op("Shape", HEAT), g.ints(3))

    peak = g.op("Equal", HEAT, g.op("MaxPool", HEAT, kernel_shape=[3, 3], pads=[1] * 4))
    heat = g.op("Reshape", g.op("Where", peak, HEAT, g.const(0.0)), g.ints(0, flat))
    scores, where = g.ops("TopK", heat, g.ints(CANDIDATES), outputs=2, axis=1)
    maps = g.op("Reshape", g.op("Concat", SCALE, OFFSET, LANDMARKS, axis=1), g.ints(0, 14, flat))
    maps = g.op("Transpose", maps, perm=[0, 2, 1])
    picked = g.op("GatherND", maps, g.op("Unsqueeze", where, g.ints(2)), batch_dims=1)
    scale, offset, points = g.ops("Split", picked, g.ints(2, 2, 10), outputs=3, axis=2)
    row = g.op("Div", where, columns())
    column = g.op("Sub", where, g.op("Mul", row, columns()))
    cell = g.op("Concat", *(g.op("Unsqueeze", v, g.ints(2)) for v in (row, column)), axis=2)
    # everything below is (y, x) until the last step
    extent = g.op("Mul", g.op("Exp", scale), g.const(float(STRIDE)))
    centre = g.op("Add", g.op("Add", g.op("Cast", cell, to=FLOAT), offset), g.const(0.5))
    half = g.op("Mul", extent, g.const(0.5))
    centre = g.op("Mul", centre, g.const(float(STRIDE)))
    low, high = g.op("Sub", centre, half), g.op("Add", centre, half)
    to_xy = g.ints(1, 0)
    boxes = g.op("Concat", *(g.op("Gather", v, to_xy, axis=2) for v in (low, high)), axis=2)
    points = g.op("Reshape", points, g.ints(0, CANDIDATES, 5, 2))
    wide, at = (g.op("Unsqueeze", v, g.ints(2)) for v in (extent, low))
    landmarks = g.op("Gather", g.op("Add", g.op("Mul", points, wide), at), to_xy, axis=3)
    return boxes, scores, landmarks


def _reference(weights: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unchanged network, its maps decoded cell by cell from the paper's formulas: scores [n], values [n, 14]."""
    model = onnx.load(weights)
    for value in [*model.graph.input, *model.graph.output]:
        for axis, extent in enumerate(value.type.tensor_type.shape.dim):
            if value.name in (model.graph.input[0].name, HEAT, SCALE, OFFSET, LANDMARKS) and axis != 1:
                extent.dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    blob = image.astype(np.float32).transpose(2, 0, 1)[None]
    heat, scale, offset, points = (v[0] for v in session.run(None, {model.graph.input[0].name: blob}))
    found = []
    for y, x in np.ndindex(heat[0].shape):
        if heat[0, y, x] < heat[0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max():
            continue
        height, width = 4 * np.exp(scale[:, y, x])
        top = (y + offset[0, y, x] + 0.5) * 4 - height / 2
        left = (x + offset[1, y, x] + 0.5) * 4 - width / 2
        five = [(left + width * points[2 * i + 1, y, x], top + height * points[2 * i, y, x]) for i in range(5)]
        found.append((heat[0, y, x], [left, top, left + width, top + height, *np.ravel(five)]))
    found.sort(key=lambda item: -item[0])
    return np.array([s for s, _ in found[:CANDIDATES]]), np.array([v for _, v in found[:CANDIDATES]])


def check(model: onnx.ModelProto, weights: Path, image: np.ndarray) -> Parity:
    """Against the unchanged network on `image uint8 [H, W, 3]`.

    Candidates are paired by their box, since the order of equal scores is free.
    """
    expected_scores, expected = _reference(weights, image)
    boxes, scores, landmarks = (v[0] for v in run_onnx(model, image=image[None]))
    answers = np.concatenate([boxes, landmarks.reshape(-1, 10)], axis=1)[: len(expected)]
    distance = np.abs(answers[:, None] - expected[None]).max(axis=2).min(axis=1)
    settled = scores[: len(expected)] > expected_scores[-1] + 1e-6  # ties at the cut may be cut differently
    # np.max, not max: a NaN must come through
    off = float(
        np.max(
            [
                np.abs(scores[: len(expected)] - expected_scores).max(),
                distance[settled].max(initial=0) / max(image.shape),
            ]
        )
    )
    return Parity(
        reference=f"the source ONNX file, onnxruntime {onnxruntime.__version__}, decoded cell by cell",
        measure="largest difference of scores, and of boxes and landmarks as a share of the picture",
        value=off,
        tolerance=1e-4,
        samples=len(expected),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """The exported network -> `NAME-192` for upright faces, and `NAME-any` for photos of every shape."""
    small = build(path, SIZE)
    checked = check(small, path, smooth_images(1, SIZE, seed=4)[0])
    return [Converted(f"{name}-{SIZE}", small, checked), *_any(path, name)]


def _any(path: Path, name: str) -> list[Converted]:
    """The form of any size; and in int8 too, if the ranges that ship are those of these weights."""
    free = build(path, None)
    noise = smooth_images(1, max(max(shape) for shape in SHAPES), seed=4)[0]
    checks = [check(free, path, noise[:height, :width]) for height, width in SHAPES]
    worst = max(checks, key=lambda parity: parity.value)
    forms = [Converted(f"{name}-{ANY}", free, replace(worst, samples=sum(c.samples for c in checks)))]
    ranges = Ranges.load(RANGES)
    if ranges.about["weights_sha256"] == sha256_of(path):
        small = quantise(free, quantised_nodes(free), ranges)
        forms.append(Converted(f"{name}-{ANY}-int8", small, check_int8(small, free, ranges.photos)))
    return forms


def quantised_nodes(model: onnx.ModelProto) -> list[str]:
    """The nodes of the form of any size that int8 may calculate: the body without its first and its last layers.

    With the first FLOAT_FIRST convolutions in int8, faces of a dark photo were lost; without them nearly none.
    """
    body = [node for node in model.graph.node if node.name.startswith(BODY)]
    (heat,) = [node.input[0] for node in body if node.output[0] == HEAT]
    first = [node.output[0] for node in body if node.op_type == "Conv"][:FLOAT_FIRST]
    kept = {*first, heat, SCALE, OFFSET, LANDMARKS}
    return [node.name for node in body if node.op_type in QUANTISED and node.output[0] not in kept]


def activations(model: onnx.ModelProto) -> list[str]:
    """The tensors whose ranges int8 needs."""
    chosen = set(quantised_nodes(model))
    nodes = [node for node in model.graph.node if node.name in chosen]
    constants = {tensor.name for tensor in model.graph.initializer}
    return list(dict.fromkeys(t for node in nodes for t in (*node.input, *node.output) if t not in constants))

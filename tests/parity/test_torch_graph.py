"""Graphs run by PyTorch against onnxruntime, and what is done with their gradients: latents are refined.

PyTorch is no dependency of the project's environment; where it is not installed, only its absence is tested.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from conversion.graph import FLOAT, FLOAT16, INT64, UINT8, Graph
from conversion.parity import run_onnx, smooth_images
from conversion.pca import convert as pca
from conversion.pca.file import Pca
from services.anonymizer.align import ALIGNERS, FFHQ_LANDMARKS, cut_chips
from services.anonymizer.models import EMBEDDERS, GENERATORS
from services.errors import ConfigurationError, ConversionError
from services.settings import ROOT, settings

INT32 = onnx.TensorProto.INT32
STYLEGAN = ROOT.parent / "shared" / "fixtures" / "stylegan" / "stylegan-128-tiny.pkl"
EMBEDDER = EMBEDDERS["dlib-resnet"]
MODULES = ("conversion.inversion.torch_graph", "conversion.inversion.refine")


@pytest.fixture(scope="module")
def refining():
    pytest.importorskip("torch", reason="needs PyTorch (the extra `refine`)")
    return import_module("conversion.inversion.refine")


@pytest.fixture(scope="module")
def run_torch(refining) -> Callable[..., list[np.ndarray]]:
    """`run_onnx`, by PyTorch."""

    def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
        graph = refining.TorchGraph(path, "cpu")
        with refining.torch.no_grad():
            return [y.numpy() for y in graph(**{k: as_tensor(refining, v) for k, v in inputs.items()})]

    return run


def as_tensor(refining, array: np.ndarray):
    return refining.torch.from_numpy(np.asarray(array, np.float32))


def shipped(name: str) -> Path:
    path = settings().model_repository / name / "1" / "model.onnx"
    if not path.is_file():
        pytest.skip(f"{name} is not converted; run `anonfaces models convert --all`")
    return path


@dataclass(frozen=True)
class TinyGan:
    """A StyleGAN of 128 px with random weights."""

    path: Path
    w: np.ndarray  # float32 [2, layers, dlatent]


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def any_gan(request, tmp_path_factory) -> TinyGan:
    return convert_tiny(tmp_path_factory.mktemp("gan"), request.param)


@pytest.fixture(scope="module")
def gan(tmp_path_factory) -> TinyGan:
    return convert_tiny(tmp_path_factory.mktemp("gan"), "fp32")


def convert_tiny(folder: Path, precision: str) -> TinyGan:
    if not STYLEGAN.is_file():
        pytest.skip("needs the StyleGAN pickle (../shared)")
    stylegan, registry = import_module("conversion.stylegan.convert"), import_module("conversion.registry")
    mapping, synthesis = stylegan.convert(STYLEGAN, "tiny", registry.Options(precision=precision))
    onnx.save(synthesis.model, folder / "model.onnx")
    row = synthesis.serves
    (w,) = run_onnx(mapping.model, z=np.random.default_rng(5).standard_normal((2, row.z_dims), np.float32))
    return TinyGan(folder / "model.onnx", np.repeat(w[:, None], row.latent_shape[0], axis=1))


def faces_of(count: int) -> np.ndarray:
    """w float32 [count, 512] of people the shipped generator may draw."""
    mapping = onnx.load(shipped("mobile-stylegan-mapping"))
    (w,) = run_onnx(mapping, z=np.random.default_rng(78).standard_normal((count, 512), dtype=np.float32))
    return (0.7 * w).astype(np.float32)


def landmarks_of(side: int, count: int = 1) -> np.ndarray:
    """Where the eyes, nose and mouth of aligned faces are, float [count, 5, 2] in pixels."""
    return np.tile(FFHQ_LANDMARKS * side, (count, 1, 1))


# --- one graph, two runtimes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATORS)
def test_shipped_generator_draws_the_same_picture(run_torch, name):
    path, w = shipped(name), faces_of(1)
    expected = run_onnx(onnx.load(path), w=w)[0].astype(np.int16)
    difference = np.abs(run_torch(path, w=w)[0] - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_stylegan_draws_the_same_picture(run_torch, any_gan):
    """In float16 onnxruntime rounds after every convolution; PyTorch's side does not."""
    half = any(tensor.data_type == FLOAT16 for tensor in onnx.load(any_gan.path).graph.initializer)
    expected = run_onnx(onnx.load(any_gan.path), w=any_gan.w)[0].astype(np.int16)
    difference = np.abs(run_torch(any_gan.path, w=any_gan.w)[0] - expected)
    assert difference.max() <= (8 if half else 1)
    assert (difference > 0).mean() < (0.5 if half else 1e-3)
    assert expected.std() > 10


def test_recogniser_gives_the_same_embedding(run_torch):
    path, chips = shipped(EMBEDDER.model), smooth_images(3, EMBEDDER.chip_px, seed=21)
    expected = run_onnx(onnx.load(path), chips=chips)[0]
    np.testing.assert_allclose(run_torch(path, chips=chips)[0], expected, atol=1e-4)


def test_pca_gives_the_same_embedding(run_torch, tmp_path):
    rng = np.random.default_rng(22)
    axes = np.linalg.qr(rng.normal(size=(625, 10)))[0].T.astype(np.float32)
    values = np.linspace(2, 1, 10, dtype=np.float32)
    fitted = Pca(rng.random(625, np.float32), axes, values, values / 20, True, True, 25, 100, 0.5)
    model, chips = pca.build(fitted), smooth_images(3, pca.CHIP, seed=23)
    onnx.save(model, tmp_path / "model.onnx")
    expected = run_onnx(model, chips=chips)[0]
    np.testing.assert_allclose(run_torch(tmp_path / "model.onnx", chips=chips)[0], expected, atol=1e-4)


SQUARE = np.random.default_rng(24).normal(size=(3, 4, 3, 3)).astype(np.float32)
WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2]}
EACH = [np.random.default_rng(25 + i).uniform(0.5, 2, 4).astype(np.float32) for i in range(4)]
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
# What no graph above has, or has in another variant. x is float32 [N, 4, 6, 8].
NODES: dict[str, Callable[[Graph], str]] = {
    "conv, pads that differ": lambda g: g.op("Conv", "x", g.const(SQUARE), pads=[0, 1, 2, 0], **WINDOW),
    "conv in groups": lambda g: g.op("Conv", "x", g.const(SQUARE[:2, :2].repeat(2, 0)), pads=[1] * 4, group=2),
    "transposed conv": lambda g: g.op(
        "ConvTranspose", "x", g.const(SQUARE.swapaxes(0, 1)), pads=[1] * 4, strides=[2, 2]
    ),
    "max pool": lambda g: g.op("MaxPool", "x", pads=[0, 0, 1, 1], **WINDOW),
    "mean without the padding": lambda g: g.op("AveragePool", "x", pads=[1] * 4, count_include_pad=0, **WINDOW),
    "mean with the padding": lambda g: g.op("AveragePool", "x", pads=[0, 0, 1, 1], count_include_pad=1, **WINDOW),
    "pad": lambda g: g.op("Pad", "x", g.ints(0, 1, 0, 2, 0, 0, 3, 1), g.const(0.5), mode="constant"),
    "batch norm": lambda g: g.op("BatchNormalization", "x", *map(g.const, EACH), epsilon=1e-3),
    "instance norm": lambda g: g.op("InstanceNormalization", "x", g.const(EACH[0]), g.const(EACH[1]), epsilon=1e-3),
    "depth to space": lambda g: g.op("DepthToSpace", "x", blocksize=2, mode="DCR"),
    "resize": lambda g: g.op("Resize", "x", "", g.const([1, 1, 2, 3]), **NEAREST),
    "round": lambda g: g.op("Round", g.op("Mul", "x", g.const(3))),
    "clip": lambda g: g.op("Clip", "x", "", g.const(0.3)),
    "split": lambda g: g.ops("Split", "x", outputs=3, axis=3, num_outputs=3)[2],
    "gather": lambda g: g.op("Gather", "x", g.const([[3, 0], [1, -1]], np.int64), axis=1),
    "gather one": lambda g: g.op("Gather", "x", g.const(-2, np.int64), axis=2),
    "squeeze": lambda g: g.op("Squeeze", g.op("ReduceMean", "x", g.ints(1, 2), keepdims=1), g.ints(1, 2)),
    "unsqueeze": lambda g: g.op("Unsqueeze", "x", g.ints(-1, 1)),
    "reshape": lambda g: g.op("Reshape", "x", g.ints(0, -1, 12)),
    "flatten": lambda g: g.op("Flatten", "x", axis=2),
    "gemm": lambda g: g.op(
        "Gemm", g.op("Flatten", "x", axis=3), g.const(SQUARE[0].reshape(3, 12)[:, :8]), g.const(2), transB=1, alpha=0.5
    ),
    "norm": lambda g: g.op("Reciprocal", g.op("Sqrt", g.op("ReduceSum", g.op("Mul", "x", "x"), g.ints(-1)))),
    "shape": lambda g: g.op(
        "Reshape", g.op("Flatten", "x"), g.op("Cast", g.op("Cast", g.op("Shape", "x"), to=INT32), to=INT64)
    ),
    "sigmoid of tanh": lambda g: g.op("Sigmoid", g.op("Tanh", "x")),
}


@pytest.mark.parametrize("node", NODES)
def test_node_gives_what_onnxruntime_gives(run_torch, tmp_path, node):
    graph = Graph()
    graph.name(NODES[node](graph), "y")
    x = np.random.default_rng(29).normal(size=(2, 4, 6, 8)).astype(np.float32)
    path = saved(graph, tmp_path)
    expected = run_onnx(onnx.load(path), x=x)[0]
    np.testing.assert_allclose(run_torch(path, x=x)[0], expected, atol=1e-5)


def saved(graph: Graph, folder: Path) -> Path:
    """Closes a graph of x [N, 4, 6, 8] and y without checking the shape of y."""
    given = onnx.helper.make_tensor_value_info("x", FLOAT, ["N", 4, 6, 8])
    gives = onnx.helper.make_tensor_value_info("y", FLOAT, None)
    whole = onnx.helper.make_graph(graph.nodes, "node", [given], [gives], graph.constants)
    model = onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_unknown_node_is_named(refining, tmp_path):
    graph = Graph()
    graph.name(graph.op("Elu", graph.op("Det", "x")), "y")
    with pytest.raises(ConversionError, match="Det, Elu"):
        refining.TorchGraph(saved(graph, tmp_path), "cpu")


def test_variant_that_is_not_covered_is_refused(run_torch, tmp_path):
    graph = Graph()
    graph.name(graph.op("DepthToSpace", "x", blocksize=2, mode="CRD"), "y")
    with pytest.raises(ConversionError, match="mode=CRD"):
        run_torch(saved(graph, tmp_path), x=np.zeros((1, 4, 6, 8)))


def test_other_inputs_are_refused(run_torch, gan):
    with pytest.raises(ConversionError, match="takes w, not z"):
        run_torch(gan.path, z=gan.w)


def test_gradient_goes_through_a_cast_to_uint8(refining, tmp_path):
    graph = Graph()
    graph.name(graph.op("Cast", graph.op("Cast", graph.op("Mul", "x", graph.const(9)), to=UINT8), to=FLOAT), "y")
    x = refining.torch.full((1, 4, 6, 8), 1.05, requires_grad=True)
    (y,) = refining.TorchGraph(saved(graph, tmp_path), "cpu")(x=x)
    y.sum().backward()
    assert set(y.detach().numpy().ravel()) == {9.0}
    assert set(x.grad.numpy().ravel()) == {9.0}


# --- chips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aligner", ALIGNERS)
@pytest.mark.parametrize("side", [128, 512, 1000])
def test_chip_is_the_one_the_service_cuts(refining, aligner, side):
    """Upright, tilted, and beyond the picture's corner; faces of 45 to 350 px, halved not at all, once and twice."""
    picture = smooth_images(1, side, seed=31)[0]
    rng = np.random.default_rng(32)
    tilted = landmarks_of(side)[0] @ np.array([(0.8, 0.5), (-0.5, 0.8)]) + rng.normal(scale=2, size=(5, 2))
    places = np.stack([landmarks_of(side)[0], tilted, landmarks_of(side)[0] - side / 3])
    expected = cut_chips(picture, places, aligner, 150).astype(np.int16)
    chips = [refining.cut_chip(as_tensor(refining, picture), points, aligner, 150).numpy() for points in places]
    difference = np.abs(np.stack(chips) - expected)
    assert difference.max() <= 4
    assert difference.mean() < 0.7


# --- refinement ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refine_tiny(refining, gan) -> Callable[..., object]:
    """refine() from the second tiny face to the first one's embedding, with arguments changed."""
    embedder = shipped(EMBEDDER.model)
    picture = run_onnx(onnx.load(gan.path), w=gan.w[:1])[0][0]
    chips = cut_chips(picture, landmarks_of(128), EMBEDDER.aligner, EMBEDDER.chip_px)
    wanted = run_onnx(onnx.load(embedder), chips=chips)[0]

    def refine(count: int = 1, **changed):
        arguments = {
            "latents": np.repeat(gan.w[1:], count, axis=0),
            "embeddings": np.repeat(wanted, count, axis=0),
            "landmarks": landmarks_of(128, count),
            "steps": 3,
            "pull": 0.1,
            "device": "cpu",
        }
        fixed = (gan.path, embedder, EMBEDDER.aligner, EMBEDDER.chip_px, "w")
        given = arguments | changed
        first = [given.pop(name) for name in ("latents", "embeddings", "landmarks")]
        return refining.refine(*first, *fixed, **given)

    return refine


def test_face_comes_nearer_to_the_person(refining):
    """At full size, from a latent beside the person's own; distances are those of the service's own runtime."""
    generator, embedder = (onnx.load(shipped(name)) for name in ("mobile-stylegan-512", EMBEDDER.model))
    paths = shipped("mobile-stylegan-512"), shipped(EMBEDDER.model)
    landmarks = landmarks_of(512)

    def embedding(w: np.ndarray) -> np.ndarray:
        picture = run_onnx(generator, w=w)[0][0]
        return run_onnx(embedder, chips=cut_chips(picture, landmarks, EMBEDDER.aligner, EMBEDDER.chip_px))[0]

    person = faces_of(1)
    start = person + 0.3 * np.random.default_rng(33).normal(size=person.shape).astype(np.float32)
    wanted = embedding(person)
    refined = refining.refine(
        start, wanted, landmarks, *paths, EMBEDDER.aligner, EMBEDDER.chip_px, "w", steps=6, pull=0.1, device="cpu"
    )
    assert refined.last[0] < 0.9 * refined.first[0]
    for w, told in ((start, refined.first), (refined.latents, refined.last)):
        np.testing.assert_allclose(np.linalg.norm(embedding(w) - wanted, axis=1), told, atol=0.02)


def test_layers_of_w_are_refined_too(refine_tiny, gan):
    refined = refine_tiny()
    assert refined.latents.shape == gan.w[1:].shape
    assert refined.last[0] < refined.first[0]


def test_same_call_gives_the_same_answer(refine_tiny):
    """But for the order in which threads add up."""
    np.testing.assert_allclose(refine_tiny().latents, refine_tiny().latents, atol=1e-3)


@pytest.mark.parametrize("together", [1, 2])
def test_one_face_does_not_depend_on_the_others(refine_tiny, refining, gan, monkeypatch, together):
    """Nor, as on a GPU, on those of its batch. Adam's first step takes a gradient's sign, so last digits may show."""
    monkeypatch.setitem(refining.BATCHES, "cpu", together)
    three, alone = refine_tiny(count=3, latents=np.concatenate([gan.w[1:], gan.w])), refine_tiny()
    for row in (0, 2):
        np.testing.assert_allclose([three.first[row], three.last[row]], [alone.first[0], alone.last[0]], atol=0.005)
        ways = [(found - gan.w[1]).ravel() for found in (three.latents[row], alone.latents[0])]
        assert np.corrcoef(ways)[0, 1] > 0.95


def test_steps_too_long_leave_the_start(refine_tiny, refining, gan, monkeypatch):
    """Whatever the search does, what it found is never worse than where it began."""
    monkeypatch.setattr(refining, "RATE", 1e4)
    refined = refine_tiny(steps=3)
    assert refined.last[0] <= refined.first[0]
    assert np.isfinite(refined.latents).all()


def test_strong_pull_keeps_the_start(refine_tiny, gan):
    refined = refine_tiny(pull=1e9, steps=3)
    np.testing.assert_array_equal(refined.latents, gan.w[1:])
    np.testing.assert_array_equal(refined.first, refined.last)


def test_gradients_that_are_no_numbers_do_no_harm(refine_tiny, refining, gan, monkeypatch):
    look = refining.Camera.embeddings
    monkeypatch.setattr(refining.Camera, "embeddings", lambda *a: look(*a) * refining.torch.nan)
    refined = refine_tiny(steps=2)
    np.testing.assert_array_equal(refined.latents, gan.w[1:])
    assert np.isnan(refined.last[0])


@pytest.mark.parametrize("missing", ["latents", "embeddings", "landmarks"])
def test_face_that_is_not_known_is_left_out(refine_tiny, refining, gan, missing):
    whole = {
        "latents": np.repeat(gan.w[1:], 2, axis=0),
        "landmarks": landmarks_of(128, 2),
        "embeddings": np.zeros((2, 128)),
    }
    changed = np.array(whole[missing], np.float32)
    changed[0].flat[0] = np.nan
    refined = refine_tiny(count=2, steps=1, **{missing: changed})
    np.testing.assert_array_equal(refined.latents[0], changed[0] if missing == "latents" else gan.w[1])
    assert np.isnan([refined.first[0], refined.last[0]]).all()
    assert np.isfinite([refined.first[1], refined.last[1]]).all()


def test_nobody_is_refined_to_nobody(refine_tiny):
    refined = refine_tiny(count=0)
    assert len(refined.latents) == len(refined.first) == len(refined.last) == 0


def test_progress_counts_steps_of_faces(refine_tiny):
    told = []
    refine_tiny(count=2, steps=2, report=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# --- without PyTorch ----------------------------------------------------------------------------------------------


def test_without_pytorch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ConfigurationError, match="install the extra `refine`"):
        import_module(MODULES[-1])

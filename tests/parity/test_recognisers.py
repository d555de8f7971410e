"""The recognisers that only measure, as ONNX: against TensorFlow and numpy, and whether they tell people apart."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from conversion.graph import FLOAT, UINT8
from conversion.parity import run_onnx, smooth_images
from conversion.tfjs import convert as tfjs
from conversion.tfjs.file import TfjsModel, json_of
from services.anonymizer.align import FFHQ_LANDMARKS, cut_chips, similarity, warp
from services.provenance import check_model
from services.settings import settings

TOLERANCE = 1e-5  # of an embedding of norm 1
PEOPLE = 6


@pytest.fixture(scope="module", params=[recogniser.name for recogniser in tfjs.RECOGNISERS])
def folder(request, weights) -> Path:
    """The files of one recogniser."""
    return next(iter(weights(request.param).values())).parent


@pytest.fixture(scope="module")
def source(folder) -> tuple[tfjs.Recogniser, TfjsModel]:
    return tfjs.read(folder)


@pytest.fixture(scope="module")
def model(source) -> onnx.ModelProto:
    return tfjs.build(*source, "measure")


@pytest.fixture(scope="module")
def chips(source, astronaut) -> np.ndarray:
    """A real face, cut more and less tightly, and mirrored; noise."""
    side = source[0].row.chip_px
    cuts = [astronaut[y : y + s, x : x + s] for x, y, s in ((160, 50, 130), (175, 65, 100), (120, 10, 220))]
    real = [cv2.resize(cut, (side, side), interpolation=cv2.INTER_LINEAR) for cut in cuts]
    noise = np.random.default_rng(51).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return np.stack([*real, real[0][:, ::-1], noise])


# --- parity -----------------------------------------------------------------------------------------------------


def test_embeddings_are_those_of_the_files_topology(model, source, chips):
    assert tfjs.check(model, *source, chips).value <= TOLERANCE


def test_embeddings_are_those_of_tensorflow(model, source, chips, folder):
    pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
    from tests.parity.tfjs_tensorflow import run

    recogniser, network = source
    expected = tfjs.normalised(run(json_of(folder), network.output, recogniser.prepare(chips)))
    np.testing.assert_allclose(run_onnx(model, chips=chips)[0], expected, atol=TOLERANCE)


def test_red_and_blue_are_not_exchanged(model, chips):
    """Guards the comparison itself: the other order of channels would be seen."""
    straight, swapped = run_onnx(model, chips=np.stack([chips[0], chips[0][..., ::-1]]))[0]
    assert np.abs(straight - swapped).max() > 100 * TOLERANCE


def test_embedding_has_norm_one_and_does_not_depend_on_the_batch(model, source):
    chips = smooth_images(3, source[0].row.chip_px, seed=52)
    together = run_onnx(model, chips=chips)[0]
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=TOLERANCE)
    alone = np.concatenate([run_onnx(model, chips=chip[None])[0] for chip in chips])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_chip_of_one_colour_gives_finite_numbers(model, source):
    """FaceRes finds nothing at all in black, and next to nothing in white."""
    side = source[0].row.chip_px
    flat = np.stack([np.full((side, side, 3), level, np.uint8) for level in (0, 128, 255)])
    found = run_onnx(model, chips=flat)[0]
    assert np.isfinite(found).all()
    assert np.linalg.norm(found, axis=1).max() <= 1 + TOLERANCE


def test_model_takes_and_gives_what_its_row_says(model, source):
    def described(value):
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]

    row = source[0].row
    assert [described(v) for v in model.graph.input] == [("chips", UINT8, ["N", row.chip_px, row.chip_px, 3])]
    assert [described(v) for v in model.graph.output] == [("embedding", FLOAT, ["N", row.dims])]


# --- people -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Callable[[str], onnxruntime.InferenceSession]:
    """A model of the repository; skips if it is not converted."""

    def of(name: str) -> onnxruntime.InferenceSession:
        path = settings().model_repository / name / "1" / "model.onnx"
        if not path.is_file():
            pytest.skip(f"{name} is not converted; run `anonfaces models convert`")
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    return of


@pytest.fixture(scope="module")
def portraits(served) -> tuple[np.ndarray, np.ndarray]:
    """Generated people twice each: pictures uint8 [2, PEOPLE, 512, 512, 3] and landmarks float [2, PEOPLE, 5, 2].

    The second pictures are a fifth of the way to somebody else, smaller and tilted.
    """
    mapping, generator = served("mobile-stylegan-mapping"), served("mobile-stylegan-512")
    mean = check_model(settings().model_repository, "mobile-stylegan-mapping")["card"]["w_mean"]
    rng = np.random.default_rng(53)
    (away,) = mapping.run(None, {"z": rng.standard_normal((2 * PEOPLE, 512), dtype=np.float32)})
    away -= np.float32(mean)
    first = 0.7 * away[:PEOPLE]
    pictures, landmarks = [], []
    for number, latent in enumerate(np.concatenate([first, first + 0.2 * away[PEOPLE:]]) + np.float32(mean)):
        (picture,) = generator.run(None, {"w": latent[None]})[0]
        points = FFHQ_LANDMARKS * 512
        if number >= PEOPLE:
            angle, scale = np.deg2rad(rng.uniform(-10, 10)), rng.uniform(0.7, 0.95)
            turn = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
            moved = (points - 256) @ turn.T + 256
            picture = warp(picture, similarity(points, moved), (512, 512))
            points = moved
        pictures.append(picture)
        landmarks.append(points)
    return np.reshape(pictures, (2, PEOPLE, 512, 512, 3)), np.reshape(landmarks, (2, PEOPLE, 5, 2))


def test_pictures_of_one_person_are_nearer_than_of_two(model, source, portraits):
    """By the row's own crop, and to both sides of its limit."""
    row = source[0].row
    embeddings = []
    for pictures, landmarks in zip(*portraits, strict=True):
        chips = [
            cut_chips(picture, points[None], row.aligner, row.chip_px)
            for picture, points in zip(pictures, landmarks, strict=True)
        ]
        embeddings.append(run_onnx(model, chips=np.concatenate(chips))[0])
    distances = np.linalg.norm(embeddings[0][:, None] - embeddings[1][None], axis=2)
    same, different = np.diag(distances), distances[~np.eye(PEOPLE, dtype=bool)]
    assert same.max() < row.same_person < np.quantile(different, 0.05)
    assert same.mean() < 0.7 * different.mean()

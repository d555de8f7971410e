"""The estimator of emotions: as exact as its source, and right about faces that nobody would take for others."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from conversion import emotion
from conversion.parity import run_onnx, smooth_images
from conversion.tfjs.file import TfjsModel, json_of
from conversion.triton_config import parse, precision_of
from services.anonymizer.align import FFHQ_LANDMARKS, cut_chips
from services.anonymizer.latents import PSI
from services.anonymizer.models import ESTIMATORS
from services.population.attributes import value_of
from services.provenance import check_model
from services.settings import ROOT, settings

TOLERANCE = 1e-5  # of a share
ROW = ESTIMATORS["emotion"]
SEED = 901
# People of that seed, chosen by eye before the network was asked: mouths that laugh, and mouths that do nothing.
LAUGHING = (1, 11, 18, 25, 39, 41, 43, 45)
STILL = (2, 4, 12, 13, 23, 24, 31, 34, 38)


@pytest.fixture(scope="module")
def folder(weights) -> Path:
    return next(iter(weights("emotion").values())).parent


@pytest.fixture(scope="module")
def source(folder) -> TfjsModel:
    return emotion.read(folder)


@pytest.fixture(scope="module")
def model(source) -> onnx.ModelProto:
    return emotion.build(source, "emotion")


@pytest.fixture(scope="module")
def chips(astronaut) -> np.ndarray:
    """A real face, cut more and less tightly, and mirrored; pictures of nothing, of which the network is less sure."""
    cuts = [astronaut[y : y + s, x : x + s] for x, y, s in ((160, 50, 130), (175, 65, 100), (120, 10, 220))]
    real = [cv2.resize(cut, (ROW.chip_px,) * 2, interpolation=cv2.INTER_AREA) for cut in cuts]
    return np.stack([*real, real[0][:, ::-1], *smooth_images(4, ROW.chip_px, seed=64)])


def test_shares_are_those_of_the_files_topology(model, source, chips):
    assert emotion.check(model, source, chips).value <= TOLERANCE


def test_shares_are_those_of_tensorflow(model, source, chips, folder):
    pytest.importorskip("tensorflow", reason="needs TensorFlow (the extra `facenet`)")
    from tests.parity.tfjs_tensorflow import run

    expected = run(json_of(folder), source.output, emotion.prepare(chips))
    np.testing.assert_allclose(run_onnx(model, chips=chips)[0], expected, atol=TOLERANCE)


def test_red_and_blue_are_not_exchanged(model, chips):
    """Guards the comparison itself: the other order of channels would be seen."""
    straight, swapped = (run_onnx(model, chips=seen)[0] for seen in (chips, chips[..., ::-1]))
    assert np.abs(straight - swapped).max() > 100 * TOLERANCE


def test_gpu_calculates_in_what_the_graph_can_take(model):
    config = parse((ROOT / "model_repository" / "emotion" / "config.pbtxt").read_text())
    assert "gpu_precision" not in config.parameters
    assert precision_of(model) == "fp16"  # what is built where nothing is said


def test_shares_add_up_and_do_not_depend_on_the_batch(model, chips):
    together = run_onnx(model, chips=chips)[0]
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=TOLERANCE)
    alone = np.concatenate([run_onnx(model, chips=chip[None])[0] for chip in chips])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


# --- people -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(model) -> dict[int, np.ndarray]:
    """The shares of generated people: float32 [7] each."""
    repository, numbers = settings().model_repository, [*LAUGHING, *STILL]

    def served(name: str) -> onnxruntime.InferenceSession:
        path = repository / name / "1" / "model.onnx"
        if not path.is_file():
            pytest.skip(f"{name} is not converted; run `anonfaces models convert`")
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    z = np.random.default_rng(SEED).standard_normal((max(numbers) + 1, 512), dtype=np.float32)
    w = served("mobile-stylegan-mapping").run(None, {"z": z[numbers]})[0]
    mean = np.array(check_model(repository, "mobile-stylegan-mapping")["card"]["w_mean"], np.float32)
    generator = served("mobile-stylegan-512")
    found = {}
    for number, latent in zip(numbers, mean + np.float32(PSI) * (w - mean), strict=True):
        (picture,) = generator.run(None, {"w": latent[None]})[0]
        chip = cut_chips(picture, FFHQ_LANDMARKS[None] * 512, ROW.aligner, ROW.chip_px)
        found[number] = run_onnx(model, chips=chip)[0][0]
    return found


def test_who_laughs_is_happy(shown):
    assert {value_of(shown[number], ROW.attributes["emotion"]) for number in LAUGHING} == {"happy"}


def test_who_does_not_laugh_is_not(shown):
    happy, _ = ROW.attributes["emotion"].values["happy"]
    assert max(shown[number][happy] for number in STILL) < 0.5
    assert "neutral" in {value_of(shown[number], ROW.attributes["emotion"]) for number in STILL}

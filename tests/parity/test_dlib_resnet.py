"""The recogniser as ONNX against dlib's own, on other pictures than conversion uses."""

import cv2
import numpy as np
import onnx
import pytest

from conversion.dlib_resnet import convert as dlib_resnet
from conversion.dlib_resnet import dat as dlib_dat
from conversion.parity import run_onnx, smooth_images

TOLERANCE = 1e-5  # two photos of one person are about 0.3 apart


@pytest.fixture(scope="module")
def model(weights) -> onnx.ModelProto:
    (path,) = weights("dlib-resnet").values()
    return dlib_resnet.build(dlib_dat.read_network(path))


@pytest.fixture(scope="module")
def chips(astronaut) -> np.ndarray:
    """A real face, cut more and less tightly, and mirrored."""
    cuts = [astronaut[y : y + s, x : x + s] for x, y, s in ((160, 50, 130), (175, 65, 100), (120, 10, 220))]
    real = [cv2.resize(cut, (150, 150), interpolation=cv2.INTER_LINEAR) for cut in cuts]
    return np.stack([*real, real[0][:, ::-1]])


def test_embeddings_of_a_real_face_are_those_of_dlib(model, chips, weights):
    (path,) = weights("dlib-resnet").values()
    assert dlib_resnet.check(model, path, chips).value <= TOLERANCE


def test_embeddings_of_extreme_pictures_are_those_of_dlib(model, weights):
    (path,) = weights("dlib-resnet").values()
    flat = [np.full((150, 150, 3), level, np.uint8) for level in (0, 255)]
    noise = np.random.default_rng(31).integers(0, 256, (1, 150, 150, 3), dtype=np.uint8)
    assert dlib_resnet.check(model, path, np.concatenate([flat, noise, smooth_images(2, 150, 31)])).value <= TOLERANCE


def test_red_and_blue_are_not_exchanged(model, chips):
    """Guards the comparison itself: the other order of channels would be seen."""
    straight, swapped = run_onnx(model, chips=np.stack([chips[0], chips[0][..., ::-1]]))[0]
    assert np.abs(straight - swapped).max() > 100 * TOLERANCE


def test_embedding_does_not_depend_on_the_batch(model, chips):
    together = run_onnx(model, chips=chips)[0]
    alone = np.concatenate([run_onnx(model, chips=chip[None])[0] for chip in chips])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_one_face_cut_twice_is_one_person_to_it(model, chips):
    """dlib's own limit is 0.6."""
    embeddings = run_onnx(model, chips=chips)[0]
    assert np.linalg.norm(embeddings[0] - embeddings[3]) < 0.6

"""Alignment as FFHQ aligns: generated people, aligned by construction, stay where they are."""

import cv2
import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS
from services.population.ffhq import align_ffhq, ffhq_matrix

SIZE = 256


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((0, 0), degrees, scale)
    return points @ matrix[:, :2].T + shift


def test_face_that_is_aligned_already_is_left_alone():
    matrix = ffhq_matrix(FFHQ_LANDMARKS * SIZE, SIZE)
    np.testing.assert_allclose(matrix[:, :2], np.eye(2), atol=0.05)
    np.testing.assert_allclose(matrix[:, 2], 0, atol=0.05 * SIZE)


@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_landmarks_end_up_at_the_same_places_however_the_photo_lies(degrees, scale):
    still = FFHQ_LANDMARKS * 100
    places = []
    for points in (still, turned(still, degrees, scale, (300, 200))):
        matrix = ffhq_matrix(points, SIZE)
        places.append(points @ matrix[:, :2].T + matrix[:, 2])
    np.testing.assert_allclose(places[1], places[0], atol=1e-3 * SIZE)


def test_picture_shows_what_is_at_its_place():
    """A bright spot at the left eye of the photo is at the left eye of the picture."""
    landmarks = turned(FFHQ_LANDMARKS * 200, 15, 1.0, (60, 90))
    photo = np.full((400, 400, 3), 40, np.uint8)
    cv2.circle(photo, tuple(round(float(v)) for v in landmarks[0]), 5, (250, 250, 250), -1)
    picture = align_ffhq(photo, landmarks, SIZE)
    matrix = ffhq_matrix(landmarks, SIZE)
    expected = landmarks[0] @ matrix[:, :2].T + matrix[:, 2]
    y, x = np.nonzero(picture[..., 0] > 150)
    np.testing.assert_allclose((x.mean(), y.mean()), expected, atol=1.5)


def test_what_lies_beyond_the_photo_is_filled_and_smooth():
    """A face in the photo's corner: no black wedge, and less detail outside than inside."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    landmarks = FFHQ_LANDMARKS * 200 - 90
    picture = align_ffhq(photo, landmarks, SIZE).astype(float)
    assert picture.shape == (SIZE, SIZE, 3)
    matrix = ffhq_matrix(landmarks, SIZE)
    corner = np.array([0.0, 0.0]) @ matrix[:, :2].T + matrix[:, 2]
    column, row = (int(v) for v in corner)
    far, inside = picture[: row // 2, : column // 2], picture[row + 10 :, column + 10 :]
    assert 90 < far.mean() < 165
    assert far.std() < inside.std() / 3


def test_face_far_outside_is_cut_without_exhausting_memory():
    picture = align_ffhq(np.full((50, 60, 3), 77, np.uint8), FFHQ_LANDMARKS * 5000 - 2000, 128)
    assert picture.shape == (128, 128, 3)

"""Which face of a photo counts, and how good a photo of it this is."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.detect import Face
from services.population.enroll.choose import choose_face
from services.population.enroll.quality import HEAD, measure, pose
from services.settings import Settings

SETTINGS = Settings()


def face(side: float, score: float = 0.9, confirmed: bool = True, turned: bool = False) -> Face:
    box = np.array([0, 0, side * 0.8, side], np.float32)
    points = FFHQ_LANDMARKS * side
    if turned:
        points = points * (0.05, 1) + np.array([(0, 0), (0, 0), (side, 0), (0, 0), (0, 0)])
    return Face(box, points.astype(np.float32), score, confirmed)


@pytest.mark.parametrize(
    ("faces", "several", "side", "status"),
    [
        ([], "dominant", None, "faceless"),
        ([face(100)], "dominant", 100, ""),
        ([face(100)], "skip", 100, ""),
        ([face(100), face(72)], "dominant", None, "ambiguous"),  # the area of 72 is more than half of that of 100
        ([face(100), face(70)], "dominant", 100, ""),
        ([face(70), face(100)], "dominant", 100, ""),
        ([face(100), face(99)], "largest", 100, ""),
        ([face(100), face(20)], "skip", None, "ambiguous"),
        ([face(20)], "dominant", None, "unfit"),
        ([face(100, score=0.47)], "dominant", None, "unfit"),
        ([face(100, confirmed=False)], "dominant", None, "unfit"),
        ([face(100), face(90, confirmed=False)], "dominant", 100, ""),  # nobody knows whether that is a face
        ([face(100, turned=True)], "dominant", None, "unfit"),
        ([face(100, turned=True), face(40)], "dominant", None, "unfit"),  # the photo is of who is turned away
        ([face(100, turned=True), face(40)], "largest", 40, ""),
        ([face(100, turned=True), face(90)], "dominant", None, "ambiguous"),
    ],
)
def test_face_is_chosen_by_policy(faces, several, side, status):
    choice = choose_face(faces, several, SETTINGS)
    assert (choice.status, choice.face and choice.face.side) == (status, side)
    assert bool(choice.reason) == (choice.face is None)


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Where the landmarks of the average head are in a picture of it, float [5, 2]; turned by degrees."""
    y, p, r = np.radians([-yaw, -pitch, roll])
    about_y = np.array([(np.cos(y), 0, np.sin(y)), (0, 1, 0), (-np.sin(y), 0, np.cos(y))])
    about_x = np.array([(1, 0, 0), (0, np.cos(p), -np.sin(p)), (0, np.sin(p), np.cos(p))])
    about_z = np.array([(np.cos(r), -np.sin(r), 0), (np.sin(r), np.cos(r), 0), (0, 0, 1)])
    return (HEAD @ (about_z @ about_x @ about_y).T)[:, :2]


@given(st.floats(-70, 70), st.floats(-70, 70), st.floats(-170, 170), st.floats(5, 500), st.floats(-1e3, 1e4))
def test_pose_of_the_average_head_is_found(yaw, pitch, roll, size, place):
    assert pose(turned(yaw, pitch, roll) * size + place) == pytest.approx((yaw, pitch, roll), abs=1e-3)


def test_pose_has_the_signs_it_says():
    frontal = FFHQ_LANDMARKS * 100
    nose_right, nose_up = frontal.copy(), frontal.copy()
    nose_right[2, 0] += 8
    nose_up[2, 1] -= 8
    assert max(map(abs, pose(frontal))) < 3
    assert pose(nose_right)[0] > 10
    assert pose(nose_up)[1] > 10
    clockwise = frontal @ np.array([(np.cos(0.3), np.sin(0.3)), (-np.sin(0.3), np.cos(0.3))])  # y goes down
    assert clockwise[1, 1] > clockwise[0, 1]  # the eye on the photo's right is lower
    assert pose(clockwise)[2] == pytest.approx(np.degrees(0.3), abs=3)


@pytest.fixture(scope="module")
def chip() -> np.ndarray:
    camera = pytest.importorskip("skimage.data").astronaut()
    return np.ascontiguousarray(camera[50:200, 150:300])


def test_blurred_chips_have_less_blur_variance_and_dark_ones_the_same(chip):
    sharp = measure(face(100), chip)
    blurred = measure(face(100), cv2.GaussianBlur(chip, (0, 0), 2))
    dark = measure(face(100), (chip * 0.6).astype(np.uint8))
    assert blurred["blur"] < sharp["blur"] / 5
    assert dark["blur"] == pytest.approx(sharp["blur"], rel=0.05)
    assert dark["brightness"] == pytest.approx(0.6 * sharp["brightness"], abs=0.01)


def test_light_is_measured_where_there_is_none_and_too_much():
    for level, brightness, clipped in ((0, 0.0, 1.0), (255, 1.0, 1.0), (128, 128 / 255, 0.0)):
        found = measure(face(80, score=0.7), np.full((150, 150, 3), level, np.uint8))
        assert (found["brightness"], found["clipped"]) == pytest.approx((brightness, clipped), abs=1e-3)
        assert (found["face_px"], found["score"], found["blur"]) == (80, 0.7, 0)

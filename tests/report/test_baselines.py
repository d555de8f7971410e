"""Ways to hide a face: what they touch, and what of the face is left. Noise for pictures; no model."""

import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.report.baselines.contract import First, face_at, first_of
from services.report.baselines.ksame import SAME, SAME_M, mean_picture, mean_warped, same
from services.report.baselines.pictured import Pictured
from services.report.baselines.prepare import NAMES
from services.report.baselines.region import REGIONS
from services.report.faces import Faces

SIDE = 200


def photo(seed: int) -> np.ndarray:
    """Structure of all sizes, uint8 [300, 400, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (30, 40, 3)).repeat(10, axis=0).repeat(10, axis=1)
    return (coarse + rng.integers(-30, 30, coarse.shape)).clip(0, 255).astype(np.uint8)


def place(x: float, y: float, side: float = SIDE) -> np.ndarray:
    return ((FFHQ_LANDMARKS - 0.5) * side + (x, y)).astype(np.float32)[None]


def faces_of(crowds, outcomes=None) -> Faces:
    n = len(crowds)
    numbers = np.arange(n)
    words = np.array(outcomes or ["enrolled"] * n, "U16")
    return Faces(
        tuple(map(str, numbers)), numbers, tuple(map(str, numbers)), numbers, numbers * 0, np.array(crowds), words
    )


def firsts_of(n: int) -> dict[int, First]:
    return {number: first_of(photo(number), place(200, 150)[0]) for number in range(n)}


def inside(points: np.ndarray, grow: float) -> np.ndarray:
    """bool [300, 400]: the box of a face, grown."""
    box = face_at(points).box
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * grow
    y, x = np.mgrid[0:300, 0:400]
    return (abs(x - middle[0]) <= half[0] + 1) & (abs(y - middle[1]) <= half[1] + 1)


@pytest.mark.parametrize("way", REGIONS, ids=lambda way: way.name)
def test_region_is_spoilt_and_nothing_else(way):
    before = photo(1)
    after = way.hide(before, place(200, 150), np.array([0]))
    changed = (after != before).any(axis=2)
    assert not changed[~inside(place(200, 150)[0], 1.6)].any()
    assert changed[inside(place(200, 150)[0], 0.6)].mean() > 0.95
    np.testing.assert_array_equal(before, photo(1))
    np.testing.assert_array_equal(after, way.hide(before, place(200, 150), np.array([0])))


def test_stronger_ways_leave_less():
    before, where = photo(2), place(200, 150)
    core = inside(where[0], 0.7)
    left = {way.name: way.hide(before, where, np.array([0]))[core].astype(float).std() for way in REGIONS}
    assert left["blur, weak"] > left["blur, strong"] > left["black box"] == 0
    assert left["mosaic, 16 blocks"] > left["mosaic, 8 blocks"]


@pytest.mark.parametrize("way", REGIONS, ids=lambda way: way.name)
@pytest.mark.parametrize(
    "where",
    [
        place(0, 0),
        place(399, 299),
        place(900, 900),
        place(200, 150, 60),
        np.concatenate([place(90, 90), place(300, 200)]),
    ],
)
def test_faces_at_edges_tiny_and_several_are_no_trouble(way, where):
    after = way.hide(photo(3), where, np.arange(len(where)))
    assert after.shape == photo(3).shape
    assert (after != photo(3)).any() == (float(where.min()) < 800)


def test_mean_of_faces_that_are_alike_in_shape_is_the_same_warped_or_not():
    people = list(firsts_of(3).values())
    landmarks = np.mean([one.landmarks for one in people], axis=0)
    np.testing.assert_allclose(mean_picture(people).astype(int), mean_warped(people, landmarks), atol=1)


def test_warping_brings_features_together_that_means_blur():
    """Two faces, the nose of one higher: the plain mean has two noses at half strength, the warped one a whole one."""
    people = []
    for lift in (0, 18):
        landmarks = FFHQ_LANDMARKS * 256
        landmarks[2] -= (0, lift)
        picture = np.full((256, 256, 3), 100, np.uint8)
        x, y = landmarks[2].round().astype(int)
        picture[y - 4 : y + 5, x - 4 : x + 5] = 250
        people.append(First(picture, landmarks, landmarks.astype(np.float32)))
    landmarks = np.mean([one.landmarks for one in people], axis=0)
    assert mean_picture(people).max() < 200
    assert mean_warped(people, landmarks).max() > 240


@pytest.mark.parametrize("name", [SAME, SAME_M])
def test_all_of_a_crowd_get_one_face_and_others_another(name):
    way = same(name, faces_of([0, 0, 1, 1]), firsts_of(4))
    assert way.pictures[0] is way.pictures[1]
    assert way.pictures[2] is way.pictures[3]
    assert (way.pictures[0].image != way.pictures[2].image).any()
    assert "2 or more" in way.about


def test_strangers_are_in_no_mean_and_get_it_and_a_crowd_of_one_has_none():
    faces = faces_of([0, 0, 0, 1], ["enrolled", "enrolled", "stranger", "enrolled"])
    way = same(SAME, faces, firsts_of(4))
    assert way.pictures[2] is way.pictures[0]
    np.testing.assert_array_equal(way.pictures[0].image, mean_picture([firsts_of(4)[0], firsts_of(4)[1]]))
    assert 3 not in way.pictures


def test_face_without_a_picture_is_covered():
    before = photo(5)
    after = Pictured("none", "", {}).hide(before, place(200, 150), np.array([7]))
    core = inside(place(200, 150)[0], 0.5)
    assert after[core].std(axis=0).max() < 1


def test_first_is_cut_by_its_landmarks():
    before, points = photo(6), place(180, 140)[0]
    first = first_of(before, points)
    np.testing.assert_allclose(first.landmarks, FFHQ_LANDMARKS * 256, atol=0.01)
    np.testing.assert_array_equal(first.picture, warp(before, similarity(points, FFHQ_LANDMARKS * 256), (256, 256)))


def test_names_are_distinct():
    assert len(set(NAMES)) == len(NAMES)

"""Recall is counted on photos whose faces are where they are said to be, and each face is counted once."""

import numpy as np
import pytest

from deploy.local.contenders import _strongest
from deploy.local.recall import lost, match
from deploy.local.truth import CONDITIONS, FEWEST, SIZES, Board, Truth, boards
from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.detect import Face

PERSON = np.zeros((1, 128, 128, 3), np.uint8)
for _x, _y in FFHQ_LANDMARKS[[0, 1, 2]] * 128:  # three bright spots, so that places can be found again
    PERSON[0, round(_y) - 3 : round(_y) + 4, round(_x) - 3 : round(_x) + 4] = 255


def face(x: float, y: float, side: float, score: float = 0.9, confirmed: bool = True) -> Face:
    points = (FFHQ_LANDMARKS - FFHQ_LANDMARKS.mean(axis=0)) * side + (x, y)
    return Face(np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2]), points, score, confirmed)


def board(*truths: tuple[float, float, float]) -> Board:
    return Board("plain", 40, np.zeros((300, 300, 3), np.uint8), [Truth(np.array(t[:2]), t[2]) for t in truths])


# --- matching ---------------------------------------------------------------------------------------------------


def test_face_near_enough_and_alike_in_size_is_found():
    outcome = match(board((100, 100, 40)), [face(105, 98, 50)], 0.0, replace_score=0.5)
    assert (outcome.found, outcome.fit, outcome.false) == ((True,), (True,), 0)


@pytest.mark.parametrize("detected", [face(120, 100, 40), face(100, 100, 90), face(100, 100, 15)])
def test_detection_elsewhere_or_of_another_size_is_false(detected):
    outcome = match(board((100, 100, 40)), [detected], 0.0, replace_score=0.5)
    assert (outcome.found, outcome.false) == ((False,), 1)


def test_second_detection_of_one_face_is_false():
    outcome = match(board((100, 100, 40)), [face(100, 100, 40), face(102, 100, 40)], 0.0, replace_score=0.5)
    assert (outcome.found, outcome.false) == ((True,), 1)


@pytest.mark.parametrize("doubtful", [face(100, 100, 40, score=0.4), face(100, 100, 40, confirmed=False)])
def test_face_that_would_be_masked_is_found_but_not_fit(doubtful):
    outcome = match(board((100, 100, 40)), [doubtful], 0.0, replace_score=0.5)
    assert (outcome.found, outcome.fit) == ((True,), (False,))


def test_lost_counts_what_the_other_misses_and_not_what_it_finds_besides():
    photo = board((100, 100, 40), (200, 200, 40))
    first = [match(photo, [face(100, 100, 40)], 0.0, 0.5)]
    other = [match(photo, [face(200, 200, 40)], 0.0, 0.5)]
    assert lost(first, other) == 1


# --- photos with known faces ------------------------------------------------------------------------------------


def test_every_size_comes_under_every_condition_often_enough():
    made = boards(PERSON, seed=1, sizes=(SIZES[0], 96))
    for condition in CONDITIONS:
        for size in (SIZES[0], 96):
            assert sum(len(b.truths) for b in made if (b.condition, b.size) == (condition, size)) >= FEWEST


def test_same_seed_gives_the_same_photos():
    one, two = (boards(PERSON, seed=5, sizes=(64,)) for _ in range(2))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))


def test_face_is_where_it_is_said_to_be():
    """The three spots of the person lie, on average, a known way above the middle of its landmarks."""
    (photo,) = [b for b in boards(PERSON, seed=2, sizes=(350,)) if b.condition == "plain"][:1]
    for truth in photo.truths:
        x, y = np.round(truth.centre).astype(int)
        reach = round(truth.side * 0.45)
        rows, columns = np.nonzero(photo.pixels[y - reach : y + reach, x - reach : x + reach].min(axis=2) > 235)
        spots = np.array([columns.mean() + x - reach, rows.mean() + y - reach])
        above = (FFHQ_LANDMARKS.mean(axis=0) - FFHQ_LANDMARKS[:3].mean(axis=0))[1] * truth.side / 0.74
        assert np.linalg.norm(spots - truth.centre) == pytest.approx(above, rel=0.2)


# --- deface's suppression ---------------------------------------------------------------------------------------


def test_of_overlapping_boxes_the_strongest_stays():
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (30, 30, 40, 40)], float)
    assert _strongest(boxes, np.array([0.5, 0.9, 0.3])) == [1, 2]

"""No pixel of a photo is left unseen, and no face is lost to the one beside it."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.detect import (
    TILE_OVERLAP,
    Face,
    _cut_by_tile,
    _faces_of_view,
    _input_size,
    _render_all,
    _suppress,
    _View,
    detect,
    plan_views,
)
from services.anonymizer.models import INPUT_STEP, choose
from services.anonymizer.triton import Triton
from services.errors import ModelServerUnavailable, TooManyFaces
from services.settings import Settings

DETECTOR = choose(Settings()).detector
extents = st.integers(16, 5000)
sides = st.sampled_from([512, 1024])
scales = st.floats(0.15, 1)


def face_at(x: float, y: float, size: float, score: float = 0.9, confirmed: bool = True) -> Face:
    """A frontal face, its landmarks' centre at (x, y)."""
    points = (FFHQ_LANDMARKS - FFHQ_LANDMARKS.mean(axis=0)) * size + (x, y)
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    return Face(box, points.astype(np.float32), score, confirmed)


def spans(views: list[_View], axis: str) -> list[tuple[float, float]]:
    """(start, end) of the views along one axis, without repetitions."""
    start, extent = ("x", "width") if axis == "x" else ("y", "height")
    return sorted({(getattr(v, start), getattr(v, start) + getattr(v, extent)) for v in views})


# --- views ------------------------------------------------------------------------------------------------------


@given(extents, extents, sides, scales)
def test_first_view_is_the_whole_photo(width, height, side, scale):
    whole = plan_views(width, height, side, scale)[0]
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, width, height)


@given(extents, extents, sides, scales)
def test_some_view_shows_every_pixel_at_the_scale_wanted(width, height, side, scale):
    """Tiles are the product of their columns and rows, so each axis is covered by itself."""
    close = [view for view in plan_views(width, height, side, scale) if view.scale >= scale]
    assert len(close) == len(spans(close, "x")) * len(spans(close, "y"))
    for axis, extent in (("x", width), ("y", height)):
        reached = 0.0
        for start, end in spans(close, axis):
            assert start <= reached
            reached = end
        assert reached == pytest.approx(extent)


@given(extents, extents, sides, scales)
def test_every_view_fits_the_input(width, height, side, scale):
    for view in plan_views(width, height, side, scale):
        assert max(view.width, view.height) * view.scale <= side + 1e-6


@given(extents, extents, sides, scales)
def test_neighbouring_tiles_share_enough_for_a_small_face(width, height, side, scale):
    tiles = plan_views(width, height, side, scale)[1:]
    for axis in "xy":
        here = spans(tiles, axis)
        for (_, end), (start, _) in pairwise(here):
            assert end - start >= TILE_OVERLAP / scale - 1e-6


@given(st.integers(16, 1024), st.integers(16, 1024), scales)
def test_photo_within_the_input_needs_one_view_at_full_scale(width, height, scale):
    assert plan_views(width, height, 1024, scale) == [_View(0, 0, width, height, 1.0)]


def test_photo_whose_small_faces_show_in_the_whole_needs_no_tiles():
    assert len(plan_views(2048, 1000, 1024, 0.5)) == 1


def test_larger_photo_is_tiled():
    assert len(plan_views(4000, 3000, 1024, 0.5)) == 1 + 3 * 2


@given(extents, extents, scales)
def test_input_holds_its_view_and_little_more(width, height, scale):
    for view in plan_views(width, height, 1024, scale):
        for side, extent in zip(_input_size(view), (view.height, view.width), strict=True):
            assert side % INPUT_STEP == 0
            assert extent * view.scale - 1e-3 <= side < extent * view.scale + INPUT_STEP


@given(extents, extents, scales)
def test_tiles_share_one_shape_so_that_they_share_a_batch(width, height, scale):
    assert len({_input_size(view) for view in plan_views(width, height, 1024, scale)[1:]}) <= 1


def test_rendered_tile_shows_its_part_of_the_photo():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    (canvas,) = _render_all(pixels, [_View(40, 100, 128, 128, 1.0)], (128, 128))
    np.testing.assert_array_equal(canvas, pixels[100:228, 40:168])


def test_rendered_photo_smaller_than_the_input_has_black_beside_it():
    view = _View(0, 0, 90, 50, 1.0)
    (canvas,) = _render_all(np.full((50, 90, 3), 200, np.uint8), [view], _input_size(view))
    assert canvas.shape == (64, 128, 3)
    assert (canvas[:50, :90] == 200).all()
    assert canvas.sum() == 200 * 50 * 90 * 3


def test_box_at_an_inner_edge_of_a_tile_is_cut_and_at_an_edge_of_the_photo_is_not():
    tile = _View(0, 0, 512, 512, 1.0)  # the right and the lower edge are inner ones
    boxes = np.array([(0, 0, 60, 60), (100, 100, 160, 160), (450, 10, 511, 70), (10, 450, 70, 511)], float)
    assert _cut_by_tile(boxes, tile, 2000, 2000).tolist() == [False, False, True, True]


# --- suppression ------------------------------------------------------------------------------------------------


def test_face_half_behind_another_is_kept():
    faces = [face_at(100, 100, 100, 0.9), face_at(150, 105, 100, 0.6)]
    assert _suppress(faces) == faces


def test_detections_of_one_face_become_the_best():
    best = face_at(100, 100, 100, 0.9)
    assert _suppress([face_at(104, 98, 95, 0.7), best, face_at(98, 103, 110, 0.5)]) == [best]


def test_confirmed_detection_wins_over_a_better_score():
    confirmed = face_at(100, 100, 100, 0.6, confirmed=True)
    assert _suppress([face_at(103, 100, 100, 0.95, confirmed=False), confirmed]) == [confirmed]


def test_small_confirmed_face_in_front_of_a_large_one_is_kept():
    large, small = face_at(100, 100, 200, 0.9), face_at(110, 105, 60, 0.8)
    assert _suppress([small, large]) == [large, small]


def test_small_unconfirmed_detection_within_a_large_face_is_dropped():
    large = face_at(100, 100, 200, 0.9)
    assert _suppress([large, face_at(110, 105, 60, 0.8, confirmed=False)]) == [large]


def test_best_comes_first():
    faces = [face_at(100 * i, 50, 60, score) for i, score in enumerate((0.5, 0.9, 0.7))]
    assert [face.score for face in _suppress(faces)] == [0.9, 0.7, 0.5]


def test_large_face_behind_a_small_better_one_is_kept():
    """Otherwise the large face would leave the service as it came."""
    large, small = face_at(100, 100, 200, 0.8), face_at(110, 105, 60, 0.9)
    assert _suppress([large, small]) == [small, large]


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400), st.floats(20, 150), st.floats(0.3, 1)), max_size=12))
def test_dropped_detection_is_about_as_large_as_the_face_that_stands_for_it(rows):
    """A kept face of less than 1 / 2.3 of its size would leave most of it uncovered."""
    faces = [face_at(*row) for row in rows]
    kept = _suppress(faces)
    for face in faces:
        centre = face.landmarks.mean(axis=0)
        apart = [np.linalg.norm(f.landmarks.mean(axis=0) - centre) / f.side for f in kept]
        assert any(a < 0.7 and face.side < 2.3 * f.side for a, f in zip(apart, kept, strict=True))


# --- limits -----------------------------------------------------------------------------------------------------


def test_view_that_is_full_of_faces_is_refused_since_it_may_hold_more():
    view = _View(0, 0, 1000, 1000, 1.0)
    boxes, points = np.zeros((256, 4), np.float32), np.zeros((256, 5, 2), np.float32)
    with pytest.raises(TooManyFaces):
        _faces_of_view(view, boxes, np.full(256, 0.9, np.float32), points, 1000, 1000)


# --- the looks together -------------------------------------------------------------------------------------------


class OneFails(Triton):
    """The first look fails; the thumbnail's answer never comes."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", timeout_s=1)
        self.asked, self.given_up = asyncio.Event(), False

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray], *outputs: str) -> list[np.ndarray]:
        if model == DETECTOR.first_look:
            await self.asked.wait()
            raise ModelServerUnavailable("broken")
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        raise AssertionError


async def test_failed_look_ends_the_other_one():
    async with OneFails() as triton:
        with pytest.raises(ModelServerUnavailable):
            await detect(np.zeros((400, 300, 3), np.uint8), triton, DETECTOR, 0.5, 32)
        await asyncio.sleep(0)
        assert triton.given_up

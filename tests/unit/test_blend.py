"""Inside the mask nothing of the old face is left; outside it nothing has changed."""

import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.anonymizer.blend import blend, cover, match_colour
from services.anonymizer.detect import Face
from services.anonymizer.mask import MASK_CENTRE, MASK_OUTLINE, face_mask, turn_of
from services.anonymizer.synthesise import Surrogate

WIDEST_RADIUS = max(share for _, share in MASK_OUTLINE) + 0.005  # in FFHQ's alignment; no pixel beyond may change
INNER_RADIUS = 0.19  # eyes, nose and mouth lie within; here nothing of the original may be left


def noise(height: int, width: int, seed: int, cells: int = 3) -> np.ndarray:
    """Grey texture far from black and white, so that no value is clipped: uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(80, 175, (height // cells + 1, width // cells + 1), dtype=np.uint8)
    return np.repeat(np.kron(coarse, np.ones((cells, cells), np.uint8))[:height, :width, None], 3, axis=2)


def face(x: float, y: float, size: float, degrees: float = 0) -> Face:
    """A face whose FFHQ-aligned picture is `size` pixels wide and centred at (x, y)."""
    c, s = size * np.cos(np.radians(degrees)), size * np.sin(np.radians(degrees))
    points = (FFHQ_LANDMARKS - 0.5) @ np.array([(c, s), (-s, c)]) + (x, y)
    box = np.concatenate([points.mean(axis=0) - size * 0.35, points.mean(axis=0) + size * 0.35])
    return Face(box.astype(np.float32), points.astype(np.float32), 0.9, confirmed=True)


def surrogate(seed: int, side: int = 256) -> Surrogate:
    return Surrogate(0, noise(side, side, seed, cells=side // 32), FFHQ_LANDMARKS * side)


def radius(target: Face, height: int, width: int) -> np.ndarray:
    """Distance of every pixel of the photo to the mask's centre, in FFHQ's alignment."""
    to_ffhq = similarity(target.landmarks, FFHQ_LANDMARKS)
    y, x = np.mgrid[0:height, 0:width]
    at = np.stack([x, y], axis=-1) @ to_ffhq[:, :2].T + to_ffhq[:, 2]
    return np.linalg.norm(at - MASK_CENTRE, axis=-1)


def shares(result: np.ndarray, *sources: np.ndarray) -> np.ndarray:
    """How much of each source is in `result`, all [n]: least squares with a constant."""
    columns = np.column_stack([*sources, np.ones(len(result))]).astype(float)
    return np.linalg.lstsq(columns, result.astype(float), rcond=None)[0][:-1]


def influence(photo: np.ndarray, pairs: list[tuple[Face, Surrogate]], where: np.ndarray) -> float:
    """How far the result moves at `where` if the photo has another texture there: mean grey levels, of about 31."""
    other = photo.copy()
    other[where] = noise(*photo.shape[:2], seed=99, cells=1)[where]
    return float(np.abs(blend(photo, pairs, [])[where].astype(int) - blend(other, pairs, [])[where]).mean())


@pytest.mark.parametrize("degrees", [-45, 0, 20, 45])
@pytest.mark.parametrize("size", [24, 64, 250, 900])
def test_inner_face_is_the_surrogate_and_nothing_of_the_original(size, degrees):
    side = max(60, round(size * 1.1))
    photo, target, new = noise(side, side, 1, cells=2), face(side / 2, side / 2, size, degrees), surrogate(2)
    inner = radius(target, side, side) < INNER_RADIUS
    pasted = warp(new.image, similarity(new.landmarks, target.landmarks), (side, side))
    result = blend(photo, [(target, new)], [])
    of_original, of_surrogate = shares(result[inner, 0], photo[inner, 0], pasted[inner, 0])
    assert abs(of_original) < 0.02
    assert of_surrogate > 0.7  # colour matching may lower the contrast to 0.75


@pytest.mark.parametrize("degrees", [-30, 0, 45])
@pytest.mark.parametrize("size", [24, 120, 500])
def test_pixels_outside_the_mask_are_untouched(size, degrees):
    photo, target = noise(400, 420, 3), face(190, 210, size, degrees)
    outside = radius(target, 400, 420) > WIDEST_RADIUS + 1 / size
    changed = (blend(photo, [(target, surrogate(4))], []) != photo).any(axis=-1)
    assert not changed[outside].any()
    assert changed[~outside].mean() > 0.5


def test_photo_handed_in_is_not_modified():
    photo = noise(200, 200, 5)
    before = photo.copy()
    blend(photo, [(face(70, 70, 90), surrogate(6))], [face(150, 150, 60)])
    np.testing.assert_array_equal(photo, before)


def test_photo_without_faces_is_returned_as_it_is():
    photo = noise(50, 60, 7)
    np.testing.assert_array_equal(blend(photo, [], []), photo)


@pytest.mark.parametrize("place", [(0, 0), (200, 100), (100, 160), (-10, 80), (100, -15)])
def test_face_partly_outside_the_photo_is_replaced_within_it(place):
    photo, target = noise(160, 200, 8, cells=1), face(*place, 150)
    inner = radius(target, 160, 200) < INNER_RADIUS
    assert inner.sum() > 300
    assert influence(photo, [(target, surrogate(9))], inner) < 4


@pytest.mark.parametrize("place", [(-500, 50), (900, 50), (50, -500), (50, 900)])
def test_face_outside_the_photo_changes_nothing(place):
    photo = noise(100, 100, 10)
    np.testing.assert_array_equal(blend(photo, [(face(*place, 120), surrogate(11))], [face(*place, 120)]), photo)


@pytest.mark.parametrize("larger_first", [True, False])
def test_nearer_face_lies_over_the_farther_one(larger_first):
    photo, far, near = noise(300, 300, 12), face(110, 150, 120), face(170, 150, 200)
    pairs = [(near, surrogate(13)), (far, surrogate(14))]
    result = blend(photo, pairs if larger_first else pairs[::-1], [])
    inner = radius(near, 300, 300) < INNER_RADIUS
    np.testing.assert_array_equal(result[inner], blend(photo, pairs[:1], [])[inner])


def test_nothing_of_a_face_shows_through_where_two_masks_meet():
    """The seam between two surrogates blends those two, not the photo below them."""
    photo, left, right = noise(300, 300, 15, cells=1), face(120, 150, 150), face(190, 150, 160)
    both = (radius(left, 300, 300) < INNER_RADIUS) & (radius(right, 300, 300) < WIDEST_RADIUS)
    assert both.sum() > 100
    assert influence(photo, [(left, surrogate(16)), (right, surrogate(17))], both) < 4


# --- the mask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [-20, -7, 0, 7, 20])
def test_mask_is_whole_where_the_features_are(turn):
    """A head turned to one side keeps both eyes, the nose and the mouth well inside."""
    points = np.round(FFHQ_LANDMARKS * 256).astype(int)
    assert (face_mask(turn)[points[:, 1], points[:, 0]] == 255).all()


def test_mask_fades_without_a_step():
    assert np.abs(np.diff(face_mask().astype(int), axis=1)).max() < 50


def test_mask_narrows_on_the_far_side_only():
    straight, turned = (face_mask(turn)[140] > 0 for turn in (0, -10))
    assert np.flatnonzero(turned)[0] > np.flatnonzero(straight)[0]
    assert np.flatnonzero(turned)[-1] >= np.flatnonzero(straight)[-1]


def test_frontal_face_is_not_turned():
    assert turn_of(face(100, 100, 80, 25).landmarks) == 0


def test_turn_has_the_sign_of_the_nose():
    nose = np.zeros((5, 2))
    nose[2, 0] = 0.08
    assert turn_of((FFHQ_LANDMARKS + nose) * 300) > 0 > turn_of((FFHQ_LANDMARKS - nose) * 300)


# --- colour -----------------------------------------------------------------------------------------------------


def test_colour_matching_moves_the_mean_to_the_scenes():
    rng = np.random.default_rng(18)
    image = rng.normal((120, 100, 90), 12, (80, 60, 3)).clip(0, 255).astype(np.uint8)
    scene = rng.normal((170, 130, 140), 12, (80, 60, 3)).clip(0, 255).astype(np.uint8)
    matched = match_colour(image, scene, np.full((80, 60), 255, np.uint8))
    np.testing.assert_allclose(matched.mean(axis=(0, 1)), scene.mean(axis=(0, 1)), atol=0.6)


def test_colour_is_taken_from_within_the_mask_only():
    image = np.full((60, 60, 3), 100, np.uint8)
    scene = np.full((60, 60, 3), (10, 200, 30), np.uint8)
    scene[20:40, 20:40] = (150, 120, 110)
    mask = np.zeros((60, 60), np.uint8)
    mask[22:38, 22:38] = 255
    np.testing.assert_allclose(match_colour(image, scene, mask)[30, 30], (150, 120, 110), atol=2)


def test_contrast_is_changed_by_a_quarter_at_most():
    image, scene = noise(60, 60, 19, cells=10), np.full((60, 60, 3), 127, np.uint8)
    matched = match_colour(image, scene, np.full((60, 60), 255, np.uint8))
    assert matched.std() / image.std() == pytest.approx(0.75, abs=0.01)


def test_empty_mask_leaves_the_colours():
    image = noise(20, 20, 20)
    np.testing.assert_array_equal(match_colour(image, 255 - image, np.zeros((20, 20), np.uint8)), image)


# --- masked faces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [6, 40, 300])
def test_covered_face_has_no_structure(size):
    photo = noise(400, 400, 21, cells=2)
    cover(photo, face(200, 200, size))
    half = size * 0.35 * 0.85  # of the box, less its corners
    part = photo[round(200 - half * 0.8) : round(200 + half * 0.8), round(200 - half * 0.8) : round(200 + half * 0.8)]
    assert np.ptp(part.reshape(-1, 3), axis=0).max() == 0


def test_cover_leaves_the_rest_of_the_photo():
    photo = noise(200, 200, 22)
    covered = photo.copy()
    cover(covered, face(100, 100, 60))
    changed = np.argwhere((covered != photo).any(axis=-1))
    assert np.abs(changed - 100).max() <= 60 * 0.35 * 1.35 + 8  # the box is centred on the landmarks, a little lower
    assert len(changed) > 500


def test_replaced_and_masked_faces_of_one_photo_do_not_mix():
    photo, replaced, masked = noise(200, 400, 23), face(100, 100, 110), face(310, 100, 110)
    result = blend(photo, [(replaced, surrogate(24))], [masked])
    np.testing.assert_array_equal(result[:, :200], blend(photo, [(replaced, surrogate(24))], [])[:, :200])
    np.testing.assert_array_equal(result[:, 200:], blend(photo, [], [masked])[:, 200:])

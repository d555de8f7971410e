"""A surrogate is not shown where its own hair hangs over its forehead or beside its eyes, and is shown elsewhere."""

import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.mask import BROW_ROW, MASK_PX, SIDE_COLUMN, TOP_ROW, face_alone

SIDE = 512
FOREHEAD = slice(round(TOP_ROW * MASK_PX), round(BROW_ROW * MASK_PX))


def picture(forehead: tuple[int, int, int], down_to: float) -> np.ndarray:
    """A picture of skin, its rows above `down_to` (a share of the side) in another colour."""
    image = np.full((SIDE, SIDE, 3), (205, 160, 140), np.uint8)
    image[: round(down_to * SIDE)] = forehead
    return image


def shown(image: np.ndarray) -> np.ndarray:
    return face_alone(image, FFHQ_LANDMARKS * SIDE)


def test_bare_forehead_is_shown_whole():
    assert (shown(picture((205, 160, 140), 0.3)) == 255).all()


def test_bright_forehead_is_no_hair():
    assert (shown(picture((250, 225, 210), 0.33)) == 255).all()


@pytest.mark.parametrize("skin", [(205, 160, 140), (110, 75, 60)])
def test_fringe_is_left_out_and_all_below_it_is_shown(skin):
    image = np.full((SIDE, SIDE, 3), skin, np.uint8)
    image[: round(0.32 * SIDE)] = (40, 28, 22)
    rows = shown(image)[:, MASK_PX // 4 : 3 * MASK_PX // 4]
    assert (rows[: round(0.31 * MASK_PX)] == 0).all()
    assert (rows[round(0.36 * MASK_PX) :] == 255).all()


def test_forehead_between_two_strands_is_left_out():
    image = picture((205, 160, 140), 0)
    for x in (240, 270):
        image[: round(0.33 * SIDE), x : x + 10] = (60, 40, 30)
    assert (shown(image)[FOREHEAD.start : round(0.30 * MASK_PX), 128] < 30).all()


def test_brows_and_eyes_are_always_shown():
    image = picture((30, 20, 15), 1.0)
    image[round(0.5 * SIDE) :] = (205, 160, 140)
    first = round((1 - SIDE_COLUMN) * MASK_PX) + 7
    assert (shown(image)[round(0.40 * MASK_PX) :, first : MASK_PX - first] == 255).all()


@pytest.mark.parametrize("colour", [(60, 40, 30), (120, 150, 110)], ids=["hair", "background"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_beside_the_eyes_and_is_no_skin_is_left_out(colour, mirrored):
    image = picture((205, 160, 140), 0)
    image[:, round(0.77 * SIDE) :] = colour
    image = image[:, ::-1] if mirrored else image
    mask = shown(image)[:, ::-1] if mirrored else shown(image)
    beside = mask[round(0.40 * MASK_PX) : round(0.58 * MASK_PX)]
    assert (beside[:, round(0.78 * MASK_PX) :] == 0).all()
    assert (beside[:, : round(0.73 * MASK_PX)] == 255).all()


def test_beard_is_shown():
    image = picture((205, 160, 140), 0)
    image[round(0.64 * SIDE) :] = (60, 40, 30)
    inside = shown(image)[:, round(0.22 * MASK_PX) : round(0.78 * MASK_PX)]
    assert (inside == 255).all()

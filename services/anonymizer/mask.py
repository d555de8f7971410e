"""Which part of a surrogate is shown: a face's outline, narrower where the head turns away, below its own fringe."""

from functools import lru_cache

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp

MASK_PX = 256
# The outline of what is replaced, in FFHQ's alignment: (degrees from straight down, radius as a share of the picture).
MASK_CENTRE = (0.505, 0.545)
MASK_OUTLINE = ((0, 0.323), (30, 0.307), (60, 0.281), (90, 0.276), (120, 0.299), (150, 0.305), (180, 0.295))
FEATHER = 0.15  # share of the radius over which the surrogate fades out
CORE = 0.68  # share of the radius within which colours are compared: skin, no hair, no background
TURN = 3.2  # how much the outline narrows on the far side for a nose that is off the middle by one picture
NARROWEST, WIDEST, TURN_STEPS = 0.72, 1.04, 20
# Where skin is looked at, and the band above the brows in which hair is looked for: shares of the aligned picture.
SKIN_ROWS, SKIN_COLUMNS = (0.56, 0.66), (0.36, 0.65)
BROW_ROW, TOP_ROW = 0.370, 0.225
HAIR_DARKER = 24.0  # by how much luma hair is darker than the cheeks; a bright forehead is none
FADE_PX = 7.0  # how softly the surrogate ends below its fringe


@lru_cache(maxsize=64)
def face_mask(turn: int = 0, core: bool = False) -> np.ndarray:
    """How much of each pixel is replaced, in FFHQ's alignment.

    Args:
        turn: how far the head is turned, -20..20: the far side is narrower, so that no cheek grows over the background.
        core: the inner part alone, from which colours are taken.

    Returns:
        uint8 [256, 256], 255 inside, 0 outside, read-only.
    """
    y, x = (np.mgrid[0:MASK_PX, 0:MASK_PX] + 0.5) / MASK_PX
    dx, dy = x - MASK_CENTRE[0], y - MASK_CENTRE[1]
    left, right = (np.clip(1 + side * turn / TURN_STEPS, NARROWEST, WIDEST) for side in (1, -1))
    dx = np.where(dx < 0, dx / left, dx / right)
    angle = np.degrees(np.arctan2(np.abs(dx), dy))
    degrees, radius = np.array(MASK_OUTLINE).T
    share = np.hypot(dx, dy) / (_smooth_interpolate(angle, degrees, radius) * (CORE if core else 1))
    t = np.clip((1 - share) / FEATHER, 0, 1)
    mask = np.round(255 * t * t * (3 - 2 * t)).astype(np.uint8)
    mask.flags.writeable = False
    return mask


def turn_of(landmarks: np.ndarray) -> int:
    """How far a head is turned, -20 (to the picture's left) .. 20, from how far the nose is off the middle."""
    upright = similarity(landmarks, FFHQ_LANDMARKS)
    nose = landmarks[2] @ upright[:, :2].T + upright[:, 2]
    turn = TURN * (nose[0] - FFHQ_LANDMARKS[2, 0])
    return int(np.clip(round(turn * TURN_STEPS), -TURN_STEPS, TURN_STEPS))


def _smooth_interpolate(at: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Cosine interpolation: no corner at a knot."""
    i = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    t = (at - knots[i]) / (knots[i + 1] - knots[i])
    return values[i] + (values[i + 1] - values[i]) * (1 - np.cos(np.pi * t)) / 2


def below_fringe(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Where a surrogate's own hair does not hang over its forehead: a fringe without its head looks like a comb.

    In each column, all above the lowest hair over the brows is left out. A function of the surrogate alone.

    Args:
        image: uint8 [S, S, 3] RGB, the surrogate.
        landmarks: float [5, 2], pixels of the image.

    Returns:
        uint8 [256, 256] in FFHQ's alignment, 255 where the surrogate may be shown.
    """
    aligned = warp(image, similarity(landmarks, FFHQ_LANDMARKS * MASK_PX), (MASK_PX, MASK_PX))
    luma = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY), (3, 3), 0).astype(np.float32)
    rows, columns = (slice(*(round(v * MASK_PX) for v in span)) for span in (SKIN_ROWS, SKIN_COLUMNS))
    top, brow = round(TOP_ROW * MASK_PX), round(BROW_ROW * MASK_PX)
    hair = luma[top:brow] < np.median(luma[rows, columns]) - HAIR_DARKER
    ends = np.where(hair.any(axis=0), brow - np.argmax(hair[::-1], axis=0), 0).astype(np.float32)
    joined = cv2.dilate(ends[None], np.ones((1, 25), np.uint8))  # between two strands there is no forehead
    lowest = np.asarray(cv2.GaussianBlur(joined, (0, 0), 6.0))[0]
    shown = np.clip((np.arange(MASK_PX)[:, None] - lowest) / FADE_PX, 0, 1)
    shown[:, lowest <= 1] = 1
    return np.round(255 * shown).astype(np.uint8)

"""Which part of a surrogate is shown: a face's outline, narrower where the head turns away, without its own hair."""

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
# Where hair is looked for beside the eyes: from the brow to the cheek, from the eye's corner outwards; and the row from
# which on all of the face is shown again.
SIDE_ROWS, SIDE_COLUMN, WHOLE_ROW = (0.36, 0.60), 0.735, 0.80
HAIR_DARKER = 24.0  # by how much luma hair is darker than the cheeks; a bright forehead is none
SKIN_REDDER = 12.0  # by how much Cr skin is redder than what is behind it
JOINED_PX = 25  # what is nearer than this hangs together
FADE_PX = 7.0  # how softly the surrogate ends at its hair


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


@lru_cache(maxsize=64)
def mask_corners(turn: int) -> np.ndarray:
    """The corners of the part of `face_mask` that is not 0, float64 [4, 2]: x, y."""
    mask = face_mask(turn)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([(x, y) for x in columns[[0, -1]] for y in rows[[0, -1]]], np.float64)


def turn_of(landmarks: np.ndarray) -> int:
    """How far a head is turned, -20 (to the picture's left) .. 20, from how far the nose is off the middle."""
    upright = similarity(landmarks, FFHQ_LANDMARKS)
    nose = landmarks[2] @ upright[:, :2].T + upright[:, 2]
    turn = round(TURN * TURN_STEPS * (nose[0] - FFHQ_LANDMARKS[2, 0]))
    return max(-TURN_STEPS, min(turn, TURN_STEPS))


def _smooth_interpolate(at: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Cosine interpolation: no corner at a knot."""
    i = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    t = (at - knots[i]) / (knots[i + 1] - knots[i])
    return values[i] + (values[i + 1] - values[i]) * (1 - np.cos(np.pi * t)) / 2


def face_alone(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Where a surrogate shows its face, and not its hair or what is behind it: those without their head look wrong.

    In each column, all above the lowest hair over the brows is left out; in each row beside the eyes, all from where
    skin ends. A function of the surrogate alone.

    Args:
        image: uint8 [S, S, 3] RGB, the surrogate.
        landmarks: float [5, 2], pixels of the image.

    Returns:
        uint8 [256, 256] in FFHQ's alignment, 255 where the surrogate may be shown.
    """
    aligned = warp(image, similarity(landmarks, FFHQ_LANDMARKS * MASK_PX), (MASK_PX, MASK_PX))
    smooth = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_RGB2YCrCb), (3, 3), 0).astype(np.float32)
    rows, columns = (slice(*(round(v * MASK_PX) for v in span)) for span in (SKIN_ROWS, SKIN_COLUMNS))
    skin = np.median(smooth[rows, columns].reshape(-1, 3), axis=0)
    dark = smooth[..., 0] < skin[0] - HAIR_DARKER
    pale = smooth[..., 1] < skin[1] - SKIN_REDDER
    shown = _below_fringe(dark) * _beside_eyes(dark | pale) * _beside_eyes((dark | pale)[:, ::-1])[:, ::-1]
    return np.round(255 * shown).astype(np.uint8)


def _below_fringe(hair: np.ndarray) -> np.ndarray:
    """How much is shown of each pixel below the lowest hair over the brows, 0..1."""
    top, brow = round(TOP_ROW * MASK_PX), round(BROW_ROW * MASK_PX)
    over = hair[top:brow]
    ends = np.where(over.any(axis=0), brow - np.argmax(over[::-1], axis=0), 0).astype(np.float32)
    joined = cv2.dilate(ends[None], np.ones((1, JOINED_PX), np.uint8))  # between two strands there is no forehead
    lowest = np.asarray(cv2.GaussianBlur(joined, (0, 0), 6.0))[0]
    shown = np.clip((np.arange(MASK_PX)[:, None] - lowest) / FADE_PX, 0, 1)
    shown[:, lowest <= 1] = 1
    return shown


def _beside_eyes(other: np.ndarray) -> np.ndarray:
    """How much is shown of each pixel left of where skin ends beside the right eye, 0..1.

    Further down nothing is left out: there may be a beard, which belongs to the face.
    """
    first, nowhere = round(SIDE_COLUMN * MASK_PX), MASK_PX + FADE_PX
    top, bottom, whole = (round(row * MASK_PX) for row in (*SIDE_ROWS, WHOLE_ROW))
    beside = other[top:bottom, first:]
    ends = np.where(beside.any(axis=1), first + np.argmax(beside, axis=1), nowhere).astype(np.float32)
    joined = cv2.erode(ends[:, None], np.ones((JOINED_PX, 1), np.uint8))
    smooth = np.asarray(cv2.GaussianBlur(joined, (0, 0), 6.0))[:, 0]
    every = np.interp(np.arange(MASK_PX), [*range(top, bottom), whole], [*smooth, nowhere])
    return np.clip((every[:, None] - np.arange(MASK_PX)) / FADE_PX, 0, 1)

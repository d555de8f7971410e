"""faces + surrogates -> photo: each surrogate brought onto its face by landmarks, matched in colour, without a seam."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.anonymizer.detect import Face
from services.anonymizer.synthesise import Surrogate

MASK_PX = 256
# The outline of what is replaced: (degrees from straight down, radius as a share of the picture) around the nose root.
MASK_CENTRE = (0.5, 0.545)
MASK_OUTLINE = ((0, 0.275), (30, 0.262), (60, 0.235), (90, 0.225), (120, 0.235), (150, 0.245), (180, 0.250))
FEATHER = 0.17  # share of the radius over which the surrogate fades out
STATISTICS_PX = 48  # colours are compared on pictures of this size
CONTRAST = (0.6, 1.5)  # by how much a surrogate's contrast may be changed

_TO_YCC = np.array([(0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)])
_TO_RGB = np.linalg.inv(_TO_YCC)


@lru_cache(maxsize=1)
def face_mask() -> np.ndarray:
    """How much of each pixel is replaced, in FFHQ's alignment: uint8 [256, 256], 255 inside, 0 outside."""
    y, x = (np.mgrid[0:MASK_PX, 0:MASK_PX] + 0.5) / MASK_PX
    dx, dy = x - MASK_CENTRE[0], y - MASK_CENTRE[1]
    angle = np.degrees(np.arctan2(np.abs(dx), dy))
    degrees, radius = np.array(MASK_OUTLINE).T
    share = np.hypot(dx, dy) / _smooth_interpolate(angle, degrees, radius)
    t = np.clip((1 - share) / FEATHER, 0, 1)
    return np.round(255 * t * t * (3 - 2 * t)).astype(np.uint8)


def _smooth_interpolate(at: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Cosine interpolation: no corner at a knot."""
    i = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    t = (at - knots[i]) / (knots[i + 1] - knots[i])
    return values[i] + (values[i + 1] - values[i]) * (1 - np.cos(np.pi * t)) / 2


def blend(pixels: np.ndarray, replaced: Sequence[tuple[Face, Surrogate]], masked: Sequence[Face]) -> np.ndarray:
    """Replaces and masks faces. Farther faces (smaller ones) first, so that nearer ones lie over them.

    Args:
        pixels: uint8 [H, W, 3] RGB; not changed.
        replaced: faces with the surrogate of each one's crowd.
        masked: faces that cannot be replaced; they are covered.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    result = pixels.copy()
    for face in masked:
        cover(result, face)
    for face, surrogate in sorted(replaced, key=lambda pair: pair[0].side):
        _replace(result, pixels, face, surrogate)
    return result


def _region(matrix: np.ndarray, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of the photo that the mask can touch: x0, y0, x1, y1, or None outside the photo."""
    rows, columns = np.nonzero(face_mask())
    x, y = (columns.min(), columns.max() + 1), (rows.min(), rows.max() + 1)
    corners = np.array([(a, b) for a in x for b in y], np.float64) @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = np.floor(corners.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 2
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _replace(result: np.ndarray, pixels: np.ndarray, face: Face, surrogate: Surrogate) -> None:
    height, width = pixels.shape[:2]
    mask_to_photo = similarity(FFHQ_LANDMARKS * MASK_PX, face.landmarks)
    region = _region(mask_to_photo, width, height)
    if region is None:
        return
    x0, y0, x1, y1 = region
    shift = np.array([(0, 0, x0), (0, 0, y0)])
    size = (x1 - x0, y1 - y0)
    alpha = cv2.warpAffine(face_mask(), mask_to_photo - shift, size, flags=cv2.INTER_LINEAR)
    image = warp(surrogate.image, similarity(surrogate.landmarks, face.landmarks) - shift, size)
    image = match_colour(image, pixels[y0:y1, x0:x1], alpha)
    part = result[y0:y1, x0:x1]
    weight = alpha.astype(np.float32)[..., None] / 255
    part[:] = np.round(part + (image.astype(np.float32) - part) * weight).astype(np.uint8)


def match_colour(image: np.ndarray, scene: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Gives the face in `image` the scene's light: mean and spread of luma and chroma, weighted by the mask.

    Reinhard et al. 2001, in YCbCr, so that it is one linear map of RGB.

    Args:
        image, scene: uint8 [h, w, 3] RGB, the surrogate and the photo on the same pixels.
        alpha: uint8 [h, w].

    Returns:
        uint8 [h, w, 3] RGB.
    """
    size = (min(STATISTICS_PX, alpha.shape[1]), min(STATISTICS_PX, alpha.shape[0]))
    weight = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    if weight.sum() < 1:
        return image

    def statistics(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(-1, 3) @ _TO_YCC.T
        mean = np.average(small, axis=0, weights=weight)
        return mean, np.sqrt(np.average((small - mean) ** 2, axis=0, weights=weight))

    (have_mean, have_spread), (want_mean, want_spread) = statistics(image), statistics(scene)
    gain = np.clip(want_spread / np.maximum(have_spread, 1e-3), *CONTRAST)
    linear = _TO_RGB @ np.diag(gain) @ _TO_YCC
    offset = _TO_RGB @ (want_mean - gain * have_mean)
    return cv2.transform(image, np.column_stack([linear, offset]))


def cover(result: np.ndarray, face: Face) -> None:
    """Covers a face with one colour, its own mean, out to beyond its box. Nothing of its structure remains."""
    height, width = result.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in face.box)
    centre, half = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0]) / 2 * 1.35
    left, top = np.maximum(np.floor(centre - half), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + half) + 1, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return
    part = result[top:bottom, left:right]
    y, x = np.mgrid[top:bottom, left:right]
    share = np.hypot((x + 0.5 - centre[0]) / half[0], (y + 0.5 - centre[1]) / half[1])
    weight = np.clip((1 - share) / 0.08, 0, 1)[..., None]
    inside = weight[..., 0] > 0
    colour = part[inside].mean(axis=0) if inside.any() else np.array([127.0] * 3)
    part[:] = np.round(part + (colour - part) * weight).astype(np.uint8)

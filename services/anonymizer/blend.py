"""faces + surrogates -> photo: each surrogate brought onto its face by landmarks, matched in colour, without a seam."""

from collections.abc import Sequence

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp_halved
from services.anonymizer.detect import Face
from services.anonymizer.mask import MASK_PX, face_mask, mask_corners, turn_of
from services.anonymizer.synthesise import Surrogate

STATISTICS_PX = 64  # colours are compared on every n-th pixel, about this many a side
CONTRAST = (0.75, 1.25)  # by how much a surrogate's contrast may be changed

_TO_YCC = np.array([(0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)])
_TO_RGB = np.linalg.inv(_TO_YCC)


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


def _region(corners: np.ndarray, matrix: np.ndarray, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of the photo that a mask can touch: x0, y0, x1, y1, or None outside the photo."""
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (width, height))
    return (int(x0), int(y0), int(x1), int(y1)) if x1 > x0 and y1 > y0 else None


def _replace(result: np.ndarray, pixels: np.ndarray, face: Face, surrogate: Surrogate) -> None:
    height, width = pixels.shape[:2]
    turn = turn_of(face.landmarks)
    mask_to_photo = similarity(FFHQ_LANDMARKS * MASK_PX, face.landmarks)
    region = _region(mask_corners(turn), mask_to_photo, width, height)
    if region is None:
        return
    x0, y0, x1, y1 = region
    shift = np.array([(0, 0, x0), (0, 0, y0)])
    size = (x1 - x0, y1 - y0)
    image = warp_halved(surrogate.levels, similarity(surrogate.landmarks, face.landmarks) - shift, size)
    step = max(1, min(size) // STATISTICS_PX)
    few = (-(-size[0] // step), -(-size[1] // step))
    core = cv2.warpAffine(face_mask(turn, core=True), (mask_to_photo - shift) / step, few)  # every step-th pixel of it
    image = match_colour(image, pixels[y0:y1, x0:x1], core, step)
    shown = face_mask(turn)
    if surrogate.shown is not None:
        shown = cv2.multiply(shown, surrogate.shown, scale=1 / 255)
    alpha = cv2.warpAffine(shown, mask_to_photo - shift, size)
    weight = alpha.astype(np.float32) / np.float32(255)
    result[y0:y1, x0:x1] = cv2.blendLinear(image, result[y0:y1, x0:x1], weight, 1 - weight)


def match_colour(image: np.ndarray, scene: np.ndarray, mask: np.ndarray, step: int = 1) -> np.ndarray:
    """Gives the face in `image` the scene's light: mean and spread of luma and chroma, weighted by a mask.

    Reinhard et al. 2001, in YCbCr, so that it is one linear map of RGB.

    Args:
        image, scene: uint8 [h, w, 3] RGB, the surrogate and the photo on the same pixels.
        mask: uint8 [ceil(h / step), ceil(w / step)], where to compare; of every `step`-th row and column.
        step: which pixels are compared.

    Returns:
        uint8 [h, w, 3] RGB.
    """
    weight = mask.astype(np.float32).ravel()
    total = float(weight.sum())
    if total < 1:
        return image
    weight /= total

    def statistics(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of Y, Cb and Cr, from mean and covariance of R, G and B."""
        few = picture[::step, ::step].reshape(-1, 3).astype(np.float32)
        mean = weight @ few
        few -= mean
        covariance = (few.T * weight) @ few
        variance = (_TO_YCC @ covariance * _TO_YCC).sum(axis=1)
        return _TO_YCC @ mean, np.sqrt(np.maximum(variance, 0))

    (have_mean, have_spread), (want_mean, want_spread) = statistics(image), statistics(scene)
    gain = np.clip(want_spread / np.maximum(have_spread, 1e-3), *CONTRAST)
    linear = (_TO_RGB * gain) @ _TO_YCC
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

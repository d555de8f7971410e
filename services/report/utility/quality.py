"""Pixels of a photo before and after -> how the picture changed, face by face."""

from collections.abc import Mapping

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.anonymizer.mask import face_mask

SIDE = 256  # pixels of the aligned pictures that are compared
WIDE = 2.0  # sides of FFHQ's picture that are looked at around a face
SIGMA, WINDOW = 1.5, (11, 11)  # of SSIM's window
MOST_DB = 60.0  # what PSNR is held to, where (almost) nothing changed
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
QUALITIES: Mapping[str, str] = {
    "SSIM of the face": "structural similarity to the original within the face (Wang et al. 2004), aligned at 256 px; "
    "1: the same picture. Where faces are replaced it should be low.",
    "SSIM around the face": "the same around it; 1: nothing else was touched.",
    "PSNR around the face": "peak signal-to-noise ratio of luma around it, dB, 60 at most; coding a photo anew as JPEG "
    "costs some of it as well.",
    "sharpness of the face": "variance of the Laplacian within the face, as a share of the original's; 1: as sharp.",
    "step at the edge": "difference of luma across the face's outline beyond the original's own, 0 to 255; 0: no seam.",
}


def measure_quality(before: np.ndarray, after: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Compares two versions of a photo at its faces.

    Args:
        before, after: uint8 [H, W, 3] RGB, of the same size.
        landmarks: float [n, 5, 2], of the faces before.

    Returns:
        Each of `QUALITIES`: float64 [n].
    """
    rows = [_one(before, after, points) for points in landmarks]
    return {name: np.array([row[name] for row in rows], np.float64) for name in QUALITIES}


def ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural similarity at every pixel (Wang et al. 2004): `float [h, w]` pictures of 0..255 -> float [h, w]."""

    def smooth(picture: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(picture, WINDOW, SIGMA))

    x, y = one.astype(np.float64), other.astype(np.float64)
    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * cov + C2)) / ((mx * mx + my * my + C1) * (vx + vy + C2))


def _one(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> dict[str, float]:
    # The face's own picture fills the middle of one twice as wide, so that what is around it can be compared.
    target = ((FFHQ_LANDMARKS - 0.5) / WIDE + 0.5) * SIDE
    matrix = similarity(points, target)
    one, other = (warp(pixels, matrix, (SIDE, SIDE)).astype(np.float32) @ LUMA for pixels in (before, after))
    photo = np.ones(before.shape[:2], np.uint8)
    there = cv2.warpAffine(photo, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST) > 0
    margin = round(SIDE * (1 - 1 / WIDE) / 2)
    inner = cv2.resize(face_mask(), (SIDE - 2 * margin, SIDE - 2 * margin), interpolation=cv2.INTER_AREA)
    mask = cv2.copyMakeBorder(inner, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    inside, outside = mask > 250, (mask == 0) & there
    alike = ssim(one, other)
    edge = np.hypot(*(cv2.Sobel(mask.astype(np.float32), cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))) > 20
    steps = [
        np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)) / 4 for luma in (one, other)
    ]
    sharp = [float(cv2.Laplacian(luma, cv2.CV_32F)[inside].var()) for luma in (one, other)]
    return {
        "SSIM of the face": float(alike[inside].mean()),
        "SSIM around the face": float(alike[outside].mean()) if outside.any() else np.nan,
        "PSNR around the face": _psnr(one[outside], other[outside]) if outside.any() else np.nan,
        "sharpness of the face": sharp[1] / sharp[0] if sharp[0] > 0 else np.nan,
        "step at the edge": max(0.0, float((steps[1] - steps[0])[edge].mean())),
    }


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.square(one - other).mean(dtype=np.float64))
    return min(MOST_DB, float(10 * np.log10(255**2 / error))) if error > 0 else MOST_DB

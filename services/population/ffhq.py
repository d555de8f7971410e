"""A photo's face -> a picture aligned as FFHQ aligns: what StyleGAN's people look like, and what encoders expect."""

import cv2
import numpy as np

from services.anonymizer.align import warp

# FFHQ's rule (Karras et al. 2019, appendix A, after Karras et al. 2018, appendix C) takes 68 landmarks: half a side is
# the larger of 2.0 times the distance between the eyes and 1.8 times that from eyes to mouth. With CenterFace's five
# points its pictures come out 4 % too large, measured on 5000 generated people, who are aligned by construction.
EYES, MOUTH, DOWN = 2.0 * 0.9586, 1.8 * 0.9586, 0.1
SMOOTH = 0.02  # blur of what is made up beyond the photo's edges, as a share of the picture's side
MOST_BEYOND = 4.0  # sides of the photo by which a picture may reach beyond it


def ffhq_matrix(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarity float64 [2, 3] from photo pixels to FFHQ's picture of `size` pixels a side.

    Args:
        landmarks: float [5, 2]: left eye, right eye, nose, left and right corner of the mouth.
    """
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    eyes, across = (left + right) / 2, right - left
    down = (mouth_left + mouth_right) / 2 - eyes
    axis = across + np.array([down[1], -down[0]])  # the eyes' direction, and square to that of the mouth, together
    axis /= max(float(np.hypot(*axis)), 1e-9)
    half = max(float(np.hypot(*across)) * EYES, float(np.hypot(*down)) * MOUTH, 1.0)
    centre = eyes + DOWN * down
    scale = size / (2 * half)
    linear = scale * np.array([(axis[0], axis[1]), (-axis[1], axis[0])])
    return np.column_stack([linear, np.full(2, (size - 1) / 2) - linear @ centre])


def align_ffhq(pixels: np.ndarray, landmarks: np.ndarray, size: int = 1024) -> np.ndarray:
    """Cuts one face out as FFHQ does. Beyond the photo it is mirrored, and the more blurred the farther out.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        landmarks: float [5, 2], pixels of the photo.
        size: side of the result.

    Returns:
        uint8 [size, size, 3] RGB.
    """
    matrix = ffhq_matrix(landmarks, size)
    height, width = pixels.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) @ inverse[:, :2].T + inverse[:, 2]
    before = np.maximum(0, -np.floor(corners.min(axis=0))).astype(int)
    after = np.maximum(0, np.ceil(corners.max(axis=0)) - (width, height)).astype(int)
    if not (before.any() or after.any()):
        return warp(pixels, matrix, (size, size))
    left, top, right, bottom = (int(min(pad, MOST_BEYOND * max(width, height))) for pad in (*before, *after))
    wide = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REFLECT)
    shifted = matrix.copy()
    shifted[:, 2] -= matrix[:, :2] @ (left, top)
    picture = warp(wide, shifted, (size, size))
    inside = np.zeros(wide.shape[:2], np.uint8)
    inside[top : top + height, left : left + width] = 255
    known = cv2.warpAffine(inside, shifted, (size, size), flags=cv2.INTER_LINEAR)
    blurred = cv2.GaussianBlur(picture, (0, 0), SMOOTH * size)
    distance = cv2.distanceTransform(255 - np.where(known > 127, np.uint8(255), np.uint8(0)), cv2.DIST_L2, 5)
    weight = np.clip(distance / (3 * SMOOTH * size), 0, 1)[..., None]
    return np.round(picture + (blurred.astype(np.float32) - picture) * weight).astype(np.uint8)

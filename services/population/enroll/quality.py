"""A face -> how good a photo of it this is: size, blur, pose, light."""

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.detect import Face

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
DARK, BRIGHT = 5, 250  # luma up to and from which a pixel shows nothing any more

# A head: the five landmarks of FFHQ's average face, made symmetric, in distances between the eyes (63 mm in adults);
# the nose stands out by 0.45 of it, the corners of the mouth by 0.03. x to the photo's right, y down, z into the scene.
_EYES = float(FFHQ_LANDMARKS[1, 0] - FFHQ_LANDMARKS[0, 0])
_MIRRORED = FFHQ_LANDMARKS[[1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
HEAD = np.column_stack([(FFHQ_LANDMARKS + _MIRRORED) / 2 / _EYES, (0, 0, -0.45, -0.03, -0.03)])
HEAD -= HEAD.mean(axis=0)


def measure(face: Face, chip: np.ndarray) -> dict[str, float]:
    """How good a photo of a face is.

    Args:
        face: as detected.
        chip: uint8 [side, side, 3] RGB, the face as the embedder sees it.

    Returns:
        face_px: longer side of the face's box, in pixels of the photo.
        blur: variance of the Laplacian of the chip's luma over its mean; the smaller, the more blurred (Pech-Pacheco et
            al. 2000, "Diatom autofocusing in brightfield microscopy"). Chips of one embedder compare.
        yaw, pitch, roll: degrees; see `pose`.
        brightness: mean luma of the chip, 0..1.
        clipped: share of the chip's pixels that are black or blown out, 0..1.
        score: the detector's, 0..1.
    """
    luma = chip.astype(np.float32) @ LUMA
    mean = float(luma.mean())
    yaw, pitch, roll = pose(face.landmarks)
    return {
        "face_px": face.side,
        "blur": float(cv2.Laplacian(luma / max(mean, 1.0), cv2.CV_32F).var()),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "brightness": mean / 255,
        "clipped": float(((luma <= DARK) | (luma >= BRIGHT)).mean()),
        "score": face.score,
    }


def pose(landmarks: np.ndarray) -> tuple[float, float, float]:
    """How a head is turned, from an average head under scaled orthographic projection.

    The first step of POSIT (DeMenthon and Davis 1995, "Model-based object pose in 25 lines of code"): the two rows of
    the camera by least squares, then the rotation nearest to them. Landmarks of real faces, each built in its own way,
    leave an error of some degrees.

    Args:
        landmarks: float [5, 2]: left eye, right eye, nose, left and right corner of the mouth, in pixels.

    Returns:
        yaw, pitch, roll in degrees: above 0 where the nose points to the photo's right, up, and where the head is
        tilted clockwise. They are applied in that order.
    """
    points = np.asarray(landmarks, np.float64)
    rows = (np.linalg.pinv(HEAD) @ (points - points.mean(axis=0))).T  # [2, 3], scale times two rows of the rotation
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    first, second = left @ right
    away = np.cross(first, second)
    yaw, pitch = np.arctan2(away[0], away[2]), -np.arcsin(np.clip(away[1], -1, 1))
    roll = np.arctan2(-first[1], second[1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))

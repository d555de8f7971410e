"""face -> chip: similarity transforms by landmarks, and warps that neither alias nor blur."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Left eye, right eye, nose, left and right corner of the mouth in dlib's 150 x 150 chip: the means of dlib's 5-point
# template and of the nose and mouth of the faces it was trained on.
DLIB_CHIP_150 = np.array([(47.5, 46.6), (100.5, 46.6), (74.0, 76.6), (50.4, 103.0), (97.6, 103.0)])

# The same in ArcFace's 112 x 112 chip (Deng et al. 2019, arXiv:1801.07698; insightface's `arcface_src`).
ARCFACE_CHIP_112 = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)

# FaceNet's chips are MTCNN's boxes with a margin of a fifth, made square: faces in them are stretched sideways. The
# landmarks' places in such chips of 160 px: means over 24 generated people and their mirror images.
FACENET_CHIP_160 = np.array([(52.2, 66.2), (107.8, 66.2), (80.0, 92.2), (54.0, 112.5), (106.0, 112.5)])


@dataclass(frozen=True)
class Aligner:
    """How chips are cut. Its name also says which landmarks it takes: others would give other embeddings."""

    template: np.ndarray  # float [5, 2], where the landmarks go, as shares of a chip's side
    stretch: float = 1.0  # how much wider than it is a face becomes

    def matrix(self, landmarks: np.ndarray, side: int) -> np.ndarray:
        """float64 [2, 3], photo pixels -> pixels of a chip of that side."""
        upright = self.template * side
        upright[:, 0] = (upright[:, 0] - side / 2) / self.stretch
        matrix = similarity(landmarks, upright)
        matrix[0] *= self.stretch
        matrix[0, 2] += side / 2
        return matrix


# CenterFace's five landmarks, from the second look at 192 px.
ALIGNERS = {
    "centerface5-look192-similarity150": Aligner(DLIB_CHIP_150 / 150),
    "centerface5-look192-facenet160": Aligner(FACENET_CHIP_160 / 160, stretch=1.16),
    "centerface5-look192-arcface112": Aligner(ARCFACE_CHIP_112 / 112),
}

# The same points in a face aligned as FFHQ aligns, as shares of the picture: means over 24 surrogates as the detector
# sees them.
FFHQ_LANDMARKS = np.array([(0.374, 0.475), (0.644, 0.480), (0.505, 0.629), (0.385, 0.736), (0.614, 0.738)])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity (rotation, one scale, shift; no mirror) that brings points nearest in the least-squares sense.

    Umeyama 1991, in closed form for the plane.

    Args:
        source, target: float [n, 2], n >= 2, x and y in pixels.

    Returns:
        float64 [2, 3], for `target ~ source @ M[:, :2].T + M[:, 2]`.
    """
    (a, centre), (b, new_centre) = _centred(source), _centred(target)
    turn = complex(np.vdot(a, b)) / max(np.vdot(a, a).real, 1e-12)  # rotation and scale, as points are complex numbers
    shift = new_centre - turn * centre
    return np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])


def _centred(points: np.ndarray) -> tuple[np.ndarray, complex]:
    """Points x + iy from their mean, and the mean."""
    numbers = np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]
    mean = complex(numbers.sum()) / len(numbers)
    return numbers - mean, mean


def scale_of(matrix: np.ndarray) -> float:
    """Pixels of the target for one pixel of the source, of a similarity [2, 3]."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def misfit(source: np.ndarray, target: np.ndarray) -> float:
    """How badly a similarity explains the landmarks: RMS residual in the target, over the target's own RMS radius."""
    matrix = similarity(source, target)
    residual = target - (source @ matrix[:, :2].T + matrix[:, 2])
    radius = target - target.mean(axis=0)
    return float(np.sqrt((residual**2).sum() / max(float((radius**2).sum()), 1e-12)))


def pose_of(landmarks: np.ndarray) -> np.ndarray:
    """What a similarity does not explain of some landmarks: how the head is turned, and how the face is built.

    Args:
        landmarks: float [n, 5, 2], in pixels or any other unit.

    Returns:
        float32 [n, 10]: x and y of each landmark's offset from FFHQ's average, in sides of FFHQ's picture.
    """
    rows = []
    for points in landmarks:
        matrix = similarity(points, FFHQ_LANDMARKS)
        rows.append((points @ matrix[:, :2].T + matrix[:, 2] - FFHQ_LANDMARKS).ravel())
    return np.array(rows, np.float32).reshape(len(landmarks), 10)


def halves_of(image: np.ndarray, smallest: int = 64) -> tuple[np.ndarray, ...]:
    """An image, its half, its quarter and so on, while both sides are even and halves are not below `smallest` px.

    Args:
        image: uint8 [H, W, 3].
    """
    levels = [image]
    while not any(side % 2 or side // 2 < smallest for side in levels[-1].shape[:2]):
        levels.append(_half(levels[-1]))
    return tuple(levels)


def warp_halved(levels: Sequence[np.ndarray], matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As `warp` of the first of `halves_of`; what was halved before is not halved again.

    Args:
        levels: an image, its half, and so on.
    """
    level = min(len(levels) - 1, _halvings(matrix))
    step = 2**level  # pixel centres: x = step * (u + 0.5) - 0.5
    to_image = np.array([(step, 0, 0.5 * step - 0.5), (0, step, 0.5 * step - 0.5), (0, 0, 1)])
    return warp(levels[level], matrix @ to_image, size)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples `image` by a similarity; halves it first as often as it shrinks by two, so that nothing aliases.

    Args:
        image: uint8 [H, W, 3].
        matrix: float [2, 3], image pixels -> result pixels; a similarity, or nearly one.
        size: (width, height) of the result.

    Returns:
        uint8 [height, width, 3]; beyond the image its border is repeated.
    """
    halvings = _halvings(matrix)
    if halvings > 0:
        image, matrix = _halve(image, matrix, size, halvings)
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _halvings(matrix: np.ndarray) -> int:
    """How often an image can be halved before a similarity shrinks it no more by two."""
    return max(0, int(np.log2(1 / max(scale_of(matrix), 1e-6))))


def _half(image: np.ndarray) -> np.ndarray:
    """Each two by two pixels become their mean; an odd last row or column is left out."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))


def _halve(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], halvings: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts out what the result needs, halves it, and returns it with the similarity from there to the result."""
    step = 2**halvings
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size]) @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    low, high = np.floor(corners.min(axis=0)) - 2 * step, np.ceil(corners.max(axis=0)) + 2 * step
    x0, y0 = np.clip(low, 0, (max(0, width - step), max(0, height - step))).astype(int)
    x1, y1 = np.clip(high, (x0 + 1, y0 + 1), (width, height)).astype(int)
    part = image[y0:y1, x0:x1]
    missing = (-part.shape[0] % step, -part.shape[1] % step)
    if any(missing):  # an odd rest, at the photo's edge or the cut's, where borders are repeated anyway
        part = cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    for _ in range(halvings):
        part = _half(part)
    # pixel centres: x = x0 - 0.5 + step * (u + 0.5)
    to_image = np.array([(step, 0, x0 + 0.5 * step - 0.5), (0, step, y0 + 0.5 * step - 0.5), (0, 0, 1)])
    return part, matrix @ to_image


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `image uint8 [H, W, 3]` to a smaller (width, height), by `warp`'s rules."""
    fx, fy = size[0] / image.shape[1], size[1] / image.shape[0]
    halvings = int(np.log2(1 / max(fx, fy)))
    for _ in range(halvings):
        image = _half(image)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def cut_chips(image: np.ndarray, landmarks: np.ndarray, aligner: str, side: int) -> np.ndarray:
    """Cuts faces out as a recogniser wants them.

    Args:
        image: uint8 [H, W, 3] RGB.
        landmarks: float [n, 5, 2]: left eye, right eye, nose, left and right corner of the mouth, in pixels.
        aligner: a row of `ALIGNERS`.
        side: side of a chip in pixels.

    Returns:
        uint8 [n, side, side, 3] RGB.
    """
    chips = [warp(image, ALIGNERS[aligner].matrix(points, side), (side, side)) for points in landmarks]
    return np.stack(chips) if chips else np.empty((0, side, side, 3), np.uint8)

"""What a way to hide faces is, and what it may take."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.anonymizer.detect import Face
from services.anonymizer.models import Inverter, Models
from services.anonymizer.triton import Triton
from services.population.sample import Sampler

SIDE = 256  # pixels of an aligned picture
# The face in FFHQ's alignment, as shares of the picture: where a detector's box lies.
BOX = np.array([(0.27, 0.31), (0.74, 0.31), (0.27, 0.90), (0.74, 0.90)])


class Baseline(Protocol):
    """A way to hide faces."""

    @property
    def name(self) -> str:
        """How it is called in tables."""
        ...

    @property
    def about(self) -> str:
        """One sentence: how it is made, and whose it is."""
        ...

    def hide(self, pixels: np.ndarray, landmarks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Hides the faces of a photo.

        Args:
            pixels: uint8 [H, W, 3] RGB; not changed.
            landmarks: float32 [n, 5, 2], pixels.
            rows: int [n], which faces of the report they are.

        Returns:
            uint8 [H, W, 3] RGB.
        """
        ...


@dataclass(frozen=True)
class First:
    """A face as FFHQ aligns it."""

    picture: np.ndarray  # uint8 [SIDE, SIDE, 3] RGB
    landmarks: np.ndarray  # float64 [5, 2], pixels of the picture
    turned: np.ndarray  # float32 [5, 2], the landmarks in the photo


@dataclass(frozen=True)
class Tools:
    """What faces are drawn with."""

    triton: Triton
    models: Models
    sampler: Sampler
    inverter: Inverter | None
    seed: int


def first_of(pixels: np.ndarray, landmarks: np.ndarray) -> First:
    """Cuts one face out of `pixels uint8 [H, W, 3]` by its `landmarks float32 [5, 2]`."""
    matrix = similarity(landmarks, FFHQ_LANDMARKS * SIDE)
    picture = warp(pixels, matrix, (SIDE, SIDE))
    return First(picture, landmarks @ matrix[:, :2].T + matrix[:, 2], np.asarray(landmarks, np.float32))


def face_at(landmarks: np.ndarray) -> Face:
    """A face by its `landmarks float32 [5, 2]` alone, with the box it would have if it were an average one."""
    matrix = similarity(FFHQ_LANDMARKS, landmarks)
    corners = BOX @ matrix[:, :2].T + matrix[:, 2]
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
    return Face(box, np.asarray(landmarks, np.float32), 1.0, confirmed=True)

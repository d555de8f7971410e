"""Ways that put another face in the place of each: blended as the product blends its surrogates."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.anonymizer.align import halves_of
from services.anonymizer.blend import blend
from services.anonymizer.mask import face_alone
from services.anonymizer.synthesise import Surrogate
from services.report.baselines.contract import face_at


@dataclass(frozen=True)
class Pictured:
    """Gives each face the picture that its row has; a face without one is covered."""

    name: str
    about: str
    pictures: Mapping[int, Surrogate]  # by row

    def hide(self, pixels: np.ndarray, landmarks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Baseline`."""
        faces = [(face_at(points), self.pictures.get(int(row))) for points, row in zip(landmarks, rows, strict=True)]
        replaced = [(face, picture) for face, picture in faces if picture is not None]
        return blend(pixels, replaced, [face for face, picture in faces if picture is None])


def surrogate_of(number: int, picture: np.ndarray, landmarks: np.ndarray, drawn: bool) -> Surrogate:
    """A picture as the product blends it.

    Args:
        picture: uint8 [H, W, 3].
        landmarks: float [5, 2], in its pixels.
        drawn: by a generator, so that it has hair of its own, which is left out as the product does.
    """
    picture, landmarks = np.ascontiguousarray(picture), np.asarray(landmarks, np.float64)
    _, *smaller = halves_of(picture)
    return Surrogate(number, picture, landmarks, face_alone(picture, landmarks) if drawn else None, tuple(smaller))

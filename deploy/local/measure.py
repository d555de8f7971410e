"""What replacing did to each face, measured on the finished photo: is it nearer to its surrogate than to who it was?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.population.index import ClusterIndex
from services.settings import Settings


@dataclass(frozen=True)
class Measured:
    """One replaced face; distances are between embeddings."""

    photo: str
    face: int
    crowd: int
    crowd_size: int
    enrolled: bool
    side_px: int
    to_surrogate: float  # finished face to its crowd's surrogate
    to_original: float  # finished face to the face that was there

    @property
    def nearer_to_surrogate(self) -> bool:
        return self.to_surrogate < self.to_original

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "nearer_to_surrogate": self.nearer_to_surrogate}


async def measure(
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    inspected: dict[str, Any],
    index: ClusterIndex,
    triton: Triton,
    models: Models,
    settings: Settings,
) -> list[Measured]:
    """Detects and embeds the faces of the finished photo and compares them with what was there.

    Args:
        before, after: uint8 [H, W, 3] RGB, the photo and its anonymised version.
        inspected: the answer of /v1/inspect for `before`.

    Returns:
        One row a replaced face. A face that is no longer detected is embedded where it was.
    """
    replaced = [(i, face) for i, face in enumerate(inspected["faces"]) if face["masked"] is None]
    if not replaced:
        return []
    was_at = np.array([face["landmarks"] for _, face in replaced], np.float32)
    found = await detect(after, triton, models.detector, settings.detect_score, settings.detect_min_px)
    is_at = was_at.copy()
    for row, (_, face) in enumerate(replaced):
        size = max(face["box"][2] - face["box"][0], face["box"][3] - face["box"][1])
        offsets = [float(np.linalg.norm(f.landmarks.mean(axis=0) - was_at[row].mean(axis=0))) for f in found]
        if offsets and min(offsets) < size / 3:
            is_at[row] = found[int(np.argmin(offsets))].landmarks
    old = await embed(before, was_at, triton, models.embedder)
    new = await embed(after, is_at, triton, models.embedder)
    rows = []
    for row, (number, face) in enumerate(replaced):
        surrogate = index.crowds.surrogate_embeddings[face["crowd"]]
        rows.append(
            Measured(
                photo=name,
                face=number,
                crowd=face["crowd"],
                crowd_size=face["crowd_size"],
                enrolled=face["enrolled"],
                side_px=round(max(face["box"][2] - face["box"][0], face["box"][3] - face["box"][1])),
                to_surrogate=round(float(np.linalg.norm(new[row] - surrogate)), 3),
                to_original=round(float(np.linalg.norm(new[row] - old[row])), 3),
            )
        )
    return rows

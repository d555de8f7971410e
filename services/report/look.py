"""A picture, and where faces are in it -> what recognisers and estimators see there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.anonymizer.detect import Face, detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Embedder, Estimator, Models
from services.anonymizer.triton import Triton
from services.population.attributes import estimate
from services.release.verify import nearest
from services.settings import Settings

UNINVOLVED = ("mobileface", "faceres")  # recognisers that measure, where nobody names others


@dataclass(frozen=True)
class Eyes:
    """Who looks."""

    recognisers: tuple[Embedder, ...]  # the one that chose the crowds, and others, which had no part in it
    estimators: tuple[Estimator, ...]
    models: Models
    settings: Settings

    @property
    def served(self) -> set[str]:
        """The Triton models that are needed to look."""
        looking = {*(one.model for one in self.recognisers), *(one.model for one in self.estimators)}
        return {*self.models.detector.served, *looking}


@dataclass(frozen=True)
class Sight:
    """What is seen of n faces of one picture."""

    found: np.ndarray  # bool [n]
    landmarks: np.ndarray  # float32 [n, 5, 2], pixels; NaN where no face is found
    embeddings: dict[str, np.ndarray]  # recogniser -> float32 [n, d]
    attributes: dict[str, list[str]]  # n each


async def faces_in(pixels: np.ndarray, eyes: Eyes, triton: Triton) -> list[Face]:
    """All faces of `pixels uint8 [H, W, 3]`, by the release's own settings. Raises Triton's failures."""
    s = eyes.settings
    return await detect(pixels, triton, eyes.models.detector, s.detect_score, s.detect_min_px)


async def look(pixels: np.ndarray, places: Sequence[Face], eyes: Eyes, triton: Triton) -> Sight:
    """Finds the faces anew, and reads each: where it is found, or else, as by hand, where it was.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        places: the n faces of the original.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    there = await faces_in(pixels, eyes, triton)
    return await read([nearest(face, there) for face in places], places, pixels, eyes, triton)


async def read(
    found: Sequence[Face | None], places: Sequence[Face], pixels: np.ndarray, eyes: Eyes, triton: Triton
) -> Sight:
    """Reads faces: each at its own landmarks, or at those of its place if it was not found. Raises as `look` does."""
    at = np.array([(face or place).landmarks for face, place in zip(found, places, strict=True)], np.float32)
    seen = np.array([face is not None for face in found], bool)
    embeddings = {one.name: await embed(pixels, at, triton, one) for one in eyes.recognisers}
    attributes = await estimate(pixels, at, triton, eyes.estimators)
    return Sight(seen, np.where(seen[:, None, None], at, np.nan), embeddings, attributes)

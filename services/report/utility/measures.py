"""Faces, originals and a version of them -> what of the photos is kept: faces, where they are, and how they look."""

from collections.abc import Iterator

import numpy as np

from services.population.enroll.quality import pose
from services.report.attacks.interval import estimate_mean
from services.report.faces import Faces, Version
from services.report.results import Measure
from services.report.utility.quality import QUALITIES

FEWEST = 5  # people a figure is of; one of fewer would be of persons
LEFT, RIGHT, MOUTH = 0, 1, slice(3, 5)  # of the five landmarks

ABOUT = {
    "faces found": "Share of the original faces in whose place a detector finds a face; one of which nothing is "
    "published counts as not found. More is better.",
    "landmark error": "Mean distance of the five landmarks from the original's, over the distance between its eyes "
    "(NME), where a face is found. Less is better; the face of somebody else is built otherwise, and is not at 0.",
    "yaw error": "How far the head is turned sideways otherwise than in the original, degrees, from five landmarks "
    "(services/population/enroll/quality.py). Less is better.",
    "pitch error": "The same up or down.",
    "roll error": "The same for the tilt.",
    "mouth error": "Expression, by geometry alone: how much the mouth's width over the distance between the eyes "
    "differs from the original's. A weak sign of a smile: it sees neither eyes nor brows, and somebody else's "
    "mouth is of another width. Less is better. `emotion kept` is the network's word, where one is installed.",
}
_KEPT = (
    "Share of faces of which an estimator says the same as of the original, of those where it is certain there; not "
    "certain any more counts as otherwise. More is better."
)
_CERTAIN = "Share of those faces, certain in the original, where the estimator is certain at all. More is better."


def utility(faces: Faces, original: Version, version: Version, seed: int) -> list[Measure]:
    """Every measure of one version, with intervals over people.

    Args:
        seed: of the bootstrap.

    Returns:
        The same names in the same order for every version. What no face has a value of, such as the place of landmarks
        where a face is in no photo, has no estimate; nor has what only some have, and they are fewer than five people.
    """
    return [_measure(version.name, faces, seed, *row) for row in _values(original, version)]


def _measure(version: str, faces: Faces, seed: int, name: str, about: str, values: np.ndarray, share: bool) -> Measure:
    known = np.isfinite(values)
    people = len(np.unique(faces.identities[known]))
    enough = people >= min(FEWEST, len(np.unique(faces.identities))) > 0
    estimate = estimate_mean(values[known], faces.identities[known], seed, share) if enough else None
    return Measure(version, name, about, estimate)


def _values(original: Version, version: Version) -> Iterator[tuple[str, str, np.ndarray, bool]]:
    """Name, what it is, float64 [n] with NaN where there is none, and whether it is a share."""
    yield "faces found", ABOUT["faces found"], (version.found & version.shown).astype(np.float64), True
    before, after = (np.asarray(one.landmarks, np.float64) for one in (original, version))
    yield "landmark error", ABOUT["landmark error"], landmark_error(before, after), False
    turned = np.abs(_poses(after) - _poses(before))
    turned = np.minimum(turned, 360 - turned)
    for name, values in zip(("yaw error", "pitch error", "roll error"), turned.T, strict=True):
        yield name, ABOUT[name], values, False
    yield "mouth error", ABOUT["mouth error"], np.abs(mouth_width(after) - mouth_width(before)), False
    for name in sorted(original.attributes.keys() & version.attributes.keys()):
        told, now = original.attributes[name], version.attributes[name]
        spoken = name.replace("_", " ")
        yield f"{spoken} kept", _KEPT, np.where(told != "", told == now, np.nan), True
        yield f"{spoken} certain", _CERTAIN, np.where(told != "", now != "", np.nan), True
    for name, about in QUALITIES.items():
        yield name, about, version.quality.get(name, np.full(len(version.shown), np.nan)), False


def landmark_error(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Normalised mean error of `float [n, 5, 2]` beside the original's, in distances between the original's eyes.

    Returns:
        float64 [n]; NaN where landmarks are.
    """
    apart = np.linalg.norm(after - before, axis=2).mean(axis=1)
    return np.asarray(apart / _eyes(before))


def mouth_width(landmarks: np.ndarray) -> np.ndarray:
    """Width of the mouth over the distance between the eyes of `float [n, 5, 2]`: float64 [n].

    Both shrink alike where a head turns sideways, and neither where it nods.
    """
    return np.asarray(np.linalg.norm(np.diff(landmarks[:, MOUTH], axis=1)[:, 0], axis=1) / _eyes(landmarks))


def _eyes(landmarks: np.ndarray) -> np.ndarray:
    apart = np.linalg.norm(landmarks[:, RIGHT] - landmarks[:, LEFT], axis=1)
    return np.where(apart > 0, apart, np.nan)


def _poses(landmarks: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of each, float64 [n, 3], degrees; NaN where landmarks are."""
    known = np.isfinite(landmarks).all(axis=(1, 2))
    return np.array([pose(points) if seen else (np.nan,) * 3 for points, seen in zip(landmarks, known, strict=True)])

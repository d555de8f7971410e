"""What every measure takes: the faces of a collection, and what each way to hide them made of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ORIGINAL, RELEASED, SURROGATE = "original", "released", "surrogate alone"


@dataclass(frozen=True)
class Faces:
    """n faces whose person is known. Row i of every array, here and in every `Version`, is the same face."""

    people: tuple[str, ...]  # names of those who are in it
    identities: np.ndarray  # int64 [n], rows of `people`
    paths: tuple[str, ...]  # photos, as the release names them
    photos: np.ndarray  # int64 [n], rows of `paths`
    takes: np.ndarray  # int64 [n], which of a person's photos it is in: 0, 1, ... in the order of their paths
    crowds: np.ndarray  # int64 [n], whose surrogate it got; -1: it was masked, or its photo refused
    outcomes: np.ndarray  # str [n]: enrolled, stranger, masked, refused

    def __len__(self) -> int:
        return len(self.identities)

    def of(self, rows: np.ndarray) -> "Faces":
        """Some of the faces: `rows` int or bool. People and photos keep their numbers."""
        parts = (self.photos, self.takes, self.crowds, self.outcomes)
        return Faces(self.people, self.identities[rows], self.paths, *(part[rows] for part in parts))


@dataclass(frozen=True)
class Version:
    """What became of the n faces by one way to hide them; the originals themselves are one as well.

    An attacker aligns a face by what a detector finds in its place, and by hand, where it was, if nothing is found.
    """

    name: str  # ORIGINAL, RELEASED, SURROGATE, or a baseline's
    about: str  # one sentence: how it is made
    shown: np.ndarray  # bool [n], whether anything of the face is published at all
    found: np.ndarray  # bool [n], whether the detector finds a face in its place
    landmarks: np.ndarray  # float32 [n, 5, 2], pixels of the upright photo; NaN where none is found
    embeddings: Mapping[str, np.ndarray]  # recogniser -> float32 [n, d]; NaN where nothing is shown
    attributes: Mapping[str, np.ndarray]  # age_group, gender, emotion ... -> str [n]; "" where not certain or not shown
    quality: Mapping[
        str, np.ndarray
    ]  # name of a measure of services/report/utility/quality.py -> float64 [n]; NaN: none

    def of(self, rows: np.ndarray) -> "Version":
        """The same for some of the faces: `rows` int or bool."""
        held = [
            {name: column[rows] for name, column in table.items()}
            for table in (self.embeddings, self.attributes, self.quality)
        ]
        return Version(self.name, self.about, self.shown[rows], self.found[rows], self.landmarks[rows], *held)

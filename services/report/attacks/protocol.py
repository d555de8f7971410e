"""Faces -> who is looked for, and among whom.

The gallery holds one photo of each person, and the attacker holds another one: each face of a person's other photos is
a probe, which is looked for among all people of the gallery ("another"). All of it is done twice, with everybody's
first photo in the gallery and with everybody's last, and the probes of both are taken together; intervals are over
people, so that this makes them no narrower than it should. The attacker may also hold the very photo that was published
("the same"): hair, clothes and place are then the same in both.

Faces of which nothing is shown are left out, of the gallery and of the probes, and so are probes whose person is then
in no gallery. People with one photo are in the gallery, and are looked for with "the same" photo only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.errors import ReportError
from services.report.faces import Faces, Version
from services.report.results import Photos


@dataclass(frozen=True)
class Side:
    """What one side of the comparison is taken from."""

    embeddings: np.ndarray  # float [n, d]
    seen: np.ndarray  # bool [n]


@dataclass(frozen=True)
class Roles:
    """Who is looked for, and among whom: rows of the faces."""

    probes: np.ndarray  # int64 [p]
    gallery: np.ndarray  # int64 [g], one of a person


@dataclass(frozen=True)
class Setting:
    """What is compared in an attack."""

    faces: Faces
    probe: Side
    gallery: Side
    photos: Photos
    among: np.ndarray | None = None  # bool [n], faces that may be probes; None: all

    def roles(self) -> Iterator[Roles]:
        """Everybody's first photo as the gallery, then the last, as if everything were shown."""
        faces = self.faces
        order = np.lexsort((faces.takes, faces.identities))
        ends = np.flatnonzero(np.diff(faces.identities[order])) + 1
        for gallery in (order[np.append(0, ends)], order[np.append(ends, len(order)) - 1]):
            probes = gallery if self.photos == "the same" else np.setdiff1d(np.arange(len(faces)), gallery)
            yield Roles(probes if self.among is None else probes[self.among[probes]], gallery)

    def trials(self) -> list[Roles]:
        """What of that is shown, where there is somebody to look for and somebody else to take for them."""
        shown = []
        for roles in self.roles():
            gallery = roles.gallery[self.gallery.seen[roles.gallery]]
            there = np.isin(self.faces.identities[roles.probes], self.faces.identities[gallery])
            probes = roles.probes[self.probe.seen[roles.probes] & there]
            if len(gallery) > 1 and len(probes):
                shown.append(Roles(probes, gallery))
        return shown

    def hidden(self) -> int:
        """Faces that would be probes or in the gallery, and show nothing there."""
        lost = np.zeros(len(self.faces), bool)
        for roles in self.roles():
            lost[roles.probes] |= ~self.probe.seen[roles.probes]
            lost[roles.gallery] |= ~self.gallery.seen[roles.gallery]
        return int(lost.sum())


def check_people(faces: Faces) -> None:
    """Raises ReportError if there are less than two."""
    if len(np.unique(faces.identities)) < 2:
        raise ReportError(
            "an attack has to tell people apart, and fewer than two are known in these photos; "
            "say who is in more of them, or report on a release of more people"
        )


def side_of(version: Version, recogniser: str) -> Side:
    """What a recogniser sees of a version; of one that shows nothing, nothing."""
    embeddings = version.embeddings.get(recogniser)
    if embeddings is None:
        return Side(np.empty((len(version.shown), 0)), np.zeros(len(version.shown), bool))
    return Side(embeddings, version.shown & np.isfinite(embeddings).all(axis=1))

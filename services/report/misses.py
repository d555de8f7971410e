"""Everything that went wrong with a face or a photo, for the owner's list."""

import numpy as np

from services.report.faces import RELEASED, Version
from services.report.opened import Opened
from services.report.originals import Originals
from services.report.others import Others
from services.report.results import Miss


def misses_of(opened: Opened, originals: Originals, others: Others, surrogate: Version) -> list[Miss]:
    """What was refused, masked, not found again, or is still nearer to the person than to the surrogate; by path."""
    missed = [Miss(record.path, "refused", record.reason) for record in opened.records if not record.released]
    faces, original = originals.faces, originals.version
    released = next((version for version in others.versions if version.name == RELEASED), None)
    own = opened.models.embedder

    def tell(row: int, what: str, why: str) -> None:
        missed.append(Miss(faces.paths[faces.photos[row]], what, why))

    for row in np.flatnonzero(faces.outcomes == "masked"):
        tell(row, "masked", "too small, uncertain, turned away, or a stranger's, by policy")
    if released is not None:
        replaced = (faces.crowds >= 0) & released.shown
        for row in np.flatnonzero(replaced & ~released.found):
            tell(row, "no face found", "in the finished photo the detector finds no face in this place")
        old, now = original.embeddings[own.name], released.embeddings[own.name]
        to_person = np.linalg.norm(now - old, axis=1)
        to_surrogate = np.linalg.norm(now - surrogate.embeddings[own.name], axis=1)
        for row in np.flatnonzero(replaced & (to_person <= to_surrogate)):
            tell(row, "nearer to the person", "the finished face is nearer to who it was than to its surrogate")
        alike = replaced & (to_person > to_surrogate) & (to_person <= own.same_person)
        for row in np.flatnonzero(alike):
            why = f"within {own.same_person:g} of who it was by {own.name}, though nearer to its surrogate"
            tell(row, "recognisable", why)
    return sorted(missed, key=lambda miss: (miss.path, miss.what))

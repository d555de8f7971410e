"""Faces -> what an attacker gets right who learns nothing but the crowd: the line that attacks are held against."""

import numpy as np

from services.report.attacks.identify import credit
from services.report.attacks.pairs import TIE, Pairs
from services.report.attacks.protocol import Roles, Setting, Side, check_people
from services.report.faces import Faces
from services.report.results import Photos

APART = 2 * TIE  # steps between crowds; any more would do


def chance(faces: Faces, sizes: np.ndarray | None = None, photos: Photos = "another") -> float:
    """Expected rank-1 of an attacker who learns the crowd of a published face, and nothing else.

    The release promises 1/k by the people of its index. Not all of them need be in these photos: if two people of a
    crowd of five are, who knows that the face is of one of these two is right every second time, and the promise is
    kept, for the three others are not ruled out by the face but by the gallery. Rates of a report are to be held
    against the line of their own gallery: one above 1/k is no fault of hiding before it is above that line. Both lines
    are to be given.

    Args:
        sizes: int [crowds], how many people each crowd has in the index; None: how many of it are in the gallery.
        photos: which ones the attacker holds; with "the same", people of whom there is one photo count as well.

    Returns:
        The mean over probes, as in the attacks, of 1 / people of the crowd; NaN if there are no probes with a crowd.

    Raises:
        ReportError: there are less than two people.
    """
    check_people(faces)
    side = Side(faces.crowds[:, None], faces.crowds >= 0)
    tried = Setting(faces, side, side, photos).trials()
    if not tried:
        return float("nan")
    if sizes is not None:
        return float(np.concatenate([1 / sizes[faces.crowds[roles.probes]] for roles in tried]).mean())
    return float(np.concatenate([credit(_by_crowd(faces, roles), 1) for roles in tried]).mean())


def _by_crowd(faces: Faces, roles: Roles) -> Pairs:
    """No distance within a crowd, and the same between any two."""
    people, order = np.unique(faces.identities[roles.gallery], return_index=True)
    differ = faces.crowds[roles.probes][:, None] != faces.crowds[roles.gallery[order]]
    return Pairs(APART * differ.astype(np.int32), np.searchsorted(people, faces.identities[roles.probes]), people)

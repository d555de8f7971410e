"""What was seen of a release -> every attack on the system that it allows."""

from collections.abc import Sequence

import numpy as np

from services.population.index.enrolment import Enrolment
from services.report.faces import Faces, Version
from services.report.opened import Opened
from services.report.results import SystemAttack
from services.report.system.composition import composition
from services.report.system.difference import SURROGATE, differencing
from services.report.system.inversion import learned_inversion
from services.report.system.membership import crowd_membership
from services.report.system.oracle import look_up_oracle


def system_attacks(
    faces: Faces,
    original: Version,
    surrogate: Version,
    opened: Opened,
    uninvolved: Sequence[str],
    also: Sequence[Opened],
    seed: int,
) -> list[SystemAttack]:
    """Tries what can be tried with these photos; where nobody can be recognised, no enrolment is asked.

    Args:
        faces, original, surrogate: of everybody, strangers as well.
        uninvolved: recognisers that chose no crowds; the first one is used.
        also: other releases.
    """
    found = []
    enrolment, sizes = opened.index.enrolment, opened.index.crowds.sizes
    crowds = _crowd_of(faces, enrolment)[faces.identities]
    own, other = opened.models.embedder.name, uninvolved[0]
    if enrolment is not None and (crowds >= 0).any():
        gallery = (enrolment.embeddings, enrolment.crowd)
        threshold = opened.job.settings.identity_threshold or opened.index.identity_threshold
        seen = original.embeddings[own]
        found.append(look_up_oracle(seen, faces.identities, crowds >= 0, *gallery, crowds, sizes, threshold, seed))
    firsts = np.flatnonzero((faces.takes == 0) & (crowds >= 0))
    shown = {
        int(crowd): surrogate.embeddings[other][row]
        for crowd in np.unique(faces.crowds[faces.crowds >= 0])
        for row in np.flatnonzero((faces.crowds == crowd) & surrogate.shown)[:1]
    }
    if len(shown) > 1:
        photos = np.isin(crowds, list(shown)) | (crowds < 0)
        found.append(
            crowd_membership(
                original.embeddings[other][photos], faces.identities[photos], crowds[photos], shown, other, seed
            )
        )
        some = firsts[np.isin(crowds[firsts], list(shown))]
        behind = np.array([shown[int(crowd)] for crowd in crowds[some]])
        found.append(learned_inversion(original.embeddings[other][some], crowds[some], behind, other, seed))
        means = _mean_of_each(faces, original.embeddings[other], firsts)
        found.append(differencing(means, crowds[firsts], shown, sizes, other, seed, SURROGATE))
    centroids = dict(enumerate(opened.index.crowds.centroids))
    means = _mean_of_each(faces, original.embeddings[own], firsts)
    found.append(differencing(means, crowds[firsts], centroids, sizes, own, seed))
    for release in also:
        k = min(opened.index.k, release.index.k)
        found.append(composition(opened.crowd_of(), release.crowd_of(), k, release.out.name, seed))
    return found


def _mean_of_each(faces: Faces, embeddings: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """float64 [people, d]: the mean of all photos of each person whose first one is named."""
    people = faces.identities[firsts]
    return np.array([embeddings[faces.identities == one].astype(np.float64).mean(axis=0) for one in people])


def _crowd_of(faces: Faces, enrolment: Enrolment | None) -> np.ndarray:
    """The crowd of every person who is enrolled, int64 [people]; -1: a stranger.

    By name where the map is here: whom the service failed to recognise is enrolled all the same.
    """
    crowd = np.full(len(faces.people), -1, np.int64)
    if enrolment is not None:
        known = dict(zip(enrolment.identities.tolist(), enrolment.crowd.tolist(), strict=True))
        return np.array([known.get(person, -1) for person in faces.people], np.int64)
    enrolled = faces.outcomes == "enrolled"
    crowd[faces.identities[enrolled]] = faces.crowds[enrolled]
    return crowd

"""embedding -> crowd: enrolled people first, by their stored crowd; strangers by the nearest centroid."""

from dataclasses import dataclass

import numpy as np

from services.population.index import ClusterIndex


@dataclass(frozen=True)
class Assignment:
    """The crowd that a face is given."""

    crowd: int
    enrolled: bool  # False: a stranger, for whom no k is claimed
    distance: float  # of the embedding to the crowd's centroid; never to an enrolled vector, which it would give away
    crowd_size: int  # distinct identities


def _squared_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """float64 [q, g]."""
    queries, gallery = queries.astype(np.float64), gallery.astype(np.float64)
    cross = queries @ gallery.T
    return np.maximum((queries**2).sum(axis=1)[:, None] + (gallery**2).sum(axis=1) - 2 * cross, 0)


def look_up(embeddings: np.ndarray, index: ClusterIndex, threshold: float) -> list[Assignment]:
    """Finds each face's crowd.

    The nearest centroid is often not a member's own crowd, and would let a face stand for fewer than k people; so an
    enrolled person is recognised first and gets the crowd stored for them in this version of the index.

    Args:
        embeddings: float32 [n, d].
        threshold: a face at most this far from the nearest enrolled vector is that person.
    """
    if len(embeddings) == 0:
        return []
    to_people = _squared_distances(embeddings, index.enrolment.embeddings)
    to_crowds = _squared_distances(embeddings, index.crowds.centroids)
    assignments = []
    for people, crowds in zip(to_people, to_crowds, strict=True):
        person = int(people.argmin()) if len(people) else -1
        enrolled = person >= 0 and people[person] <= threshold**2
        crowd = int(index.enrolment.crowd[person]) if enrolled else int(crowds.argmin())
        distance = float(np.sqrt(crowds[crowd]))
        assignments.append(Assignment(crowd, bool(enrolled), distance, int(index.crowds.sizes[crowd])))
    return assignments

"""embedding -> crowd: enrolled people first, by their stored crowd; everybody else by the nearest centroid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from services.anonymizer.search import NOBODY, WithinSearch, search_centroids, squared_distances
from services.errors import UnknownIdentity
from services.population.index import ClusterIndex

Resolution = Literal["enrolled-first", "nearest-only"]
QUICK = 1 << 20  # numbers compared within a millisecond or two


@dataclass(frozen=True)
class Assignment:
    """The crowd that a face is given."""

    crowd: int
    enrolled: bool | None  # False: a stranger; None: nobody can be recognised here. No k is claimed for either
    distance: float  # of the embedding to the crowd's centroid; never to an enrolled vector, which it would give away
    crowd_size: int  # distinct identities
    # Who it is, as a number of the enrolment: for counting people. No answer of the service holds it.
    person: int | None = field(default=None, repr=False)


class LookUp:
    """Finds crowds in one version of an index. Threads may share it; making it takes seconds if the index is large.

    The nearest centroid is often not a member's own crowd, and would let a face stand for fewer than k people; so an
    enrolled person is recognised first and gets the crowd stored for them in this version of the index. Without the
    enrolment nobody is recognised, and the nearest centroid serves.

    Args:
        threshold: a face at most this far from the nearest enrolled vector is that person.
    """

    def __init__(self, index: ClusterIndex, threshold: float):
        self._crowds, enrolment = index.crowds, index.enrolment
        self._people = None if enrolment is None else WithinSearch(enrolment.embeddings, threshold)
        stored = np.empty(0, np.int64) if enrolment is None else enrolment.crowd
        self._stored = np.append(stored, NOBODY)  # whose row NOBODY is, the last
        self._person = stored if enrolment is None else enrolment.person
        names = [] if enrolment is None else enrolment.identities.tolist()
        self._rows = {name: row for row, name in enumerate(names)}
        self._vectors = None if enrolment is None else enrolment.embeddings
        self._centroids = search_centroids(index.crowds.centroids)

    @property
    def resolution(self) -> Resolution:
        """How a photo is resolved: to enrolled people first, or to the nearest centroid only."""
        return "nearest-only" if self._people is None else "enrolled-first"

    def is_quick(self, faces: int) -> bool:
        """Does looking up this many faces take no longer than handing them to a thread would?"""
        rows = len(self._crowds) + len(self._stored)
        return faces * rows * self._crowds.centroids.shape[1] <= QUICK

    def rows_of(self, names: Sequence[str]) -> list[int]:
        """The enrolled rows of people by name.

        Raises:
            UnknownIdentity: somebody is not enrolled, or nobody can be recognised here. It says not who.
        """
        rows = [self._rows.get(name, NOBODY) for name in names]
        if NOBODY in rows:
            why = "this index is served without its enrolment map" if self._people is None else "they are not enrolled"
            raise UnknownIdentity(f"somebody who was named cannot be served: {why} (identity, number {rows.index(-1)})")
        return rows

    def __call__(self, embeddings: np.ndarray, names: Sequence[str] = ()) -> list[Assignment]:
        """Each face's crowd, in their order.

        Args:
            embeddings: float32 [n, d], finite.
            names: people that are known to be in the photo. Each is given the face that fits, all distances taken
                together (Kuhn 1955), however far; the other faces are recognised as usual.

        Raises:
            UnknownIdentity: somebody named is not enrolled, or there are fewer faces than names.
            ValueError: an embedding is not finite, and so is near nobody.
        """
        if not np.isfinite(embeddings).all():
            raise ValueError("an embedding is not finite")
        if len(names) > len(embeddings):
            raise UnknownIdentity(f"{len(names)} people are named, but {len(embeddings)} faces can be replaced")
        if len(embeddings) == 0:
            return []
        people = np.full(len(embeddings), NOBODY) if self._people is None else self._people.nearest(embeddings)
        if names and self._vectors is not None:
            rows = self.rows_of(names)
            apart = np.array([squared_distances(self._vectors[row], embeddings) for row in rows])
            named, faces = linear_sum_assignment(apart)
            people[faces] = np.array(rows)[named]
        crowds, strangers = self._stored[people], people == NOBODY
        if strangers.any():
            crowds[strangers] = self._centroids.nearest(embeddings[strangers])
        enrolled = [None if self._people is None else not stranger for stranger in strangers.tolist()]
        persons = [None if row == NOBODY else int(self._person[row]) for row in people.tolist()]
        return [
            Assignment(crowd, known, self._distance(embedding, crowd), int(self._crowds.sizes[crowd]), person)
            for embedding, crowd, known, person in zip(embeddings, crowds.tolist(), enrolled, persons, strict=True)
        ]

    def _distance(self, embedding: np.ndarray, crowd: int) -> float:
        return float(np.sqrt(squared_distances(embedding, self._crowds.centroids[crowd][None])[0]))

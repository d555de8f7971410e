"""The photos of a population, one row each, as the statistics take them."""

from dataclasses import dataclass

import numpy as np

from services.population.enroll.rows import ENROLLED

MOST_PHOTOS = 20  # photos of one identity that are compared, so that somebody with thousands does not stand for all
MOST_IDENTITIES = 20_000  # identities whose photos are compared: their vectors are held in memory


@dataclass(frozen=True)
class PhotoTable:
    """p photos, in any order. The vectors may be those of a part of them: `vectors_of` says whose."""

    identity: np.ndarray  # int64 [p], row of the population; -1 where the photo belongs to none of it
    status: np.ndarray  # str [p], what became of it: a row of enrolment's STATUSES
    quality: dict[str, np.ndarray]  # name -> float [p]; NaN where it was not measured
    vectors_of: np.ndarray  # int64 [v], rows of this table whose embeddings follow
    embeddings: np.ndarray  # float32 [v, d]

    @property
    def used(self) -> np.ndarray:
        """Photos that count for an identity, bool [p]."""
        return (self.identity >= 0) & (self.status == ENROLLED)


def choose_photos(identity: np.ndarray, used: np.ndarray, seed: int) -> np.ndarray:
    """Rows of the photos whose embeddings are compared: at most `MOST_PHOTOS` each of at most `MOST_IDENTITIES`.

    Args:
        identity: int64 [p], as of `PhotoTable`.
        used: bool [p], photos to choose from.

    Returns:
        int64, sorted; the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    people = np.unique(identity[used])
    if len(people) > MOST_IDENTITIES:
        people = rng.choice(people, MOST_IDENTITIES, replace=False)
    rows = np.flatnonzero(used & np.isin(identity, people))
    rows = rng.permutation(rows)
    rows = rows[np.argsort(identity[rows], kind="stable")]  # by identity, in an order drawn at random within each
    _, first, counts = np.unique(identity[rows], return_index=True, return_counts=True)
    return np.sort(rows[np.arange(len(rows)) - np.repeat(first, counts) < MOST_PHOTOS])

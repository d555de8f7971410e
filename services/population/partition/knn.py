"""Nearest neighbours around one person after another: k-same, Newton et al. 2005, as Le et al. 2020 compare with it."""

from typing import Literal

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from services.population.partition.paper import Rest, crowd_sizes, normalised, refuse_above

MOST = 50_000  # people; cost grows with n^2


def knn(
    embeddings: np.ndarray,
    k: int,
    seed: int = 0,
    effort: str = "default",
    first: Literal["farthest", "random"] = "farthest",
) -> np.ndarray:
    """Someone and those nearest among who is left make a crowd, and again, until everybody is in one.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: for `first="random"`.
        effort: makes no difference.
        first: who is next: the one with the largest sum of distances to the others left (the authors' "max dist"), or
            anyone ("k-same").

    Returns:
        labels int64 [n]; floor(n/k) crowds, all of one size or one more.

    Raises:
        PartitionError: more than `MOST` people.
    """
    refuse_above(MOST, len(embeddings), "knn")
    rng = np.random.default_rng(seed)
    rest = Rest(normalised(embeddings))
    farness = _sums(rest.points) if first == "farthest" else np.empty(0)
    labels = np.empty(len(embeddings), np.int64)
    for crowd, size in enumerate(crowd_sizes(len(embeddings), k)):
        if first == "farthest":
            place = int(np.where(rest.taken, -np.inf, farness[rest.people]).argmax())
        else:
            place = int(rng.choice(np.flatnonzero(~rest.taken)))
        distances = rest.squared(rest.points[place])
        distances[place] = -1  # among equals, too, somebody is in the crowd around them
        members = np.argpartition(distances, size - 1)[:size]
        labels[rest.people[members]] = crowd
        if first == "farthest":
            farness[rest.people] -= sum(np.sqrt(rest.squared(point)) for point in rest.points[members])
        rest.taken[members] = True
        rest.close_up()
    return labels


def _sums(points: np.ndarray) -> np.ndarray:
    """float64 [n]: everyone's distances to all others, added up, in 256 MB."""
    chunks = pairwise_distances_chunked(points, reduce_func=_sum, working_memory=256)
    return np.concatenate(list(chunks))


def _sum(distances: np.ndarray, start: int) -> np.ndarray:
    return distances.sum(axis=1, dtype=np.float64)

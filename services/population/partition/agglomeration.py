"""The merges of agglomerative clustering, by nearest-neighbour chains: Murtagh 1983; Müllner 2011, arXiv:1109.2378."""

import numpy as np
from numba import njit
from sklearn.metrics.pairwise import euclidean_distances

LINKAGES = {"ward": 0, "average": 1, "complete": 2}


def dissimilarities(points: np.ndarray, linkage: str) -> np.ndarray:
    """[n, n] distances as `merges` takes them, squared for ward, of the type of the points; memory grows with n^2."""
    return euclidean_distances(points, squared=linkage == "ward")


def merges(distances: np.ndarray, linkage: str) -> np.ndarray:
    """The n - 1 merges of a dendrogram, lowest first.

    Args:
        distances: float [n, n], of `dissimilarities`; overwritten.
        linkage: a row of `LINKAGES`.

    Returns:
        int64 [n - 1, 2]: some point of the one cluster, and some of the other.
    """
    np.fill_diagonal(distances, np.inf)
    pairs, heights = _chain(distances, LINKAGES[linkage])
    return pairs[np.argsort(heights, kind="stable")]


@njit(cache=True, nogil=True)
def root(parents: np.ndarray, point: int) -> int:
    """The point that stands for the cluster of `point`; paths are halved on the way."""
    while parents[point] != point:
        parents[point] = parents[parents[point]]
        point = parents[point]
    return point


@njit(cache=True, nogil=True)
def _nearest(row: np.ndarray, preferred: int) -> int:
    """Where a row is smallest; among equals `preferred`, if that is not negative, so that chains come to an end."""
    least = row[0]
    for value in row:  # the value first: this loop runs on several numbers at once, one with the place does not
        least = min(least, value)
    if preferred >= 0 and row[preferred] <= least:
        return preferred
    for place in range(len(row)):
        if row[place] == least:
            return place
    return 0


@njit(cache=True, nogil=True)
def _refresh(distances: np.ndarray, cluster: int, seen: int, log: np.ndarray, count: int, latest: np.ndarray) -> None:
    """Brings a cluster's row up to date with the merges `seen` to `count` of the log.

    A merge writes the row of the new cluster only, as writing a column is many times slower.
    """
    for merge in range(seen, count):
        gone, kept = log[merge]
        distances[cluster, gone] = np.inf
        if latest[kept] == merge and kept != cluster:
            distances[cluster, kept] = distances[kept, cluster]


@njit(cache=True, nogil=True)
def _join(distances: np.ndarray, sizes: np.ndarray, gone: int, kept: int, linkage: int) -> None:
    """Lance and Williams 1967: distances to the union of two clusters, written into the row of the second."""
    between, a, b = distances[gone, kept], sizes[gone], sizes[kept]
    for other in range(len(sizes)):
        to_gone, to_kept, c = distances[gone, other], distances[kept, other], sizes[other]
        if c == 0 or other == kept:
            continue
        if linkage == 0:
            distances[kept, other] = max(((a + c) * to_gone + (b + c) * to_kept - c * between) / (a + b + c), 0.0)
        elif linkage == 1:
            distances[kept, other] = (a * to_gone + b * to_kept) / (a + b)
        else:
            distances[kept, other] = max(to_gone, to_kept)
    distances[kept, gone] = np.inf
    sizes[kept] += a
    sizes[gone] = 0


@njit(cache=True, nogil=True)
def _chain(distances: np.ndarray, linkage: int) -> tuple[np.ndarray, np.ndarray]:
    """Merges as they are found, not by height: a chain of nearest neighbours ends in a pair that are each other's."""
    n = len(distances)
    log, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1)
    sizes = np.ones(n)
    latest, seen = np.full(n, -1), np.zeros(n, np.int64)  # a cluster's last merge; how many merges its row knows of
    chain = np.empty(n, np.int64)
    length = first = 0
    for merge in range(n - 1):
        if length == 0:
            while sizes[first] == 0:
                first += 1
            chain[0], length = first, 1
        while True:
            end = chain[length - 1]
            before = chain[length - 2] if length > 1 else -1
            _refresh(distances, end, seen[end], log, merge, latest)
            seen[end] = merge
            nearest = _nearest(distances[end], before)
            if nearest == before:
                break
            chain[length] = nearest
            length += 1
        length -= 2
        _refresh(distances, before, seen[before], log, merge, latest)
        gone, kept = min(end, before), max(end, before)
        log[merge, 0], log[merge, 1], heights[merge] = gone, kept, distances[gone, kept]
        _join(distances, sizes, gone, kept, linkage)
        latest[kept] = merge
        seen[kept] = merge + 1
    return log, heights

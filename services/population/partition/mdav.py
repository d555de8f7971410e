"""MDAV, maximum distance to average vector: Domingo-Ferrer and Torra 2005, Data Min. Knowl. Discov. 11, algorithm 5."""

import numpy as np
from numba import njit


def mdav(embeddings: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Peels off crowds of k around the two points farthest apart, until fewer than 2k are left.

    Deterministic; `seed` is not used. Cost grows with n^2 / k.

    Args:
        embeddings: float64 [n, d].
        k: fewest members, at most n.

    Returns:
        labels int64 [n]; crowds hold k..2k-1 members.
    """
    labels = np.full(len(embeddings), -1, np.int64)
    left = np.arange(len(embeddings))
    crowd = 0

    def distances(point: np.ndarray) -> np.ndarray:
        return ((embeddings[left] - point) ** 2).sum(axis=1)

    def take(count: int, around: np.ndarray) -> None:
        nonlocal left, crowd
        order = np.argsort(distances(around), kind="stable")
        labels[left[order[:count]]] = crowd
        left = np.sort(left[order[count:]])
        crowd += 1

    while len(left) >= 3 * k:
        far = embeddings[left[distances(embeddings[left].mean(axis=0)).argmax()]]
        farthest = embeddings[left[distances(far).argmax()]]
        take(k, far)
        take(k, farthest)
    if len(left) >= 2 * k:
        far = embeddings[left[distances(embeddings[left].mean(axis=0)).argmax()]]
        take(k, far)
    take(len(left), embeddings[left].mean(axis=0))
    return labels


@njit(cache=True, nogil=True)
def _farthest(distances, left):  # type: ignore[no-untyped-def]
    """Who of those left is farthest."""
    best = -1
    for i in range(len(left)):
        if left[i] and (best < 0 or distances[i] > distances[best]):
            best = i
    return best


@njit(cache=True, nogil=True)
def _take(distances, left, count, crowd, labels, points, total):  # type: ignore[no-untyped-def]
    """The nearest `count` of those left become a crowd."""
    remaining = np.flatnonzero(left)
    nearest = remaining[np.argsort(distances[remaining])[:count]]
    for point in nearest:
        labels[point] = crowd
        left[point] = False
        total -= points[point]


@njit(cache=True, nogil=True)
def peel(points: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
    """MDAV on distances that are known: crowds of k around the two points farthest apart, again and again.

    Args:
        points: float32 [n, d], n >= 2k, their mean near 0.
        squared: float32 [n, n], squared distances.

    Returns:
        labels int64 [n]; crowds hold k..2k-1 members.
    """
    n = len(points)
    labels = np.full(n, -1, np.int64)
    left = np.ones(n, np.bool_)
    total = np.zeros(points.shape[1])
    for i in range(n):
        total += points[i]
    norms = np.zeros(n)
    for i in range(n):
        for t in range(points.shape[1]):
            norms[i] += points[i, t] ** 2
    count, crowd = n, 0
    while count >= 2 * k:
        to_mean = np.empty(n)
        mean = total / count
        for i in range(n):
            along = 0.0
            for t in range(points.shape[1]):
                along += points[i, t] * mean[t]
            to_mean[i] = norms[i] - 2 * along
        far = _farthest(to_mean, left)
        farthest = _farthest(squared[far], left)
        _take(squared[far], left, k, crowd, labels, points, total)
        crowd += 1
        count -= k
        if count >= 2 * k:
            if not left[farthest]:
                farthest = _farthest(squared[far], left)
            _take(squared[farthest], left, k, crowd, labels, points, total)
            crowd += 1
            count -= k
    for i in range(n):
        if left[i]:
            labels[i] = crowd
    return labels

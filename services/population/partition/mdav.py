"""MDAV, maximum distance to average vector: Domingo-Ferrer and Torra 2005, Data Min. Knowl. Discov. 11, algorithm 5."""

import numpy as np


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

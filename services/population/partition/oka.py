"""OKA, one-pass k-means: Lin and Wei 2008, PAIS, as Le et al. 2020 compare with it (their "OTP")."""

import numpy as np

from services.population.partition.paper import Crowds, means, normalised, refuse_above

CELLS = 1_000_000_000  # people times crowds


def oka(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """Everyone joins the nearest of floor(n/k) crowds, then the farthest of those above k fill up those below.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: for the people the crowds begin with.
        effort: makes no difference.

    Returns:
        labels int64 [n]; floor(n/k) crowds of k to 2k - 1.

    Raises:
        PartitionError: so many people that these times their crowds is above `CELLS`.
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "oka")
    points = normalised(embeddings)
    return _one_pass(points, np.zeros(len(points), np.float32), k, seed)


def oka_published(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """As the authors' `oka_partition`: the centre of a crowd is a single number, the mean of all coordinates of all.

    The squared distance of a vector to such a centre is d times that of the two means, squared, plus what the vector
    varies about its own mean. Only the former depends on the crowd: people join by the mean of their coordinates.

    Args, Returns, Raises: as of `oka`. (Theirs finds people by their vectors afterwards, and so moves people with equal
    ones into one crowd, which leaves others below k; here everybody is known by their row.)
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "oka-published")
    scaled = embeddings / (np.abs(embeddings).max() or 1.0)
    return _one_pass(scaled.mean(axis=1, keepdims=True), scaled.var(axis=1), k, seed)


def _one_pass(points: np.ndarray, apart: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Labels; a person's squared distance to a centre is that of their points, and `apart`, the same for all, added."""
    n = len(points)
    seeds = np.random.default_rng(seed).choice(n, n // k, replace=False)
    labels = np.full(n, -1, np.int64)
    crowds = Crowds(len(seeds), points.shape[1])
    for person in seeds:
        labels[person] = crowds.open(points[[person]])
    for person in np.flatnonzero(labels < 0)[::-1]:
        labels[person] = crowds.squared(points[[person]]).argmin()
        crowds.add(points[person], labels[person])
    distances = ((points - means(points, labels)[labels]) ** 2).sum(axis=1) + apart
    order, sizes = np.lexsort([distances, labels]), np.bincount(labels)
    rank = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of the people in `order`, within their crowds
    surplus = order[rank >= k]
    labels[surplus] = -1
    crowds = Crowds(len(seeds), points.shape[1])
    for crowd in range(len(seeds)):
        crowds.open(points[labels == crowd])
    for person in surplus[::-1]:
        distances = crowds.squared(points[[person]])[0]
        small = crowds.sizes < k
        labels[person] = np.where(small, distances, np.inf).argmin() if small.any() else distances.argmin()
        crowds.add(points[person], labels[person])
    return labels

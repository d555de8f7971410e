"""People -> crowds of at least k. One file an algorithm; all of them behind `partition`, which checks their answer."""

from collections.abc import Callable

import numpy as np

from services.errors import PartitionError
from services.population.engine import Engine
from services.population.partition.hierarchical import hierarchical, hierarchical_once
from services.population.partition.kmeans import kmeans, kmeans_published
from services.population.partition.kmember import kmember, kmember_published
from services.population.partition.knn import knn
from services.population.partition.mdav import mdav
from services.population.partition.oka import oka, oka_published
from services.population.partition.shuffle import shuffle
from services.population.partition.swap import EFFORTS, swap

CROWDS = 4096  # summed at a time
LARGEST = 1e100  # a coordinate; the squares of larger ones are no numbers any more

# (embeddings float [n, d], k, seed, effort) -> labels int64 [n], 0..crowds-1
Algorithm = Callable[[np.ndarray, int, int, str], np.ndarray]

# swap is ours; the others are the paper's, as meant and, where the authors' code differs, as published.
ALGORITHMS: dict[str, Algorithm] = {
    "swap": swap,
    "mdav": lambda embeddings, k, seed, effort: mdav(embeddings, k),
    "hierarchical": hierarchical,
    "hierarchical-once": hierarchical_once,
    "kmeans": kmeans,
    "kmeans-published": kmeans_published,
    "kmember": kmember,
    "kmember-published": kmember_published,
    "knn": knn,
    "oka": oka,
    "oka-published": oka_published,
    "random": shuffle,
}


def partition(
    embeddings: np.ndarray,
    k: int,
    algorithm: str = "swap",
    seed: int = 0,
    effort: str = "default",
    engine: Engine | None = None,
) -> np.ndarray:
    """Splits people into crowds.

    Args:
        embeddings: float [n, d], one row per identity (not per photo: photos follow their identity).
        k: fewest identities of a crowd, 2 <= k <= n.
        algorithm: a row of `ALGORITHMS`.
        seed: for algorithms that draw at random; the same seed gives the same labels.
        effort: quick, default or thorough, for algorithms that can go on.
        engine: where `swap` works on its blocks; None: on this machine's processors.

    Returns:
        int64 [n], crowd numbers 0..m-1, every crowd with at least k members.

    Raises:
        PartitionError: impossible k, embeddings that are not finite, an unknown algorithm or effort, an invalid answer.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[1] == 0 or embeddings.dtype.kind not in "fiub":
        raise PartitionError("embeddings must be an [n, d] array of finite numbers")
    if k < 2:
        raise PartitionError(f"k is {k}; a crowd of one hides nobody, k must be at least 2")
    if len(embeddings) < k:
        raise PartitionError(f"{len(embeddings)} identities cannot form a crowd of {k}; enrol more or lower k")
    if embeddings.dtype.kind != "f":
        embeddings = embeddings.astype(np.float64)
    if not -LARGEST < float(embeddings.min()) <= float(embeddings.max()) < LARGEST:  # nor is anything so of NaN
        raise PartitionError(f"embeddings must be an [n, d] array of finite numbers, none of them beyond {LARGEST:g}")
    if algorithm not in ALGORITHMS:
        raise PartitionError(f"no algorithm named {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    if effort not in EFFORTS:
        raise PartitionError(f"no effort named {effort!r}; there are {', '.join(EFFORTS)}")
    if algorithm == "swap":
        labels = swap(embeddings, k, seed, effort, engine)
    else:
        labels = ALGORITHMS[algorithm](embeddings.astype(np.float64), k, seed, effort)
    check_labels(labels, len(embeddings), k)
    return labels


def check_labels(labels: np.ndarray, n: int, k: int) -> None:
    """Raises PartitionError unless every one of n people is in a crowd, numbered without gaps, and none is below k."""
    if labels.shape != (n,) or labels.min() < 0:
        raise PartitionError(f"the partition does not assign all {n} people")
    sizes = np.bincount(labels)
    if sizes.min() < k:
        raise PartitionError(f"a crowd of {sizes.min()} people is below k = {k}")


def information_loss(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Within-crowd over total sum of squares (SSE/SST), 0 (crowds of equals) .. 1 (no better than one crowd)."""
    # Sums are taken of what is left of the mean, in float64 and by parts: a large population is never copied whole.
    mean = np.asarray(embeddings).mean(axis=0, dtype=np.float64)
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    within = total = 0.0
    for crowd in range(0, len(sizes), CROWDS):
        first, last = starts[crowd], starts[min(crowd + CROWDS, len(sizes))]
        points = embeddings[order[first:last]] - mean
        squares = float((points**2).sum())
        sums = np.add.reduceat(points, starts[crowd : crowd + CROWDS][: len(sizes) - crowd] - first)
        total += squares
        within += squares - float((sums**2 / sizes[crowd : crowd + CROWDS, None]).sum())
    return max(within, 0.0) / max(total, 1e-30)

"""k-means with crowds of at least k: as in the code of Le et al. 2020, and as it was meant."""

import heapq
import warnings
from typing import Any, Literal

import numpy as np
from numba import njit
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.population.partition.paper import crowd_sizes, means, normalised, refuse_above

CELLS = 100_000_000  # people times crowds; distances between them take up to 0.8 GB
ROUNDS = {"quick": 1, "default": 20, "thorough": 100}


def kmeans(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """floor(n/k) centres by k-means; the nearest pair of person and centre first, until every crowd has k.

    Then, as k-means does, centres of these crowds and crowds of these centres in turns, as long as the loss falls.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: for the centres k-means starts from.
        effort: a row of `ROUNDS`: how many turns at most; in "quick" people are assigned once, as in their code.

    Returns:
        labels int64 [n]; floor(n/k) crowds of k to 2k - 1.

    Raises:
        PartitionError: so many people that these times their crowds is above `CELLS`.
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "kmeans")
    points = normalised(embeddings)
    centres = _centres(points, len(points) // k, init="k-means++", max_iter=300, random_state=seed)
    best, least = np.zeros(len(points), np.int64), np.inf
    for _ in range(ROUNDS[effort]):
        labels = _nearest_first(euclidean_distances(points, centres, squared=True), k)
        centres = means(points, labels)
        within = float(((points - centres[labels]) ** 2).sum(dtype=np.float64))
        if within >= least:
            break
        best, least = labels, within
    return best


def _centres(points: np.ndarray, count: int, **how: Any) -> np.ndarray:
    """The centres [count, d] of k-means, started once; on one thread, as several add up in an order of their own."""
    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different people than centres
        return KMeans(count, n_init=1, **how).fit(points).cluster_centers_


@njit(cache=True)
def _nearest_first(distances: np.ndarray, k: int) -> np.ndarray:
    """Labels for distances [n, m], m = floor(n/k): the nearest pair first until all m have k, then who is left."""
    n, m = distances.shape
    labels, sizes = np.full(n, -1), np.zeros(m, np.int64)
    nearest = [(distances[person].min(), person, distances[person].argmin()) for person in range(n)]
    heapq.heapify(nearest)
    while len(nearest) > n - m * k:
        _, person, crowd = heapq.heappop(nearest)
        if sizes[crowd] < k:
            labels[person] = crowd
            sizes[crowd] += 1
            continue
        crowd = -1  # full since; the distance to the next one waits its turn
        for other in range(m):
            if sizes[other] < k and (crowd < 0 or distances[person, other] < distances[person, crowd]):
                crowd = other
        heapq.heappush(nearest, (distances[person, crowd], person, crowd))
    for _, person, _ in nearest:  # fewer than k
        labels[person] = distances[person].argmin()
    return labels


def kmeans_published(
    embeddings: np.ndarray,
    k: int,
    seed: int = 0,
    effort: str = "default",
    order: Literal["elki", "random"] = "elki",
) -> np.ndarray:
    """As the authors' `kmeans_partition`: everyone joins the *farthest* centre that has room, by an `argmax`.

    Args, Raises: as of `kmeans`.
        effort: makes no difference.
        order: who chooses first: those for whom the choice makes most difference, or anyone.

    Returns:
        labels int64 [n]; floor(n/k) crowds, all of one size or one more.
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "kmeans-published")
    points = normalised(embeddings, np.float64)
    sizes = crowd_sizes(len(points), k)
    centres = _centres(points, len(sizes), init="random", max_iter=10, tol=0, random_state=seed)
    distances = euclidean_distances(points, centres)
    if order == "elki":
        turns = np.argsort(distances.min(axis=1) - distances.max(axis=1), kind="stable")
    else:
        turns = np.random.default_rng(seed).permutation(len(points))
    return _farthest_with_room(distances, turns, sizes)


@njit(cache=True)
def _farthest_with_room(distances: np.ndarray, turns: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    labels, room = np.empty(len(turns), np.int64), sizes.copy()
    for person in turns:
        crowd = -1
        for other in range(len(room)):
            if room[other] and (crowd < 0 or distances[person, other] > distances[person, crowd]):
                crowd = other
        labels[person] = crowd
        room[crowd] -= 1
    return labels

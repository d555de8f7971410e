"""Lowers the loss of crowds while no crowd comes to lack a value: local search, and annealing as effort allows."""

from itertools import pairwise

import numpy as np

from services.population.constraints.crowds import crowds_of
from services.population.constraints.exchanges import anneal, improve

NEAR = 12  # crowds that a point may go to
ROUNDS = 3  # searches, each with neighbours as the last one left them
SWEEPS = 30
LEAST = 1e-9  # what an exchange must gain, in mean squared distances: rounding is no gain
HOT, COLD = 0.1, 0.005  # temperatures, in mean squared distances over k
# How many exchanges annealing proposes: for each point, and at most in all. Three million take about a second.
EFFORTS = {"quick": (0, 0), "default": (4000, 5_000_000), "thorough": (60_000, 200_000_000)}
FEWEST = 300  # proposals a point, a round; fewer change little
TABLE = 1 << 26  # distances held at once


def search(
    embeddings: np.ndarray,
    labels: np.ndarray,
    k: int,
    codes: np.ndarray,
    wanted: np.ndarray,
    seed: int = 0,
    effort: str = "default",
) -> np.ndarray:
    """Labels that lose no more than those given, and as a rule less.

    Args:
        embeddings: float [n, d].
        labels: int64 [n], crowds that lack nothing; not modified.
        k: sizes stay between this and 2k - 1, or the largest that is there.
        codes: int64 [attributes, n], values as numbers, -1 where not known; no attribute: any partition will do.
        wanted: int64 [attributes], fewest distinct values of a crowd.
        effort: a row of `EFFORTS`.
    """
    points = centred(embeddings)
    mean_square = 2 * float((points**2).sum()) / len(points)
    each, most_in_all = EFFORTS[effort]
    proposals = min(each * len(points), most_in_all) // ROUNDS
    if proposals < FEWEST * len(points):
        proposals = 0
    most = max(2 * k - 1, int(np.bincount(labels).max()))
    rng = np.random.default_rng(seed)
    steps = np.geomspace(HOT, COLD, ROUNDS + 1) * mean_square / k
    found: list[tuple[float, int, np.ndarray]] = []
    for annealed in (False, True) if proposals and mean_square else (False,):
        current = labels
        for hot, cold in pairwise(steps) if annealed else ():
            c = crowds_of(points, codes, wanted, current, most)
            anneal(nearest(points, centres_of(c.sums, c.sizes), NEAR), c, k, most, proposals, hot, cold, rng)
            current = c.labels
        for _ in range(ROUNDS):
            c = crowds_of(points, codes, wanted, current, most)
            near = nearest(points, centres_of(c.sums, c.sizes), NEAR)
            improve(near, c, k, most, SWEEPS, LEAST * mean_square)
            if np.array_equal(c.labels, current):
                break
            current = c.labels
        found.append((-float((c.powers / c.sizes).sum()), len(found), current))  # what is lost, but for a constant
    return min(found)[2]


def centred(embeddings: np.ndarray) -> np.ndarray:
    """float64 [n, d] around the origin, so that nothing is lost to large norms."""
    points = np.asarray(embeddings, np.float64)
    return np.ascontiguousarray(points - points.mean(axis=0))


def centres_of(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.asarray(sums / sizes[:, None])


def nearest(points: np.ndarray, centres: np.ndarray, count: int) -> np.ndarray:
    """For each point the `count` nearest centres, or all, in the order of their numbers: int64 [n, count]."""
    if count >= len(centres):
        return np.tile(np.arange(len(centres)), (len(points), 1))
    found = np.empty((len(points), count), np.int64)
    powers = (centres**2).sum(axis=1) / 2
    step = max(1, TABLE // len(centres))
    for start in range(0, len(points), step):
        far = powers - points[start : start + step] @ centres.T
        found[start : start + step] = np.sort(np.argpartition(far, count - 1, axis=1)[:, :count], axis=1)
    return found

"""swap, the default: MDAV as a start, then exchanges and moves between crowds, with annealing as effort allows.

Crowds of two are best found as a matching, which `thorough` does. Large populations are cut into blocks by a balanced
tree of two-means splits, each block partitioned by itself.
"""

import numpy as np

from services.population.partition.exchange import anneal, improve
from services.population.partition.matching import match
from services.population.partition.mdav import mdav

BLOCK = 2000  # points a block; within it all pairs of distances are held
NEAR = 40  # neighbours of a point whose crowds it may join
SWEEPS = 30
HOT, COLD = 0.15, 0.005  # temperatures, in mean squared distances over k (k = 2: 0.1, 0.002)
# How many exchanges annealing proposes: for each point, and at most in all. Ten million take about a second.
EFFORTS = {"quick": (0, 0), "default": (6000, 120_000_000), "thorough": (400_000, 1_000_000_000)}


def swap(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """Crowds of k to 2k - 1 with little loss.

    Args:
        embeddings: float64 [n, d].
        k: fewest members, at most n.
        seed: the same seed gives the same labels.
        effort: a row of `EFFORTS`: how long annealing goes on.

    Returns:
        labels int64 [n].
    """
    each, most = EFFORTS[effort]
    proposals = min(each, most / len(embeddings))
    labels = np.empty(len(embeddings), np.int64)
    crowds = 0
    rng = np.random.default_rng(seed)
    for rows in blocks(embeddings, max(BLOCK, 4 * k), k, rng):
        found = _partition_block(embeddings[rows], k, proposals, effort == "thorough", rng)
        labels[rows] = found + crowds
        crowds += int(found.max()) + 1
    return labels


def _partition_block(
    points: np.ndarray, k: int, proposals: float, exact_pairs: bool, rng: np.random.Generator
) -> np.ndarray:
    """The labels of one block; `proposals` for each of its points."""
    if len(points) < 2 * k:
        return np.zeros(len(points), np.int64)
    centred = (points - points.mean(axis=0)).astype(np.float32)  # float32 is enough once the mean is gone
    norms = (centred**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * centred @ centred.T, 0).astype(np.float32)
    np.fill_diagonal(squared, 0)
    count = min(NEAR, len(points) - 1)
    near = np.argpartition(squared, count, axis=1)[:, : count + 1].astype(np.int64)
    if k == 2 and exact_pairs:
        labels = match(squared, near)
    else:
        labels = mdav(points, k)
        unit = float(squared.mean()) / k
        hot, cold = (0.1, 0.002) if k == 2 else (HOT, COLD)
        if proposals and unit > 0:
            steps = round(proposals * len(points))
            anneal(squared, near, labels, k, 2 * k - 1, steps, hot * unit, cold * unit, rng)
    improve(squared, near, labels, k, 2 * k - 1, SWEEPS)
    return labels


def blocks(points: np.ndarray, most: int, multiple: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of blocks of at most `most` points, each block but one a multiple of `multiple` large.

    A balanced two-means tree: each split is across the line between two means that halve the points.
    """
    done, todo = [], [np.arange(len(points))]
    while todo:
        rows = todo.pop()
        if len(rows) <= most:
            done.append(rows)
            continue
        sample = points[rows[rng.choice(len(rows), min(len(rows), 4096), replace=False)]]
        means = sample[rng.choice(len(sample), 2, replace=False)]
        for _ in range(8):
            along = sample @ (means[1] - means[0])
            upper = along > np.median(along)
            if upper.all() or not upper.any():
                break
            means = np.stack([sample[~upper].mean(axis=0), sample[upper].mean(axis=0)])
        half = len(rows) // 2 // multiple * multiple
        order = np.argpartition(points[rows] @ (means[1] - means[0]), half)
        todo += [rows[np.sort(order[:half])], rows[np.sort(order[half:])]]
    return done

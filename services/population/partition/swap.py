"""swap, the default: MDAV as a start, then exchanges and moves between crowds, with annealing as effort allows.

Crowds of two are best found as a matching, which `thorough` does. Large populations are cut into blocks by a balanced
tree of two-means splits, each block partitioned by itself; then blocks of neighbouring crowds, with other borders, are
improved again. Every block has random numbers of its own, so that it does not matter where and when it is worked on.
"""

from functools import partial

import numpy as np

from services.population.engine import Engine, LocalEngine
from services.population.partition.blocks import Cut, blocks, regroup
from services.population.partition.exchange import anneal, improve, peel
from services.population.partition.matching import match

BLOCK = 2000  # points a block; within it all pairs of distances are held
NEAR = 40  # neighbours of a point whose crowds it may join
SWEEPS = 30
HOT, COLD = 0.15, 0.005  # temperatures, in mean squared distances over k (k = 2: 0.1, 0.002)
AGAIN = 0.4  # of the first temperature: how hot the second pass begins
# How many exchanges annealing proposes: for each point, and at most in all. Ten million take about a second.
EFFORTS = {"quick": (0, 0), "default": (6000, 300_000_000), "thorough": (400_000, 3_000_000_000)}


def swap(
    embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default", engine: Engine | None = None
) -> np.ndarray:
    """Crowds of k to 2k - 1 with little loss.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: the same seed gives the same labels, whatever the engine.
        effort: a row of `EFFORTS`: how long annealing goes on.
        engine: where blocks are worked on; None: on this machine's processors.

    Returns:
        labels int64 [n].
    """
    engine = engine or LocalEngine()
    points = embeddings.astype(np.float32)  # enough once the mean is gone
    points -= embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    each, most = EFFORTS[effort]
    proposals = min(each, most / len(points))
    size = max(BLOCK, 4 * k)
    parts = blocks(points, size, k, np.random.default_rng(seed))
    share = 1.0 if len(parts) == 1 else 0.5  # of the proposals; the second pass has the rest
    work = partial(
        partition_block, k=k, seed=seed, proposals=share * proposals, exact_pairs=effort == "thorough", heat=1.0
    )
    labels = _gather(engine, work, Cut(points, parts), parts)
    if len(parts) == 1:
        return labels
    centres, order, starts = _crowds(points, labels)
    groups = regroup(centres, max(2, size // k), np.random.default_rng([seed, 1]))
    parts = [np.concatenate([order[starts[crowd] : starts[crowd + 1]] for crowd in group]) for group in groups]
    work = partial(
        partition_block, k=k, seed=seed + 1, proposals=share * proposals, exact_pairs=effort == "thorough", heat=AGAIN
    )
    return _gather(engine, work, Cut(points, parts, labels), parts)


def _gather(engine: Engine, work: partial[np.ndarray], cut: Cut, parts: list[np.ndarray]) -> np.ndarray:
    labels = np.empty(sum(map(len, parts)), np.int64)
    crowds = 0
    for rows, found in zip(parts, engine.map(work, cut), strict=True):
        labels[rows] = found + crowds
        crowds += int(found.max()) + 1
    return labels


def _crowds(points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres float32 [m, d] of crowds, the rows by crowd int64 [n], and where each crowd starts there [m + 1]."""
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    centres = np.empty((len(starts) - 1, points.shape[1]), np.float32)
    for crowd in range(len(centres)):
        centres[crowd] = points[order[starts[crowd] : starts[crowd + 1]]].mean(axis=0)
    return centres, order, starts


def partition_block(
    part: tuple[int, np.ndarray, np.ndarray | None],
    k: int,
    seed: int,
    proposals: float,
    exact_pairs: bool,
    heat: float,
) -> np.ndarray:
    """The labels of one block.

    Args:
        part: number of the block, its points float32 [b, d], and the labels to begin with; None: none yet.
        proposals: for each point.
        exact_pairs: find crowds of two by matching.
        heat: of the temperature annealing begins at; 0..1.
    """
    number, points, labels = part
    if len(points) < 2 * k:
        return np.zeros(len(points), np.int64)
    centred = points - points.mean(axis=0)
    norms = (centred**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * centred @ centred.T, 0).astype(np.float32)
    np.fill_diagonal(squared, 0)
    count = min(NEAR, len(points) - 1)
    near = np.argpartition(squared, count, axis=1)[:, : count + 1].astype(np.int64)
    if k == 2 and exact_pairs:
        labels = match(squared, near)
    else:
        labels = peel(centred, squared, k) if labels is None else labels.astype(np.int64)
        unit = float(squared.mean()) / k
        hot, cold = (0.1, 0.002) if k == 2 else (HOT, COLD)
        if proposals and unit > 0:
            rng = np.random.default_rng([seed, number])
            steps = round(proposals * len(points))
            anneal(squared, near, labels, k, 2 * k - 1, steps, heat * hot * unit, cold * unit, rng)
    improve(squared, near, labels, k, 2 * k - 1, SWEEPS)
    return labels

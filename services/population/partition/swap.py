"""swap, the default: MDAV as a start, then exchanges and moves between crowds, with annealing as effort allows.

Large populations are cut into blocks by a balanced tree of two-means splits, each block partitioned by itself; then
blocks of neighbouring crowds, with other borders, are improved again. Every block has random numbers of its own, so
that it does not matter where and when it is worked on.
"""

from functools import partial

import numpy as np

from services.population.engine import Engine, LocalEngine
from services.population.partition.block import partition_block
from services.population.partition.blocks import SAMPLE, Cut, blocks, regroup

BLOCK = 2000  # points a block; within it all pairs of distances are held
WHOLE = 6000  # points up to which all are one block: borders of blocks go across groups of people
MOST = 12_000  # points a block where k asks for larger ones: 0.6 GB of distances
STEP = 65_536  # points copied at a time
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
    points = _scaled(embeddings)
    each, most = EFFORTS[effort]
    proposals = min(each, most / len(points))
    if len(points) <= WHOLE:  # as long as a block of the usual size takes
        proposals = min(proposals, each * BLOCK / len(points))
    size = max(WHOLE if len(points) <= WHOLE else BLOCK, min(4 * k, MOST))
    if size < 2 * k:  # distances would not fit in memory: the tree's leaves are the crowds
        return _numbered(blocks(points, 2 * k - 1, k, np.random.default_rng(seed)))
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


def _scaled(embeddings: np.ndarray) -> np.ndarray:
    """float32 [n, d] within -1..1, around the median: enough for distances, and outliers take no digits from them."""
    middle = np.median(embeddings[:: -(-len(embeddings) // SAMPLE)].astype(np.float64), axis=0)
    largest = float(max(abs(embeddings.max(axis=0) - middle).max(), abs(embeddings.min(axis=0) - middle).max())) or 1.0
    points = np.empty(embeddings.shape, np.float32)
    for start in range(0, len(points), STEP):
        points[start : start + STEP] = (embeddings[start : start + STEP] - middle) / largest
    return points


def _numbered(parts: list[np.ndarray]) -> np.ndarray:
    labels = np.empty(sum(map(len, parts)), np.int64)
    for crowd, rows in enumerate(parts):
        labels[rows] = crowd
    return labels


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

"""A block of a population, all of its distances at hand -> crowds: a start, annealing, local search.

Crowds of two are best found as a matching, which `thorough` does.
"""

import numpy as np

from services.population.partition.exchange import anneal, dissolve, exchanges, improve, spreads, table_of
from services.population.partition.hierarchical import hierarchical_once
from services.population.partition.matching import match
from services.population.partition.mdav import peel

NEAR, NEAR_CROWDS = 40, 1.5  # neighbours of a point whose crowds it may join: so many, or so many times k
MOST_NEAR = 400  # that are held
ROWS = 512  # whose neighbours are found at a time
SWEEPS = 30  # of local search
TURNS = 10  # of local search and of ending crowds
LEAST = 1e-6  # what counts as a gain, in the spread of a crowd: rounding is no gain
# The first temperature, in what a tenth of the exchanges that make the loss larger add to it at most, and how many
# times lower the last one is. Set on dlib's embeddings, normal and uniform data of 2 to 64 dimensions, and mixtures.
HOT, COOLING = 0.6, 30
TRIED = 2000  # exchanges that it is taken from
HOTTEST = 10.0  # spreads; where crowds are groups of their own, exchanges cost any amount
FEW = 1000  # proposals for each point; before fewer, a whole search would take longer than annealing and gain nothing
FULL = 25  # k from which on annealing proposes less, since a proposal takes the longer the larger crowds are


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
    squared = squared_distances(points)
    near = nearest(squared, min(max(NEAR, round(NEAR_CROWDS * k)), len(points) - 1))
    if k == 2 and exact_pairs:
        return _improved(squared, near, match(squared, near), k)
    sweeps = 1 if 0 < proposals < FEW else SWEEPS
    if labels is None:
        labels = _start(points, squared, near, k, sweeps)
    else:
        labels = _improved(squared, near, labels.astype(np.int64), k, sweeps)
    if not proposals or _spread(squared, labels, k) == 0:
        return labels
    rng = np.random.default_rng([seed, number])
    found = labels.copy()
    hot = _temperature(squared, near, labels, k, rng)
    steps = round(proposals * len(points) * min(1, FULL / k))
    anneal(squared, near, found, table_of(squared, found, k), k, 2 * k - 1, steps, heat * hot, hot / COOLING, rng)
    return _better(squared, labels, _improved(squared, near, found, k), k)


def _start(points: np.ndarray, squared: np.ndarray, near: np.ndarray, k: int, sweeps: int) -> np.ndarray:
    """MDAV and local search; where crowds ended at that, people form groups, and Ward's tree may tell them better."""
    labels = _improved(squared, near, peel(points, squared, k), k, sweeps)
    if labels.max() + 1 == len(points) // k:
        return labels
    return _better(squared, labels, _improved(squared, near, hierarchical_once(points, k), k, sweeps), k)


def squared_distances(points: np.ndarray) -> np.ndarray:
    """float32 [b, b], of points float32 [b, d]; from their median, so that far ones take no digits from near ones."""
    centred = points - np.median(points, axis=0)
    squared = centred @ centred.T
    norms = squared.diagonal().copy()
    squared *= -2
    squared += norms
    squared += norms[:, None]
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, 0)
    return squared


def nearest(squared: np.ndarray, count: int) -> np.ndarray:
    """For each point itself and `count` nearest others, or `MOST_NEAR` of these: int64 [b, q]."""
    step = -(-count // MOST_NEAR)
    parts = [squared[start : start + ROWS] for start in range(0, len(squared), ROWS)]
    return np.concatenate([np.argpartition(part, count, axis=1)[:, : count + 1 : step] for part in parts])


def _improved(squared: np.ndarray, near: np.ndarray, labels: np.ndarray, k: int, sweeps: int = SWEEPS) -> np.ndarray:
    """Local search, and an end to crowds whose members lose less in others, in turns."""
    least = LEAST * _spread(squared, labels, k)
    for _ in range(TURNS):
        table = table_of(squared, labels, k)
        improve(squared, near, labels, table, k, 2 * k - 1, sweeps, least)
        if not dissolve(squared, labels, table, 2 * k - 1, least):
            break
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return labels


def _temperature(squared: np.ndarray, near: np.ndarray, labels: np.ndarray, k: int, rng: np.random.Generator) -> float:
    """At which annealing may begin: crowds mix with their neighbours, and with no others."""
    highest = HOTTEST * _spread(squared, labels, k)
    added = exchanges(squared, near, labels, table_of(squared, labels, k), 2 * k - 1, TRIED, rng)
    return min(HOT * float(np.quantile(added, 0.1)), highest) if len(added) else highest


def _spread(squared: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Mean squared distance to the mean of the crowd, as the median person has it: outliers do not count."""
    spread = spreads(squared, labels, 2 * k - 1)
    return float(np.median(spread[labels]) or spread.mean())


def _better(squared: np.ndarray, first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """Which of two partitions has the smaller within-crowd sum of squares."""
    loss = [(spreads(squared, labels, 2 * k - 1) * np.bincount(labels)).sum() for labels in (first, second)]
    return first if loss[0] <= loss[1] else second

"""Crowds in which a sensitive attribute says little: distinct l-diversity.

Machanavajjhala, Kifer, Gehrke and Venkitasubramaniam 2007, ACM TKDD 1(1), section 4: if a crowd's members all share a
diagnosis, nobody has to be singled out for it to be known. Here every crowd holds at least l distinct known values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.errors import PartitionError
from services.population.constraints.crowds import crowds_of
from services.population.constraints.exchanges import repair
from services.population.constraints.search import centred, centres_of, nearest, search

NEAR = 32  # crowds that repairs look at first
JOINABLE = 8  # crowds that a crowd may join

# k -> labels of the same people, with crowds of at least that k
Partitioner = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Sensitive:
    """An attribute of which every crowd must hold several values."""

    name: str
    values: np.ndarray  # str [n], "" where it is not known
    wanted: int  # l


@dataclass(frozen=True)
class Diversified:
    labels: np.ndarray  # int64 [n]
    notes: tuple[str, ...]  # crowds that had to be larger, in words


def most_crowds(values: np.ndarray, wanted: int) -> int:
    """Most crowds that can each hold `wanted` distinct values; 0: not even one can.

    m crowds can if and only if the sum over values of min(people, m) is at least wanted * m: a value serves a crowd
    once (Gale 1957, Ryser 1957; the sum is concave in m, so the largest number of crowds is the hardest).
    """
    _, counts = np.unique(values[values != ""], return_counts=True)
    if len(counts) < wanted:
        return 0
    low, high = 1, len(values) // wanted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() >= wanted * middle else (low, middle - 1)
    return low


def unfit(k: int, sensitive: Sequence[Sensitive], rows: np.ndarray) -> str | None:
    """Why some of the people cannot make a single crowd; None: they can."""
    for attribute in sensitive:
        values = attribute.values[rows]
        known = len(np.unique(values[values != ""]))
        if known < attribute.wanted:
            most = (
                f"at most --diverse {attribute.name}:{known} is possible" if known > 1 else "no diversity is possible"
            )
            return f"{len(rows)} people with {known} known values of {attribute.name}, not {attribute.wanted}: {most}"
    return f"{len(rows)} people, fewer than k = {k}" if len(rows) < k else None


def diversify(
    embeddings: np.ndarray,
    k: int,
    sensitive: Sequence[Sensitive],
    partition_for: Partitioner,
    seed: int = 0,
    effort: str = "default",
) -> Diversified:
    """Partitions, repairs by exchanges between near crowds, then searches for what loses less and stays diverse.

    Args:
        embeddings: float [n, d].
        k: fewest members; at least as many as values are wanted.
        partition_for: k -> labels; asked for a larger k where the values do not suffice for n / k crowds.

    Returns:
        Labels; crowds hold k to 2k - 1 members where neither the values nor the exchanges asked for larger ones.

    Raises:
        PartitionError: fewer than k people, or fewer than l values; says how many can be had.
    """
    refused = unfit(k, sensitive, np.arange(len(embeddings)))
    if refused:
        raise PartitionError(f"{refused}; enrol more people, or ask for less")
    k = max(k, *(attribute.wanted for attribute in sensitive))
    limit = min(most_crowds(attribute.values, attribute.wanted) for attribute in sensitive)
    served = max(k, len(embeddings) // limit)
    labels = partition_for(served)
    points = centred(embeddings)
    notes = []
    if served > k:
        notes.append(f"values suffice for {limit} crowds at most: partitioned with k = {served} instead of {k}")
    surplus = int(labels.max()) + 1 - limit
    if surplus > 0:
        notes.append(f"{surplus} of the crowds joined a near one: values suffice for {limit} crowds at most")
    while labels.max() >= limit:
        labels = _merge(points, labels, np.arange(labels.max() + 1), int(labels.max()) + 1 - limit)
    codes = np.stack([codes_of(attribute.values) for attribute in sensitive])
    wanted = np.array([attribute.wanted for attribute in sensitive])
    labels, joined = _repaired(points, labels, codes, wanted)
    if joined:
        notes.append(f"{joined} of the crowds joined a near one: no exchange made them diverse")
    return Diversified(search(points, labels, k, codes, wanted, seed, effort), tuple(notes))


def codes_of(values: np.ndarray) -> np.ndarray:
    """Values as numbers; -1 where they are not known."""
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[values == ""] = -1
    return codes


def _repaired(points: np.ndarray, labels: np.ndarray, codes: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels of crowds that lack nothing, and how many crowds joined another for it (none if one attribute counts)."""
    joined = 0
    while True:
        c = crowds_of(points, codes, wanted, labels)
        centres = centres_of(c.sums, c.sizes)
        if repair(nearest(centres, centres, NEAR + 1), c):
            return c.labels, joined
        lacking = np.flatnonzero((c.distinct < wanted).any(axis=1))
        labels = _merge(points, c.labels, lacking, max(1, len(lacking) // 4))
        joined += len(c.sizes) - int(labels.max()) - 1


def _merge(points: np.ndarray, labels: np.ndarray, crowds: np.ndarray, count: int) -> np.ndarray:
    """Labels after up to `count` of some crowds have each joined a near one, first those that lose least by it."""
    sizes = np.bincount(labels)
    centres = np.zeros((len(sizes), points.shape[1]))
    np.add.at(centres, labels, points)
    centres /= sizes[:, None]
    near = nearest(centres[crowds], centres, JOINABLE + 1)
    a, b = np.repeat(crowds, near.shape[1]), near.ravel()
    a, b = a[a != b], b[a != b]
    cost = ((centres[a] - centres[b]) ** 2).sum(axis=1) * sizes[a] * sizes[b] / (sizes[a] + sizes[b])  # Ward 1963
    into, free = np.arange(len(sizes)), np.ones(len(sizes), bool)
    for i in np.argsort(cost, kind="stable"):
        if count and free[a[i]] and free[b[i]]:
            free[a[i]] = free[b[i]] = False
            into[a[i]] = b[i]
            count -= 1
    return np.unique(into[labels], return_inverse=True)[1].astype(np.int64)

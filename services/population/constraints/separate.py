"""Attributes that must not mix: people are cut into strata, such as adults and children, each partitioned by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.errors import PartitionError

LONG = 200  # letters of a name
MOST_LISTED = 20  # strata that are named where there are many

# rows int64 [m] of one stratum -> labels int64 [m]
StratumPartitioner = Callable[[np.ndarray], np.ndarray]
# rows of one stratum -> why they cannot be served by themselves; None: they can
Unfit = Callable[[np.ndarray], str | None]


@dataclass(frozen=True)
class Strata:
    """Who is in which stratum."""

    of: np.ndarray  # int64 [n], a row of `names` for everyone
    names: list[str]  # such as "age_group 'child', gender unknown"

    def rows(self) -> list[np.ndarray]:
        """The people of each stratum; of one that has joined another, nobody."""
        order = np.argsort(self.of, kind="stable")
        return np.split(order, np.searchsorted(self.of[order], np.arange(1, len(self.names))))


@dataclass(frozen=True)
class Merge:
    """A stratum that could not be served by itself, and the one it joined: their people may share a crowd."""

    stratum: str
    people: int
    into: str
    because: str
    numbers: tuple[int, int]  # of the two, as `strata_of` counts them

    def __str__(self) -> str:
        return f"{self.stratum} ({self.because}) joined {self.into}, the stratum with the nearest mean"


def strata_of(attributes: dict[str, np.ndarray], names: tuple[str, ...], merged: Sequence[Merge] = ()) -> Strata:
    """The strata of attributes, in the order of their names, after some have joined others."""
    columns = [
        [f"{name} {str(value)!r}" if value else f"{name} unknown" for value in attributes[name]] for name in names
    ]
    told, of = np.unique([", ".join(parts) for parts in zip(*columns, strict=True)], return_inverse=True)
    joins = np.arange(len(told))
    for merge in merged:
        small, into = merge.numbers
        joins[joins == small] = into
    return Strata(joins[of.ravel()], told.tolist())


def separate(strata: Strata, partition_one: StratumPartitioner, unfit: Unfit) -> np.ndarray:
    """Partitions every stratum by itself.

    Args:
        partition_one: partitions the people of one.
        unfit: why a stratum cannot be served.

    Returns:
        labels int64 [n], no crowd with people of two strata.

    Raises:
        PartitionError: some strata cannot be served; names them, and says what to do.
    """
    groups = [(name, rows) for name, rows in zip(strata.names, strata.rows(), strict=True) if len(rows)]
    reasons = [(name, unfit(rows)) for name, rows in groups]
    refused = [f"{name} ({reason})" for name, reason in reasons if reason]
    if refused:
        join = ", or let them join the nearest other stratum with --merge-small" if len(groups) > 1 else ""
        todo = f"Enrol more of these people, or ask for less{join}"
        raise PartitionError(f"no crowd can be made of {'; '.join(shortened(refused))}. {todo}")
    labels = np.empty(len(strata.of), np.int64)
    crowds = 0
    for _, rows in groups:
        found = partition_one(rows)
        labels[rows] = found + crowds
        crowds += int(found.max()) + 1
    return labels


def merge_small(embeddings: np.ndarray, strata: Strata, unfit: Unfit) -> list[Merge]:
    """Lets each stratum that cannot be served join the one with the nearest mean, the smallest first.

    Args:
        embeddings: float [n, d].

    Returns:
        What is to be done. One stratum is left if nothing less will do.
    """
    rows, names = strata.rows(), list(strata.names)
    reasons = [unfit(own) for own in rows]
    sizes = np.array([len(own) for own in rows])
    means = np.stack([embeddings[own].mean(axis=0, dtype=np.float64) for own in rows])
    small = np.array([reason is not None for reason in reasons])
    merges: list[Merge] = []
    while small.any() and len(merges) < len(rows) - 1:
        a = int(np.where(small, sizes, len(embeddings) + 1).argmin())
        far = ((means - means[a]) ** 2).sum(axis=1)
        far[a] = np.inf
        b = int(far.argmin())
        merges.append(Merge(names[a], int(sizes[a]), names[b], str(reasons[a]), (a, b)))
        means[b] = (means[a] * sizes[a] + means[b] * sizes[b]) / (sizes[a] + sizes[b])
        rows[b], rows[a] = np.concatenate([rows[b], rows[a]]), rows[a][:0]
        sizes[b], sizes[a] = len(rows[b]), 0
        names[b] = f"{names[b]} + {names[a]}" if len(names[b]) + len(names[a]) < LONG else f"{names[b][:LONG]} + more"
        reasons[b] = unfit(rows[b])
        small[b], small[a], means[a] = reasons[b] is not None, False, np.inf
    return merges


def shortened(lines: Sequence[str]) -> list[str]:
    """The first of some lines, and how many more there are."""
    more = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], f"and {more} more like these"] if more > 0 else list(lines)

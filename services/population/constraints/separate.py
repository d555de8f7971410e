"""Attributes that must not mix: people are cut into strata, such as adults and children, each partitioned by itself."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.errors import PartitionError

# rows int64 [m] of one stratum -> labels int64 [m]
StratumPartitioner = Callable[[np.ndarray], np.ndarray]
# rows of one stratum -> why they cannot be served by themselves; None: they can
Unfit = Callable[[np.ndarray], str | None]


@dataclass(frozen=True)
class Merge:
    """A stratum that could not be served by itself, and the one it joined: their people may share a crowd."""

    stratum: str
    people: int
    into: str
    because: str

    @property
    def name(self) -> str:
        return f"{self.into} + {self.stratum}"

    def apply(self, strata: np.ndarray) -> np.ndarray:
        """str [n] -> str [n], where the two bear one name."""
        return np.where((strata == self.stratum) | (strata == self.into), self.name, strata)

    def __str__(self) -> str:
        return f"{self.stratum} ({self.because}) joined {self.into}, the stratum with the nearest mean"


def strata_of(attributes: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """str [n]: the stratum of everyone, such as "age_group 'child', gender unknown"."""
    columns = [
        [f"{name} {str(value)!r}" if value else f"{name} unknown" for value in attributes[name]] for name in names
    ]
    return np.array([", ".join(parts) for parts in zip(*columns, strict=True)])


def separate(strata: np.ndarray, partition_one: StratumPartitioner, unfit: Unfit) -> np.ndarray:
    """Partitions every stratum by itself.

    Args:
        strata: str [n], the stratum of everyone.
        partition_one: partitions the people of one.
        unfit: why a stratum cannot be served.

    Returns:
        labels int64 [n], no crowd with people of two strata.

    Raises:
        PartitionError: some strata cannot be served; names them, and says what to do.
    """
    names = [str(name) for name in np.unique(strata)]
    reasons = [(name, unfit(np.flatnonzero(strata == name))) for name in names]
    refused = [f"{name} ({reason})" for name, reason in reasons if reason]
    if refused:
        raise PartitionError(
            f"no crowd can be made of {'; '.join(refused)}. Enrol more of these people, lower k, "
            "or let them join the nearest other stratum with --merge-small"
        )
    labels = np.empty(len(strata), np.int64)
    crowds = 0
    for name in names:
        rows = np.flatnonzero(strata == name)
        found = partition_one(rows)
        labels[rows] = found + crowds
        crowds += int(found.max()) + 1
    return labels


def merge_small(embeddings: np.ndarray, strata: np.ndarray, unfit: Unfit) -> tuple[np.ndarray, tuple[Merge, ...]]:
    """Lets each stratum that cannot be served join the one with the nearest mean, the smallest first.

    Args:
        embeddings: float [n, d].
        strata: str [n].

    Returns:
        strata str [n] as they are then, and what was done. One stratum is left if nothing less will do.
    """
    merges: list[Merge] = []
    while True:
        names, sizes = np.unique(strata, return_counts=True)
        reasons = [unfit(np.flatnonzero(strata == name)) for name in names]
        small = [i for i in np.argsort(sizes, kind="stable") if reasons[i]]
        if not small or len(names) == 1:
            return strata, tuple(merges)
        means = np.stack([embeddings[strata == name].mean(axis=0) for name in names])
        far = ((means - means[small[0]]) ** 2).sum(axis=1)
        far[small[0]] = np.inf
        people, because = int(sizes[small[0]]), str(reasons[small[0]])
        merge = Merge(str(names[small[0]]), people, str(names[far.argmin()]), because)
        strata = merge.apply(strata)
        merges.append(merge)

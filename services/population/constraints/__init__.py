"""Optional constraints on a partition: attributes that must not mix, attributes that must, and their price in loss."""

from dataclasses import dataclass

import numpy as np

from services.errors import PartitionError
from services.population.constraints.crowds import distinct_values
from services.population.constraints.diverse import Sensitive, codes_of, diversify, unfit
from services.population.constraints.parse import Constraints, parse_constraints
from services.population.constraints.search import search
from services.population.constraints.separate import Merge, merge_small, separate, shortened, strata_of
from services.population.engine import Engine
from services.population.partition import check_labels, information_loss, partition

__all__ = [
    "Constrained",
    "Constraints",
    "Merge",
    "check_constraints",
    "parse_constraints",
    "partition_with",
    "servable",
]


@dataclass(frozen=True)
class Constrained:
    """A partition that keeps to constraints."""

    labels: np.ndarray  # int64 [n]
    loss: float  # SSE/SST
    unconstrained_loss: float  # the least that was found without: by the same means, or these crowds themselves
    merged: tuple[Merge, ...]  # strata that share crowds after all
    notes: tuple[str, ...]  # crowds that had to be larger, in words

    @property
    def price(self) -> float:
        """What the constraints cost: the share by which more is lost."""
        if self.unconstrained_loss == 0:
            return np.inf if self.loss else 0.0
        return self.loss / self.unconstrained_loss - 1

    def lines(self) -> list[str]:
        """For the terminal: the price, and what was not done as asked."""
        price = f"information loss {self.loss:.4f}, {self.unconstrained_loss:.4f} without constraints"
        return [
            f"{price}: {round(self.price, 3) + 0.0:+.1%}",
            *shortened([str(merge) for merge in self.merged]),
            *shortened(self.notes),
        ]


def partition_with(
    embeddings: np.ndarray,
    attributes: dict[str, np.ndarray],
    constraints: Constraints,
    k: int,
    algorithm: str = "swap",
    seed: int = 0,
    effort: str = "default",
    engine: Engine | None = None,
) -> Constrained:
    """Splits people into crowds of at least k that keep to constraints; diversity holds within strata.

    Args:
        embeddings: float [n, d], one row per identity.
        attributes: name -> str [n], "" where it is not known.
        algorithm, seed, effort, engine: as of `partition`, which makes the crowds that are then mended.

    Raises:
        PartitionError: what `partition` refuses, an attribute that is not there, and constraints that cannot be met;
            says which people stand against them.
    """
    embeddings = np.asarray(embeddings)
    _check_attributes(attributes, constraints, len(embeddings))

    def partition_for(rows: np.ndarray, least: int) -> np.ndarray:
        everyone = len(rows) == len(embeddings)
        return base if everyone and least == k else partition(embeddings[rows], least, algorithm, seed, effort, engine)

    base = partition(embeddings, k, algorithm, seed, effort, engine)
    base_loss = information_loss(embeddings, base)
    if _keeps(base, attributes, constraints):
        return Constrained(base, base_loss, base_loss, (), ())

    wanted = _sensitive(attributes, constraints)
    notes: list[str] = []

    def partition_one(rows: np.ndarray) -> np.ndarray:
        if not wanted:
            return partition_for(rows, k)
        here = [Sensitive(attribute.name, attribute.values[rows], attribute.wanted) for attribute in wanted]
        found = diversify(embeddings[rows], k, here, lambda least: partition_for(rows, least), seed, effort)
        notes.extend(
            f"{strata.names[strata.of[rows[0]]]}: {note}" if constraints.separate else note for note in found.notes
        )
        return found.labels

    def why_not(rows: np.ndarray) -> str | None:
        return unfit(k, wanted, rows)

    merged: tuple[Merge, ...] = ()
    if constraints.separate:
        strata = strata_of(attributes, constraints.separate)
        if constraints.merge_small:
            merged = tuple(merge_small(embeddings, strata, why_not))
            strata = strata_of(attributes, constraints.separate, merged)
        labels = separate(strata, partition_one, why_not)
    else:
        labels = partition_one(np.arange(len(embeddings)))
    check_labels(labels, len(embeddings), k)
    check_constraints(labels, attributes, constraints, merged)
    if wanted:  # the search after the algorithm is not to the constraints' credit
        base = search(embeddings, base, k, np.empty((0, len(base)), np.int64), np.empty(0, np.int64), seed, effort)
        base_loss = min(base_loss, information_loss(embeddings, base))
    loss = information_loss(embeddings, labels)
    return Constrained(labels, loss, min(base_loss, loss), merged, tuple(notes))


def servable(attributes: dict[str, np.ndarray], constraints: Constraints, n: int, k: int) -> np.ndarray:
    """Who of n people can be in a crowd of k that keeps to constraints, bool [n]: whole strata, or nobody.

    Raises:
        PartitionError: an attribute that is not there.
    """
    _check_attributes(attributes, constraints, n)
    wanted, everyone = _sensitive(attributes, constraints), np.arange(n)
    apart = constraints.separate and not constraints.merge_small
    groups = strata_of(attributes, constraints.separate).rows() if apart and n else [everyone]
    can = np.zeros(n, bool)
    for rows in groups:
        can[rows] = unfit(k, wanted, rows) is None
    return can


def check_constraints(
    labels: np.ndarray, attributes: dict[str, np.ndarray], constraints: Constraints, merged: tuple[Merge, ...] = ()
) -> None:
    """Raises PartitionError if a crowd mixes what must be apart (but for strata merged), or lacks values."""
    if constraints.separate:
        strata = strata_of(attributes, constraints.separate, merged)
        mixed = int((distinct_values(labels, strata.of[None])[:, 0] > 1).sum())
        if mixed:
            raise PartitionError(f"crowds that mix people of different {' and '.join(constraints.separate)}: {mixed}")
    for name, wanted in constraints.diverse:
        fewest = int(distinct_values(labels, codes_of(attributes[name])[None]).min())
        if fewest < wanted:
            raise PartitionError(f"a crowd holds {fewest} distinct values of {name}, not {wanted}")


def _keeps(labels: np.ndarray, attributes: dict[str, np.ndarray], constraints: Constraints) -> bool:
    try:
        check_constraints(labels, attributes, constraints)
    except PartitionError:
        return False
    return True


def _sensitive(attributes: dict[str, np.ndarray], constraints: Constraints) -> list[Sensitive]:
    return [Sensitive(name, attributes[name], values) for name, values in constraints.diverse]


def _check_attributes(attributes: dict[str, np.ndarray], constraints: Constraints, n: int) -> None:
    for name in (*constraints.separate, *(name for name, _ in constraints.diverse)):
        if name not in attributes:
            known = ", ".join(sorted(attributes)) or "none at all"
            raise PartitionError(f"no attribute named {name!r} is known of these people; there are {known}")
        if len(attributes[name]) != n:
            raise PartitionError(f"attribute {name} has {len(attributes[name])} values for {n} people")

"""How the values of an attribute are spread over the identities, as counts."""

from dataclasses import dataclass

import numpy as np

MOST_VALUES = 12  # that are told apart


@dataclass(frozen=True)
class Counts:
    """Identities by value. A value that one person alone holds, or that is an identity's name, is only counted."""

    values: dict[str, int]  # the most frequent values that several people share
    other_values: int  # how many values are not among them
    other_identities: int  # how many identities hold one of those
    unknown: int
    share_unknown: float
    rarest: int | None  # identities of the rarest known value: crowds that must not mix cannot be larger


def count(values: np.ndarray, identities: np.ndarray) -> Counts:
    """Counts the values of one attribute, str [n]; "" where it is not known."""
    known, counts = np.unique(values[values != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = order[(counts[order] > 1) & ~np.isin(known[order], identities)][:MOST_VALUES]
    unknown = int((values == "").sum())
    return Counts(
        values={str(known[i]): int(counts[i]) for i in shown},
        other_values=len(known) - len(shown),
        other_identities=int(counts.sum() - counts[shown].sum()),
        unknown=unknown,
        share_unknown=unknown / max(len(values), 1),
        rarest=int(counts.min()) if len(counts) else None,
    )

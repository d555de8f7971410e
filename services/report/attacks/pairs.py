"""Probes and a gallery -> how far each probe is from each person, equal distances being equal.

All members of a crowd have one surrogate, so ties are the rule here, and rounding must not break them. Distances are
therefore counted in steps of a millionth of what embeddings scatter, and a step more or less is a tie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STEP = 1e-6  # of the embeddings' scatter; distances in float64 are right to some 1e-8 of it
TIE = 1  # steps
BLOCK = 1 << 21  # distances at a time
MOST = np.iinfo(np.int32).max - 2 * TIE


@dataclass(frozen=True)
class Pairs:
    """p probes before a gallery of g people. Each probe's own person is in the gallery."""

    steps: np.ndarray  # int32 [p, g], Euclidean distances in steps, to the nearest face of each person
    own: np.ndarray  # int64 [p], column of the person in it
    people: np.ndarray  # int64 [g], identities

    @property
    def genuine(self) -> np.ndarray:
        """Distances of the probes to their own people, int32 [p]."""
        return self.steps[np.arange(len(self.own)), self.own]

    @property
    def owners(self) -> np.ndarray:
        """Identities of the probes, int64 [p]."""
        return self.people[self.own]

    @property
    def impostors(self) -> int:
        """Pairs of a probe and another person."""
        return self.steps.size - len(self.own)

    def blocks(self) -> Iterator[slice]:
        """Rows, so many at a time that what is made of them stays small."""
        return blocks(*self.steps.shape)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows, each of about BLOCK values."""
    size = max(1, BLOCK // max(columns, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def step_of(*embeddings: np.ndarray) -> float:
    """The length of a step for embeddings `float [n, d]`: a share of how far apart they are, as a root mean square."""
    both = np.concatenate(embeddings).astype(np.float64)
    scatter = float(np.sqrt(2 * both.var(axis=0).sum()))
    return STEP * scatter if scatter > 0 else 1.0


def pair(
    probes: np.ndarray, owners: np.ndarray, gallery: np.ndarray, identities: np.ndarray, step: float | None = None
) -> Pairs:
    """Measures all distances; 10^4 probes x 10^4 people take 0.4 GB.

    Args:
        probes, gallery: float [p, d], [g, d], finite.
        owners, identities: int [p], [g]. A person may have several faces in the gallery.
        step: of distances, if those of several galleries are to be compared.
    """
    step = step or step_of(probes, gallery)
    order = np.argsort(identities, kind="stable")
    people, firsts = np.unique(identities[order], return_index=True)
    middle = gallery.mean(axis=0, dtype=np.float64)  # near to nought the least is lost of a difference of squares
    faces = gallery[order].astype(np.float64) - middle
    squares = (faces**2).sum(axis=1)
    steps = np.empty((len(probes), len(people)), np.int32)
    for rows in blocks(len(probes), len(faces)):
        some = probes[rows].astype(np.float64) - middle
        squared = (some**2).sum(axis=1)[:, None] - 2 * some @ faces.T + squares
        least = np.minimum.reduceat(squared, firsts, axis=1)
        steps[rows] = np.minimum(np.rint(np.sqrt(np.maximum(least, 0)) / step), MOST)
    return Pairs(steps, np.searchsorted(people, owners), people)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """The probes of all parts, which have the same gallery and step."""
    steps, own = [part.steps for part in parts], [part.own for part in parts]
    return Pairs(np.concatenate(steps), np.concatenate(own), parts[0].people)

"""What crowds cost: information loss of the release's own, and of those that other partitioners would have made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.population.bench.measures import measure
from services.population.partition import partition

OWN = "this release"
# What is held against it, and the most people it is tried with: the paper's takes the cube of them in time.
OTHERS = {"swap": 5000, "mdav": 5000, "kmember": 1000, "hierarchical": 500, "random": 5000}


@dataclass(frozen=True)
class LossRow:
    """A partition of the people in a release, by the embeddings that the crowds are chosen with."""

    algorithm: str  # OWN, or a partitioner's name; `hierarchical` is the paper's HP
    k: int  # asked for; of OWN the smallest crowd among these people
    loss: float  # SSE/SST: 0 nobody moved, 1 one crowd of all
    to_centre: float  # mean distance of people to the mean of their crowd
    diameter: float  # mean over crowds of the largest distance between two members
    to_surrogate: float | None  # mean distance of people to their rendered surrogate; None: none was rendered
    crowds: int
    people: int  # that were partitioned


def losses(
    embeddings: np.ndarray, own: np.ndarray, surrogates: np.ndarray | None, ks: Sequence[int], seed: int
) -> list[LossRow]:
    """Measures the release's own partition, and others at several k.

    Args:
        embeddings: float [n, d], the mean of each person's originals.
        own: int64 [n], the release's crowds, 0..m-1.
        surrogates: float [n, d], what the same recogniser sees in each person's surrogate; NaN where nothing is shown.
        ks: those are left out that n is too small for.
        seed: of what is drawn: an algorithm's start, and people where there are too many for it.
    """
    apart = None
    if surrogates is not None:
        distances = np.linalg.norm(surrogates - embeddings, axis=1)
        apart = float(np.nanmean(distances)) if np.isfinite(distances).any() else None
    rows = [_row(OWN, int(np.bincount(own).min()), embeddings, own, apart)]
    for algorithm, most in OTHERS.items():
        drawn = np.sort(np.random.default_rng(seed).permutation(len(embeddings))[:most])
        for k in ks:
            if 2 * k <= len(drawn):
                some = embeddings[drawn]
                rows.append(_row(algorithm, k, some, partition(some, k, algorithm, seed), None))
    return rows


def _row(algorithm: str, k: int, embeddings: np.ndarray, labels: np.ndarray, to_surrogate: float | None) -> LossRow:
    found = measure(embeddings, labels)
    return LossRow(
        algorithm,
        k,
        found.loss,
        found.to_centre,
        found.diameter,
        to_surrogate,
        found.crowds,
        len(embeddings),
    )

"""How far photos of one person, of different people, and each person and their nearest other lie apart (Euclidean)."""

from dataclasses import dataclass
from typing import Literal

import faiss
import numpy as np

from services.population.enroll.duplicates import SHARE as DUPLICATES
from services.population.stats.spread import Spread, edges_of, spread

PAIRS = 100_000  # pairs looked at where there are more; a share is then within half a per cent
EXACT = 50_000  # identities up to which everybody's nearest other is found
NEAREST = 5_000  # identities whose nearest other is found, among all, in larger populations
CHUNK = 8192


@dataclass(frozen=True)
class Distances:
    """Distances of a population, in the embedder's own units."""

    within: Spread | None  # two photos of one identity; None: nobody has two, or photos are not known
    between: Spread | None  # two photos of different identities, or two identities, see `between_of`
    between_of: Literal["photos", "identities"]
    nearest: Spread | None  # an identity's vector to the nearest other identity's
    d_prime: float | None  # difference of the means of between and within, in their common standard deviation
    within_beyond_nearest: float | None  # share of within pairs farther apart than the median of `nearest`
    likely_duplicates: int | None  # identities, among `nearest.count`, with an other as near as enrolment reports
    nearer_than_threshold: int | None  # the same, with an other nearer than the threshold: they look alike at least
    equal: int  # identities, among `nearest.count`, with an other of the very same vector


def distances(
    people: np.ndarray, owners: np.ndarray, photos: np.ndarray, threshold: float | None, rng: np.random.Generator
) -> Distances:
    """Measures them; memory is bounded by the vectors handed in.

    Args:
        people: float32 [n, d], one vector an identity.
        owners: int64 [v], the identity of each photo; empty where photos are not known.
        photos: float32 [v, d].
        threshold: the embedder's, below which two photos may be of one person; None where it is not known.
    """
    nearest = nearest_others(people, rng)
    inner, inner_total = within_pairs(owners, rng)
    of_photos = len(np.unique(owners)) > 1
    vectors, groups = (photos, owners) if of_photos else (people, np.arange(len(people)))
    outer, outer_total = between_pairs(groups, rng)
    within, between = lengths(photos, inner), lengths(vectors, outer)
    high = max((float(values.max()) for values in (within, between, nearest) if len(values)), default=1.0)
    edges = edges_of(0.0, high)
    beyond = (within > np.median(nearest)).mean() if len(within) and len(nearest) else None
    return Distances(
        within=spread(within, edges, inner_total),
        between=spread(between, edges, outer_total),
        between_of="photos" if of_photos else "identities",
        nearest=spread(nearest, edges, len(people)),
        d_prime=d_prime(within, between),
        within_beyond_nearest=None if beyond is None else float(beyond),
        likely_duplicates=None if threshold is None else int((nearest < DUPLICATES * threshold).sum()),
        nearer_than_threshold=None if threshold is None else int((nearest < threshold).sum()),
        equal=int((nearest == 0).sum()),
    )


def d_prime(within: np.ndarray, between: np.ndarray) -> float | None:
    """Sensitivity index (Green and Swets 1966): (mean between - mean within) / sqrt of the mean variance.

    None where a side is empty or nothing varies.
    """
    if not len(within) or not len(between):
        return None
    common = np.sqrt((within.var() + between.var()) / 2)
    return float((between.mean() - within.mean()) / common) if common > 0 else None


def within_pairs(owners: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Pairs of rows with one owner, int64 [m, 2], at most `PAIRS` drawn without repetition; and how many there are."""
    order = np.argsort(owners, kind="stable")
    _, first, counts = np.unique(owners[order], return_index=True, return_counts=True)
    starts = np.repeat(first, counts)
    ends = np.cumsum(np.arange(len(owners)) - starts)  # each row pairs with the rows of its owner before it
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.arange(total) if total <= PAIRS else rng.choice(total, PAIRS, replace=False)
    later = np.searchsorted(ends, drawn, side="right")
    earlier = starts[later] + drawn - (ends[later] - (later - starts[later]))
    return np.column_stack([order[earlier], order[later]]), total


def between_pairs(owners: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Pairs of rows with different owners, int64 [m, 2], all or about `PAIRS` drawn; and how many there are."""
    count = len(owners)
    sizes = np.unique(owners, return_counts=True)[1]
    total = (count * (count - 1) - int((sizes * (sizes - 1)).sum())) // 2
    if count * (count - 1) // 2 <= PAIRS:
        pairs = np.column_stack(np.triu_indices(count, 1))
    else:
        pairs = rng.integers(0, count, (PAIRS, 2))
    return pairs[owners[pairs[:, 0]] != owners[pairs[:, 1]]], total


def lengths(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Distance of each pair of rows, float64 [m]."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        a, b = pairs[start : start + CHUNK].T
        found[start : start + CHUNK] = np.linalg.norm(vectors[a].astype(np.float64) - vectors[b], axis=1)
    return found


def nearest_others(people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distance of each identity to its nearest other, float64 [n]; of `NEAREST` drawn ones beyond `EXACT`.

    The search is exhaustive, in float32 once the mean is gone; the distance to whom it finds is taken in float64.
    """
    n = len(people)
    if n < 2:
        return np.empty(0)
    rows = np.arange(n) if n <= EXACT else np.sort(rng.choice(n, NEAREST, replace=False))
    centred = np.ascontiguousarray(people - people.mean(axis=0, dtype=np.float64).astype(np.float32), np.float32)
    _, found = faiss.knn(centred[rows], centred, 2)
    other = np.where(found[:, 0] == rows, found[:, 1], found[:, 0])  # equals may come before oneself
    return lengths(people, np.column_stack([rows, other]))

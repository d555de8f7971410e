"""embedding -> nearest row of a gallery: proved to be the nearest, or nearly always so where a miss breaks nothing.

An enrolled person who is missed would stand for fewer than k people, so people are searched exactly at every size.
Crowds' centroids are searched exactly below `MANY` rows, and by FAISS from there on.
"""

from typing import Protocol

import faiss
import numpy as np

NOBODY = -1
MANY = 100_000  # from this many rows on centroids are searched approximately; `anonfaces bench lookup` says why
TRAINED_ON = 48  # rows a list
BLOCK = 4096
SMALLEST = 2.0**-126  # products below it lose digits in float32


class Search(Protocol):
    """Finds rows of one gallery. Threads may share it."""

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        """int64 [q], the row found for each query float32 [q, d]; or NOBODY."""
        ...


def squared_distances(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [n], from one vector [d] to each of some [n, d]; exact but for the rounding of float64."""
    differences = rows.astype(np.float64) - query.astype(np.float64)
    return np.einsum("nd,nd->n", differences, differences)


def _nearest_of(candidates: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> tuple[int, float]:
    """The nearest of some rows, the first of several, and its squared distance; NOBODY of none."""
    best, least = NOBODY, np.inf
    for start in range(0, len(candidates), BLOCK):
        rows = candidates[start : start + BLOCK]
        squared = squared_distances(query, gallery[rows])
        place = int(squared.argmin())
        if squared[place] < least:
            best, least = int(rows[place]), float(squared[place])
    return best, least


class _Sums:
    """Squared distances from a gallery in float32, quickly, and how far from the truth they may be.

    With |g - q|^2 = |g|^2 + |q|^2 - 2 g.q, a dot product of d terms is off by at most d u |g| |q| whatever the order
    of its sums (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), u = 2^-24; twice the norms'
    roundings and a margin of two make up `slack`.
    """

    def __init__(self, gallery: np.ndarray):
        self.gallery = gallery
        self.norms = np.empty(len(gallery), np.float32)
        with np.errstate(over="ignore"):
            for start in range(0, len(gallery), BLOCK):
                block = gallery[start : start + BLOCK].astype(np.float64)
                self.norms[start : start + BLOCK] = np.einsum("nd,nd->n", block, block)
        self.longest = float(np.sqrt(self.norms.max(initial=0)))

    def __call__(self, query: np.ndarray) -> tuple[np.ndarray, float]:
        """Squared distances less |query|^2, float32 [n], and the most that each is off."""
        squared = self.gallery @ query
        squared *= -2
        squared += self.norms
        reach, dims = self.longest + float(np.linalg.norm(query.astype(np.float64))), self.gallery.shape[1]
        return squared, dims * SMALLEST + 2.0**-22 * (dims + 8) * reach**2


class ExactSearch:
    """The nearest row, and of several equally near ones the first: one pass in float32, what is close in float64.

    Args:
        gallery: float32 [n, d], n >= 1; kept, not copied.
    """

    def __init__(self, gallery: np.ndarray):
        self._gallery = np.ascontiguousarray(gallery, np.float32)
        self._sums = _Sums(self._gallery)

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        return np.array([self._one(query) for query in queries.astype(np.float32)], np.int64)

    def _one(self, query: np.ndarray) -> int:
        with np.errstate(over="ignore", invalid="ignore"):
            squared, slack = self._sums(query)
            farther = squared > squared.min() + 2 * slack  # never so where float32 overflowed: all are looked at
        return _nearest_of(np.flatnonzero(~farther), query, self._gallery)[0]


class WithinSearch:
    """The nearest row within a radius, and of several equally near ones the first; NOBODY where there is none.

    Rows are first compared along the directions in which the gallery is widest, a quarter of all. A projection makes no
    distance longer, so nobody within the radius is passed over; the few that are left are compared in float64.

    Args:
        gallery: float32 [n, d]; kept, not copied.
        radius: the edge belongs to it.
    """

    def __init__(self, gallery: np.ndarray, radius: float):
        self._gallery = np.ascontiguousarray(gallery, np.float32)
        self._squared_radius = radius**2
        if len(gallery):
            self._middle, self._directions = _widest_directions(self._gallery)
            self._sums = _Sums(self._projected(self._gallery))

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        if not len(self._gallery):
            return np.full(len(queries), NOBODY, np.int64)
        return np.array([self._one(query) for query in queries.astype(np.float32)], np.int64)

    def _one(self, query: np.ndarray) -> int:
        row, squared = _nearest_of(self._candidates(query), query, self._gallery)
        return row if squared <= self._squared_radius else NOBODY

    def _candidates(self, query: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            short = self._projected(query[None])[0]
            squared, slack = self._sums(short)
            outside = squared > self._squared_radius - float(short.astype(np.float64) @ short) + slack
        return np.flatnonzero(~outside)

    def _projected(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, p]."""
        parts = [
            ((rows[start : start + BLOCK] - self._middle) @ self._directions).astype(np.float32)
            for start in range(0, len(rows), BLOCK)
        ]
        return np.concatenate(parts)


def _widest_directions(gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle float64 [d] and principal directions float64 [d, p], orthonormal; of evenly spread rows."""
    sample = gallery[:: max(1, len(gallery) // 20_000)].astype(np.float64)
    dims = gallery.shape[1]
    middle = sample.mean(axis=0)
    centred = sample - middle
    _, directions = np.linalg.eigh(centred.T @ centred)
    return middle, directions[:, ::-1][:, : min(dims, max(16, dims // 4))]


def lists_of(rows: int) -> tuple[int, int]:
    """How many lists to sort a gallery into, and how many a query looks into, for a recall above 0.99 (the bench)."""
    return min(rows, round(2 * rows**0.5)), round(4 * rows**0.3)


class ApproximateSearch:
    """A row that is nearest, or nearly always so: the rows in lists, of which a query looks into a few (FAISS IVF).

    The same gallery gives the same answers. One thread a query, so that photos side by side do not wait for each other.

    Args:
        gallery: float32 [n, d], n >= 1; FAISS keeps a copy.
    """

    def __init__(self, gallery: np.ndarray):
        self._gallery = np.ascontiguousarray(gallery, np.float32)
        n, dims = self._gallery.shape
        lists, probed = lists_of(n)
        faiss.omp_set_num_threads(1)  # of the calling thread, whichever that is
        self.lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(dims), dims, lists)
        self.lists.cp.max_points_per_centroid = TRAINED_ON
        self.lists.cp.min_points_per_centroid = 1
        self.lists.train(self._gallery)
        self.lists.add(self._gallery)
        self.lists.nprobe = probed

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        faiss.omp_set_num_threads(1)
        queries = np.ascontiguousarray(queries, np.float32)
        found = self.lists.search(queries, 4)[1]  # a few: float32 may put the second nearest first
        return np.array([self._one(row[row >= 0], query) for row, query in zip(found, queries, strict=True)], np.int64)

    def _one(self, candidates: np.ndarray, query: np.ndarray) -> int:
        rows = np.sort(candidates) if len(candidates) else np.arange(len(self._gallery))
        return _nearest_of(rows, query, self._gallery)[0]


def search_centroids(centroids: np.ndarray) -> Search:
    """A search of crowds for people who are not enrolled: exact, or approximate where there are many crowds."""
    return ApproximateSearch(centroids) if len(centroids) >= MANY else ExactSearch(centroids)

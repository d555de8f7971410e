"""Identities that are nearer to each other than people are: likely one person under two names, who would break k."""

from collections.abc import Iterator

import numpy as np

from services.errors import EnrolmentError

SHARE = 0.7  # of the distance under which two photos may show one person; of means, which are steadier, less is asked
BLOCK = 2048  # rows compared with as many others at a time
ROUNDING = 1e-5  # of float32's sums, with room
MOST_PAIRS = 1_000_000  # the nearest are kept: a population of equals has n^2 / 2 pairs


def likely_duplicates(embeddings: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows nearer than a threshold, the nearest first. Memory does not depend on how many rows there are.

    Args:
        embeddings: float [n, d], one row an identity.
        threshold: Euclidean distance; pairs at it or beyond are none.

    Returns:
        int64 [p, 2], rows i < j, sorted by distance, then by i and j, at most `MOST_PAIRS`, and float64 [p], distances.

    Raises:
        EnrolmentError: the threshold is not positive, or values are not finite.
    """
    if not threshold > 0 or not np.isfinite(embeddings).all():
        raise EnrolmentError("likely duplicates need a threshold above 0, and embeddings of finite numbers")
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    blocks = _Blocks(embeddings, threshold)
    for found in blocks.pairs():
        kept.append(found)
        if sum(len(near) for _, near in kept) > MOST_PAIRS:
            kept = [_nearest(kept)]
            blocks.threshold = float(kept[0][1][-1])  # what is not nearer than the last would not be kept
    return _nearest(kept)


class _Blocks:
    """Every pair of rows nearer than `threshold`, which may sink on the way."""

    def __init__(self, embeddings: np.ndarray, threshold: float):
        self.embeddings, self.threshold = embeddings, threshold
        # Centred, or float32 told so little apart that every pair were a candidate. Two more columns make one product
        # of it: x.y - x.x / 2 - y.y / 2 = -gap^2 / 2.
        middle = embeddings.mean(axis=0, dtype=np.float64) if len(embeddings) else 0
        centred = np.asarray(embeddings - middle, np.float32)
        # A little is left for float32's error: what is a pair is decided in float64.
        halves = np.einsum("nd,nd->n", centred, centred)[:, None] / 2 * np.float32(1 - ROUNDING)
        ones = np.ones_like(halves)
        self.left, self.right = np.hstack([centred, ones, -halves]), np.hstack([centred, -halves, ones])

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs int64 [p, 2] and their distances float64 [p], block by block."""
        starts = range(0, len(self.left), BLOCK)
        for top in starts:
            for left in starts[top // BLOCK :]:
                if self.threshold == 0:
                    return
                nearness = self.left[top : top + BLOCK] @ self.right[left : left + BLOCK].T
                candidates = nearness > -(1 + ROUNDING) * self.threshold**2 / 2
                if top == left:
                    candidates = np.triu(candidates, 1)
                if candidates.any():
                    i, j = np.nonzero(candidates)
                    yield from self._exact(i + top, j + left)

    def _exact(self, i: np.ndarray, j: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in np.array_split(np.arange(len(i)), len(i) // (1 << 16) + 1):
            differences = self.embeddings[i[part]].astype(np.float64) - self.embeddings[j[part]]
            distances = np.sqrt(np.einsum("nd,nd->n", differences, differences))
            near = distances < self.threshold
            if near.any():
                yield np.column_stack([i[part][near], j[part][near]]), distances[near]


def _nearest(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of some pairs, sorted."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *(pair for pair, _ in found)])
    distances = np.concatenate([np.empty(0), *(distance for _, distance in found)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], distances))[:MOST_PAIRS]
    return pairs[order], distances[order]

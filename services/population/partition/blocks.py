"""Large populations in parts: blocks of near points, and then blocks of near crowds with other borders."""

from collections.abc import Sequence

import numpy as np

SAMPLE = 4096  # points that a split is found on
BORDERS = (0.3, 0.7)  # where the second tree splits, by chance, so that its borders are not those of the first


def blocks(points: np.ndarray, most: int, multiple: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of blocks of at most `most` points, each block but one a multiple of `multiple` large.

    A balanced two-means tree: each split is across the line between two means that halve the points.

    Args:
        points: float [n, d].
    """
    return _tree(points, most, lambda count: count // 2 // multiple * multiple, rng)


def regroup(centres: np.ndarray, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Groups of at most `most` neighbouring crowds, by their centres float [m, d]; borders differ for each draw."""
    return _tree(centres, most, lambda count: max(1, int(count * rng.uniform(*BORDERS))), rng)


def _tree(points: np.ndarray, most: int, cut, rng: np.random.Generator) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    done, todo = [], [np.arange(len(points))]
    while todo:
        rows = todo.pop()
        if len(rows) <= most:
            done.append(rows)
            continue
        sample = points[rows[rng.choice(len(rows), min(len(rows), SAMPLE), replace=False)]]
        means = sample[rng.choice(len(sample), 2, replace=False)]
        for _ in range(8):
            along = sample @ (means[1] - means[0])
            upper = along > np.median(along)
            if upper.all() or not upper.any():
                break
            means = np.stack([sample[~upper].mean(axis=0), sample[upper].mean(axis=0)])
        lower = cut(len(rows))
        order = np.argpartition(_along(points, rows, means[1] - means[0]), lower)
        todo += [rows[np.sort(order[:lower])], rows[np.sort(order[lower:])]]
    return done


def _along(points: np.ndarray, rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Places of points along a direction, without a copy of all of them."""
    step = 65_536
    return np.concatenate([points[rows[i : i + step]] @ direction for i in range(0, len(rows), step)])


class Cut(Sequence[tuple[int, np.ndarray, np.ndarray | None]]):
    """Parts of a population, cut out when they are asked for: (number, points [b, d], labels [b] or None)."""

    def __init__(self, points: np.ndarray, parts: list[np.ndarray], labels: np.ndarray | None = None):
        self._points, self._parts, self._labels = points, parts, labels

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        rows = self._parts[number]
        if self._labels is None:
            return number, self._points[rows], None
        return number, self._points[rows], np.unique(self._labels[rows], return_inverse=True)[1]

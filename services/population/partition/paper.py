"""What the paper's partitioners have in common: sizes of crowds, people in none yet, and how many are too many."""

import numpy as np

from services.errors import PartitionError


def crowd_sizes(n: int, k: int) -> np.ndarray:
    """As the authors' code divides n people: floor(n/k) crowds, all of one size or one more; int64, k..2k-1 each."""
    count = n // k
    return np.full(count, n // count) + (np.arange(count) < n % count)


def refuse_above(most: int, n: int, algorithm: str) -> None:
    """Raises PartitionError where an algorithm of the paper would take hours, or more memory than there is."""
    if n > most:
        raise PartitionError(f"{algorithm} takes at most {most} people at this k, not {n}; use the algorithm swap")


def normalised(embeddings: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """[n, d] moved and scaled to within -1..1, which changes no partition, so that squares keep their precision."""
    centred = embeddings - embeddings.mean(axis=0)
    return (centred / (np.abs(centred).max() or 1.0)).astype(dtype)


def means(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float [crowds, d]: the mean of every crowd; none is empty."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    return np.add.reduceat(points[order], np.cumsum(sizes) - sizes) / sizes[:, None].astype(points.dtype)


class Rest:
    """People who are in no crowd yet. A place is where someone stands in `people` and `points`."""

    def __init__(self, points: np.ndarray) -> None:
        self.people = np.arange(len(points))
        self.points = points  # [m, d]
        self.taken = np.zeros(len(points), np.bool_)
        self._squares = (points**2).sum(axis=1)

    def __len__(self) -> int:
        return len(self.taken) - int(np.count_nonzero(self.taken))

    def squared(self, point: np.ndarray) -> np.ndarray:
        """Squared distances [m] from a point; infinite to those who are taken."""
        distances = np.maximum(self._squares - 2 * (self.points @ point) + point @ point, 0)
        distances[self.taken] = np.inf
        return distances

    def close_up(self) -> None:
        """Forgets those who are taken, which changes places, once they are a quarter of all."""
        if 4 * len(self) > 3 * len(self.taken):
            return
        left = ~self.taken
        self.people, self.points, self._squares = self.people[left], self.points[left], self._squares[left]
        self.taken = np.zeros(len(self.people), np.bool_)


class Crowds:
    """Crowds that people join one by one, known by their sizes and the means of their members."""

    def __init__(self, most: int, dims: int) -> None:
        self.count = 0
        self._sizes = np.zeros(most, np.int64)
        self._centres = np.zeros((most, dims))
        self._squares = np.zeros(most)  # of the centres

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes[: self.count]

    def open(self, points: np.ndarray) -> int:
        """A further crowd, of these points [p, d]; its number."""
        self._set(self.count, points.mean(axis=0), len(points))
        self.count += 1
        return self.count - 1

    def add(self, point: np.ndarray, crowd: int) -> None:
        size = self._sizes[crowd] + 1
        self._set(crowd, self._centres[crowd] + (point - self._centres[crowd]) / size, size)

    def squared(self, points: np.ndarray) -> np.ndarray:
        """Squared distances [p, crowds] of points [p, d] to the centres."""
        products = points @ self._centres[: self.count].T
        return np.maximum((points**2).sum(axis=1)[:, None] + self._squares[: self.count] - 2 * products, 0)

    def costs(self, points: np.ndarray, most: int) -> np.ndarray:
        """How much the within-crowd sum of squares grows, [p, crowds], if one of the points joins a crowd.

        Infinite for crowds that have `most` members.
        """
        return np.where(self.sizes < most, self.squared(points) * (self.sizes / (self.sizes + 1)), np.inf)

    def _set(self, crowd: int, centre: np.ndarray, size: int) -> None:
        self._centres[crowd], self._squares[crowd], self._sizes[crowd] = centre, centre @ centre, size

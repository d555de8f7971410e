"""OKA, one-pass k-means: Lin and Wei 2008, PAIS, section 3, as Le et al. 2020 compare with it (their "OTP")."""

import numpy as np

from services.population.partition.paper import normalised, refuse_above

CELLS = 1_000_000_000  # people times crowds


def oka(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """Everyone joins the nearest of floor(n/k) crowds, then the farthest of those above k fill up those below.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: for the people the crowds begin with.
        effort: makes no difference.

    Returns:
        labels int64 [n]; floor(n/k) crowds of k to 2k - 1.

    Raises:
        PartitionError: so many people that these times their crowds is above `CELLS`.
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "oka")
    points = normalised(embeddings)
    return _one_pass(points, np.zeros(len(points), np.float32), k, seed)


def oka_published(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """As the authors' `oka_partition`: the centre of a crowd is a single number, the mean of all coordinates of all.

    The squared distance of a vector to such a centre is d times that of the two means, squared, plus what the vector
    varies about its own mean. Only the former depends on the crowd: people join by the mean of their coordinates.

    Args, Returns, Raises: as of `oka`. (Theirs finds people by their vectors afterwards, and so moves people with equal
    ones into one crowd, which leaves others below k; here everybody is known by their row.)
    """
    refuse_above(int((CELLS * k) ** 0.5), len(embeddings), "oka-published")
    scaled = embeddings / (np.abs(embeddings).max() or 1.0)
    return _one_pass(scaled.mean(axis=1, keepdims=True), scaled.var(axis=1), k, seed)


class _Crowds:
    """Crowds that know their centres while people come."""

    def __init__(self, points: np.ndarray, members: list[list[int]]) -> None:
        self.members = members
        self._points = points
        self.centres = np.stack([points[people].mean(axis=0) for people in members])
        self._squares = (self.centres**2).sum(axis=1)

    def nearest(self, person: int, among: np.ndarray | slice) -> int:
        """The crowd whose centre is nearest; `among` is the numbers of those that may be."""
        distances = self._squares[among] - 2 * (self.centres[among] @ self._points[person])
        place = int(distances.argmin())
        return place if isinstance(among, slice) else int(among[place])

    def add(self, person: int, crowd: int) -> None:
        self.members[crowd].append(person)
        self.centres[crowd] += (self._points[person] - self.centres[crowd]) / len(self.members[crowd])
        self._squares[crowd] = self.centres[crowd] @ self.centres[crowd]


def _one_pass(points: np.ndarray, apart: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Labels; a person's squared distance to a centre is that of their points, and `apart`, the same for all, added."""
    n = len(points)
    seeds = np.random.default_rng(seed).choice(n, n // k, replace=False)
    crowds = _Crowds(points, [[int(person)] for person in seeds])
    for person in np.setdiff1d(np.arange(n), seeds)[::-1]:
        crowds.add(int(person), crowds.nearest(person, slice(None)))
    surplus = []
    for crowd, people in enumerate(crowds.members):
        distances = ((points[people] - crowds.centres[crowd]) ** 2).sum(axis=1) + apart[people]
        order = np.argsort(distances, kind="stable")
        surplus += [people[i] for i in order[k:]]
        crowds.members[crowd] = [people[i] for i in order[:k]]
    crowds = _Crowds(points, crowds.members)
    for person in surplus[::-1]:
        small = np.array([crowd for crowd, people in enumerate(crowds.members) if len(people) < k], np.int64)
        crowds.add(person, crowds.nearest(person, small if len(small) else slice(None)))
    labels = np.empty(n, np.int64)
    for crowd, people in enumerate(crowds.members):
        labels[people] = crowd
    return labels

"""Greedy k-member clustering: Byun, Kamra, Bertino and Li 2007, DASFAA, as Le et al. 2020 compare with it.

As in the authors' code, a crowd is as good as its two members farthest apart are near.
"""

import numpy as np

from services.population.partition.paper import Rest, normalised, refuse_above

MOST = 50_000  # people; cost grows with n^2


def kmember(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """Crowds of k, each from the person farthest from the last one's first; who is left goes where it costs least.

    The cost of a crowd is its size times its diameter, the largest distance between two members.

    Args:
        embeddings: float [n, d].
        k: fewest members, at most n.
        seed: for the person the first crowd is far from.
        effort: makes no difference.

    Returns:
        labels int64 [n]; floor(n/k) crowds of k to 2k - 1.

    Raises:
        PartitionError: more than `MOST` people.
    """
    points, labels, diameters = _grow_all(embeddings, k, seed, "kmember")
    sizes = np.bincount(labels[labels >= 0])
    for person in np.flatnonzero(labels < 0)[::-1]:
        placed = np.flatnonzero(labels >= 0)
        distances = np.sqrt(((points[placed] - points[person]) ** 2).sum(axis=1))
        widened = diameters.copy()
        np.maximum.at(widened, labels[placed], distances)
        crowd = int(((sizes + 1) * widened - sizes * diameters).argmin())
        labels[person] = crowd
        diameters[crowd] = widened[crowd]
        sizes[crowd] += 1
    return labels


def kmember_published(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """As the authors' `kmember_partition`: all who are left over join the last crowd, as its minimum is never kept.

    Args, Returns, Raises: as of `kmember`. (Theirs finds people by their vectors afterwards, and so moves people with
    equal ones into one crowd, which leaves others below k; here everybody is known by their row.)
    """
    _, labels, diameters = _grow_all(embeddings, k, seed, "kmember-published")
    labels[labels < 0] = len(diameters) - 1
    return labels


def _grow_all(embeddings: np.ndarray, k: int, seed: int, algorithm: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised points, labels with -1 for fewer than k who are left over, and the diameters of the crowds."""
    refuse_above(MOST, len(embeddings), algorithm)
    points = normalised(embeddings)
    rest = Rest(points)
    labels = np.full(len(points), -1, np.int64)
    diameters: list[float] = []
    first = points[np.random.default_rng(seed).integers(len(points))]
    while len(rest) >= k:
        distances = rest.squared(first)
        place = int(np.where(rest.taken, -1, distances).argmax())
        first = rest.points[place]
        members, diameter = _grow(rest, place, k)
        labels[rest.people[members]] = len(diameters)
        diameters.append(diameter)
        rest.close_up()
    return points, labels, np.array(diameters)


def _grow(rest: Rest, place: int, k: int) -> tuple[list[int], float]:
    """Takes k people, each time one who widens the crowd least; their places, and the diameter."""
    members, widest = [place], np.float32(0)
    rest.taken[place] = True
    reach = rest.squared(rest.points[place])  # to the farthest member
    while len(members) < k:
        place = int(np.maximum(reach, widest).argmin())
        widest = max(widest, reach[place])
        members.append(place)
        rest.taken[place] = True
        np.maximum(reach, rest.squared(rest.points[place]), out=reach)
    return members, float(np.sqrt(widest))

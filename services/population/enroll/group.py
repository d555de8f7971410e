"""Embeddings of photos -> groups, one a person: agglomerative clustering, and how sure it is.

Splitting a person in two breaks k, since both halves count; merging two people only costs likeness. So the threshold
leans to merging, and what is near it is counted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from services.errors import EnrolmentError

LENIENT = 1.1  # times the distance under which two photos may show one person
MARGIN = 0.1  # of the threshold: what lies this near to it is uncertain
TIE = 1e-9  # squared distances that differ by less, in squared thresholds, are equal
BLOCK = 2048  # rows compared with as many others at a time


@dataclass(frozen=True)
class Grouping:
    """Which photos are of one person, and what speaks against it."""

    labels: np.ndarray  # int64 [n], groups 0.. in the order of their first photos; those of `fixed` come first
    margins: np.ndarray  # float64 [groups], -1..1: how much nearer a group's photos are to each other than to the next
    pairs_near: int  # pairs of groups that a threshold larger by MARGIN would merge
    photos_near: int  # photos that a threshold smaller, or larger, by MARGIN could place elsewhere


@dataclass(frozen=True)
class _Clusters:
    """Clusters by their moments: enough for every average of squared distances between them."""

    sizes: np.ndarray  # float64 [m]
    means: np.ndarray  # float64 [m, d]
    spreads: np.ndarray  # float64 [m], mean squared distance to the mean

    def gaps(self, points: np.ndarray, spreads: np.ndarray | float = 0.0) -> np.ndarray:
        """Mean squared distance of all pairs between clusters at `points [p, d]` and these: float64 [p, m]."""
        squares = np.einsum("nd,nd->n", points, points)[:, None] + np.einsum("md,md->m", self.means, self.means)
        apart = np.maximum(squares - 2 * points @ self.means.T, 0)
        return apart + np.reshape(spreads, (-1, 1)) + self.spreads

    def of(self, rows: np.ndarray) -> "_Clusters":
        """Some of them."""
        return _Clusters(self.sizes[rows], self.means[rows], self.spreads[rows])

    def merge(self, into: int, other: int) -> None:
        """Adds one cluster to another, in place."""
        shares = self.sizes[[into, other]] / self.sizes[[into, other]].sum()
        mean = shares @ self.means[[into, other]]
        moved = ((self.means[[into, other]] - mean) ** 2).sum(axis=1)
        self.spreads[into] = shares @ (self.spreads[[into, other]] + moved)
        self.sizes[into] += self.sizes[other]
        self.means[into] = mean


def group_by_face(embeddings: np.ndarray, threshold: float, fixed: np.ndarray | None = None) -> Grouping:
    """Groups photos by average linkage: two groups are one person's as long as their photos are near on average.

    The average is of squared distances (UPGMA over squared Euclidean distances), which the groups' means and spreads
    give exactly, so that nothing quadratic is kept. Two groups can only be joined below the threshold if some pair of
    their photos is that near: so the photos are first split into the connected parts of all such pairs, which is no
    approximation. Within a part nearest neighbours are chained (Murtagh 1983, "A survey of recent advances in
    hierarchical clustering algorithms"). Deterministic.

    Args:
        embeddings: float [n, d], one row a photo.
        threshold: root mean squared distance from which on two groups are two people.
        fixed: int64 [n], people known already, numbered from 0; -1: to be grouped. Known people stay who they are: new
            groups join the nearest of them, if it is near enough.

    Raises:
        EnrolmentError: the threshold is not positive, or values are not finite.
    """
    if not threshold > 0 or not np.isfinite(embeddings).all():
        raise EnrolmentError("grouping by face needs a threshold above 0, and embeddings of finite numbers")
    points = np.asarray(embeddings, np.float64)
    points = points - points.mean(axis=0) if len(points) else points
    labels = np.full(len(points), -1) if fixed is None else fixed.astype(np.int64)
    people = int(labels.max(initial=-1)) + 1
    new = np.flatnonzero(labels < 0)
    labels[new] = people + _clustered(points[new], threshold)
    if people and len(new):
        labels = _joined(points, labels, people, threshold)
    return _judged(points, labels, threshold)


def _clustered(points: np.ndarray, threshold: float) -> np.ndarray:
    """Labels of average linkage, int64 [n], in the order of first rows."""
    labels = np.empty(len(points), np.int64)
    count = 0
    for part in _parts(points, threshold):
        found = _chained(points[part], threshold)
        labels[part] = count + found
        count += int(found.max()) + 1
    return _in_order(labels)


def _parts(points: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Rows of each connected part of the pairs nearer than the threshold. Keeps one label a row, and no pairs."""
    part = np.arange(len(points))
    for top in range(0, len(points), BLOCK):
        rows = _singles(points[top : top + BLOCK])
        for left in range(top, len(points), BLOCK):
            j, i = np.nonzero(rows.gaps(points[left : left + BLOCK]) < threshold**2)
            edges = part[i + top], part[j + left]
            if (edges[0] != edges[1]).any():
                size = int(part.max()) + 1
                graph = coo_matrix((np.ones(len(i), bool), edges), (size, size))
                part = connected_components(graph, directed=False)[1][part]
    order = np.argsort(part, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(part[order])) + 1) if len(points) else []


def _chained(points: np.ndarray, threshold: float) -> np.ndarray:
    """Labels of average linkage cut at the threshold, int64 [n], by chains of nearest neighbours."""
    slot = np.arange(len(points))  # where each row's cluster is
    clusters, labels, count = _singles(points), np.full(len(points), -1), 0
    alive = np.ones(len(points), bool)
    chain: list[int] = []
    while alive.any():
        if alive.sum() < len(alive) / 2:
            kept = np.flatnonzero(alive)
            places = np.cumsum(alive) - 1
            slot = np.where(labels < 0, places[slot], -1)
            clusters, alive, chain = clusters.of(kept), alive[kept], [int(places[link]) for link in chain]
        last = chain[-1] if chain else int(alive.argmax())
        gaps = np.where(alive, clusters.gaps(clusters.means[last : last + 1], clusters.spreads[last])[0], np.inf)
        gaps[last] = np.inf
        nearest = int(gaps.argmin())
        if len(chain) > 1 and gaps[chain[-2]] <= gaps[nearest] + TIE * threshold**2:
            nearest = chain[-2]  # or equals, told apart by rounding alone, would be chained in a circle
        if gaps[nearest] >= threshold**2:  # nor will any union of others be nearer: the cluster is whole
            labels[(slot == last) & (labels < 0)] = count
            count, alive[last], chain = count + 1, False, chain[:-1]
        elif len(chain) > 1 and nearest == chain[-2]:
            clusters.merge(nearest, last)
            slot[slot == last], alive[last], chain = nearest, False, chain[:-2]
        else:
            chain = [*(chain or [last]), nearest]
    return labels


def _joined(points: np.ndarray, labels: np.ndarray, people: int, threshold: float) -> np.ndarray:
    """Labels after new groups, `people` and up, have joined the nearest known person, if that is near enough."""
    clusters = _moments(points, labels)
    known, new = clusters.of(np.arange(people)), clusters.of(np.arange(people, len(clusters.sizes)))
    for top in range(0, len(new.sizes), BLOCK):
        rows = slice(top, top + BLOCK)
        gaps = known.gaps(new.means[rows], new.spreads[rows])
        nearest = gaps.argmin(axis=1)
        near = gaps[np.arange(len(gaps)), nearest] < threshold**2
        becomes = np.where(near, nearest, np.arange(len(gaps)) + people + top)
        theirs = (labels >= people + top) & (labels < people + top + len(gaps))
        labels = np.where(theirs, becomes[np.where(theirs, labels - people - top, 0)], labels)
    fresh = labels >= people
    labels[fresh] = people + _in_order(labels[fresh])
    return labels


def _judged(points: np.ndarray, labels: np.ndarray, threshold: float) -> Grouping:
    """How far the groups are from being others."""
    clusters = _moments(points, labels)
    count = len(clusters.sizes)
    within = 2 * clusters.spreads * clusters.sizes / np.maximum(clusters.sizes - 1, 1)
    nearest, pairs = np.full(count, np.inf), 0
    for top in range(0, count, BLOCK):
        rows = np.arange(top, min(top + BLOCK, count))
        gaps = clusters.gaps(clusters.means[rows], clusters.spreads[rows])
        gaps[rows - top, rows] = np.inf
        nearest[rows] = gaps.min(axis=1)
        pairs += int((gaps < ((1 + MARGIN) * threshold) ** 2).sum())
    photos = 0
    for top in range(0, len(points), BLOCK):
        whose = labels[top : top + BLOCK]
        gaps = clusters.gaps(points[top : top + BLOCK])
        here = np.arange(len(whose)), whose
        own = gaps[here] * clusters.sizes[whose] / np.maximum(clusters.sizes[whose] - 1, 1)
        own[clusters.sizes[whose] == 1] = 0
        gaps[here] = np.inf
        outer = gaps.min(axis=1) < ((1 + MARGIN) * threshold) ** 2
        photos += int((outer | (own > ((1 - MARGIN) * threshold) ** 2)).sum())
    a, b = np.sqrt(within), np.sqrt(nearest)
    with np.errstate(invalid="ignore"):
        margins = np.where(np.isinf(b), 1.0, (b - a) / np.maximum(np.maximum(a, b), 1e-12))
    return Grouping(labels, margins, pairs // 2, photos)


def _singles(points: np.ndarray) -> _Clusters:
    return _Clusters(np.ones(len(points)), points.copy(), np.zeros(len(points)))


def _moments(points: np.ndarray, labels: np.ndarray) -> _Clusters:
    """The clusters of labels 0.. without gaps."""
    sizes = np.bincount(labels).astype(np.float64)
    means = np.zeros((len(sizes), points.shape[1]))
    np.add.at(means, labels, points)
    means /= sizes[:, None]
    spreads = np.bincount(labels, ((points - means[labels]) ** 2).sum(axis=1)) / sizes
    return _Clusters(sizes, means, spreads)


def _in_order(labels: np.ndarray) -> np.ndarray:
    """The same groups, numbered without gaps in the order of their first rows."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]

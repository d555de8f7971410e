"""What `swap` does within a block: exchanges and moves between crowds, at first by chance, then only for the better.

For crowds of fixed size the within-crowd sum of squares changes, when x of A and y of B change places, by sums of
distances to the members of A and B alone; no centre is needed. A crowd's sum of squares is the sum of its members'
pairwise squared distances over its size.
"""

import numpy as np
from numba import njit

MOVES = 0.3  # share of proposals that move a point instead of exchanging two, where sizes allow


@njit(cache=True, nogil=True)
def _crowds(labels: np.ndarray, count: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members of every crowd [count, most + 1], how many they are, and each point's place among them."""
    members = np.full((count, most + 1), -1, np.int64)
    sizes = np.zeros(count, np.int64)
    places = np.zeros(len(labels), np.int64)
    for point in range(len(labels)):
        crowd = labels[point]
        members[crowd, sizes[crowd]] = point
        places[point] = sizes[crowd]
        sizes[crowd] += 1
    return members, sizes, places


@njit(cache=True, nogil=True)
def _move(point, target, labels, members, sizes, places):  # type: ignore[no-untyped-def]
    """Takes a point out of its crowd and puts it into another."""
    crowd = labels[point]
    last = members[crowd, sizes[crowd] - 1]
    members[crowd, places[point]] = last
    places[last] = places[point]
    sizes[crowd] -= 1
    members[target, sizes[target]] = point
    places[point] = sizes[target]
    sizes[target] += 1
    labels[point] = target


@njit(cache=True, nogil=True)
def _exchange(x, y, labels, members, places):  # type: ignore[no-untyped-def]
    """Two points of different crowds change places."""
    a, b = labels[x], labels[y]
    members[a, places[x]], members[b, places[y]] = y, x
    places[x], places[y] = places[y], places[x]
    labels[x], labels[y] = b, a


@njit(cache=True, nogil=True)
def _sum_to(point, crowd, squared, members, sizes):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(sizes[crowd]):
        total += squared[point, members[crowd, i]]
    return total


@njit(cache=True, nogil=True)
def _pair_sums(squared: np.ndarray, members: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """For each crowd the sum of squared distances between its members, each pair once."""
    pairs = np.zeros(len(sizes))
    for crowd in range(len(sizes)):
        for i in range(sizes[crowd]):
            for j in range(i):
                pairs[crowd] += squared[members[crowd, i], members[crowd, j]]
    return pairs


@njit(cache=True, nogil=True)
def anneal(
    squared: np.ndarray,
    near: np.ndarray,
    labels: np.ndarray,
    k: int,
    most: int,
    proposals: int,
    hot: float,
    cold: float,
    rng: np.random.Generator,
) -> None:
    """Simulated annealing (Kirkpatrick et al. 1983): proposes that a point joins the crowd of a near one.

    Args:
        squared: float32 [n, n], squared distances.
        near: int64 [n, q], for each point some that are near to it.
        labels: int64 [n], changed in place; every crowd keeps k to `most` members.
        hot, cold: first and last temperature, in the units of `squared`.
    """
    count = labels.max() + 1
    members, sizes, places = _crowds(labels, count, most)
    pairs = _pair_sums(squared, members, sizes)
    cooling = np.log(cold / hot)
    heat = hot
    for step in range(proposals):
        if step % 1024 == 0:
            heat = hot * np.exp(cooling * step / proposals)
        x = int(rng.random() * len(labels))
        a, b = labels[x], labels[near[x, int(rng.random() * near.shape[1])]]
        if a == b:
            continue
        na, nb = sizes[a], sizes[b]
        to_a, to_b = _sum_to(x, a, squared, members, sizes), _sum_to(x, b, squared, members, sizes)
        if na > k and nb < most and rng.random() < MOVES:
            change = (pairs[a] - to_a) / (na - 1) - pairs[a] / na + (pairs[b] + to_b) / (nb + 1) - pairs[b] / nb
            if change <= 0 or rng.random() < np.exp(-change / heat):
                pairs[a] -= to_a
                pairs[b] += to_b
                _move(x, b, labels, members, sizes, places)
            continue
        y = members[b, int(rng.random() * nb)]
        da = _sum_to(y, a, squared, members, sizes) - squared[x, y] - to_a
        db = to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes)
        change = da / na + db / nb
        if change <= 0 or rng.random() < np.exp(-change / heat):
            pairs[a] += da
            pairs[b] += db
            _exchange(x, y, labels, members, places)


@njit(cache=True, nogil=True)
def improve(squared: np.ndarray, near: np.ndarray, labels: np.ndarray, k: int, most: int, sweeps: int) -> None:
    """For each point the best move or exchange with the crowds of near points, until none makes the loss smaller.

    Args: as of `anneal`.
    """
    count = labels.max() + 1
    members, sizes, places = _crowds(labels, count, most)
    pairs = _pair_sums(squared, members, sizes)
    look = np.ones(len(labels), np.bool_)  # points whose crowd, or whose neighbours' crowds, have changed
    seen = np.full(count, -1, np.int64)
    for sweep in range(sweeps):
        changed = False
        for x in range(len(labels)):
            if not look[x]:
                continue
            a = labels[x]
            na = sizes[a]
            to_a = _sum_to(x, a, squared, members, sizes)
            best, best_crowd, best_point = -1e-7, -1, -1
            for i in range(near.shape[1]):
                b = labels[near[x, i]]
                if b == a or seen[b] == sweep * len(labels) + x:
                    continue
                seen[b] = sweep * len(labels) + x
                nb = sizes[b]
                to_b = _sum_to(x, b, squared, members, sizes)
                if na > k and nb < most:
                    change = (pairs[a] - to_a) / (na - 1) - pairs[a] / na
                    change += (pairs[b] + to_b) / (nb + 1) - pairs[b] / nb
                    if change < best:
                        best, best_crowd, best_point = change, b, -1
                for j in range(nb):
                    y = members[b, j]
                    da = _sum_to(y, a, squared, members, sizes) - squared[x, y] - to_a
                    db = to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes)
                    change = da / na + db / nb
                    if change < best:
                        best, best_crowd, best_point = change, b, y
            if best_crowd < 0:
                look[x] = False
                continue
            changed = True
            b = best_crowd
            to_b = _sum_to(x, b, squared, members, sizes)
            if best_point < 0:
                pairs[a] -= to_a
                pairs[b] += to_b
                _move(x, b, labels, members, sizes, places)
            else:
                y = best_point
                pairs[a] += _sum_to(y, a, squared, members, sizes) - squared[x, y] - to_a
                pairs[b] += to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes)
                _exchange(x, y, labels, members, places)
            for crowd in (a, b):
                for i in range(sizes[crowd]):
                    look[members[crowd, i]] = True
        if not changed:
            break


@njit(cache=True, nogil=True)
def _farthest(distances, left):  # type: ignore[no-untyped-def]
    """Who of those left is farthest."""
    best = -1
    for i in range(len(left)):
        if left[i] and (best < 0 or distances[i] > distances[best]):
            best = i
    return best


@njit(cache=True, nogil=True)
def _take(distances, left, count, crowd, labels, points, total):  # type: ignore[no-untyped-def]
    """The nearest `count` of those left become a crowd."""
    remaining = np.flatnonzero(left)
    nearest = remaining[np.argsort(distances[remaining])[:count]]
    for point in nearest:
        labels[point] = crowd
        left[point] = False
        total -= points[point]


@njit(cache=True, nogil=True)
def peel(points: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
    """MDAV (mdav.py) on distances that are known: crowds of k around the two points farthest apart, again and again.

    Args:
        points: float32 [n, d], n >= 2k, their mean near 0.
        squared: float32 [n, n], squared distances.

    Returns:
        labels int64 [n]; crowds hold k..2k-1 members.
    """
    n = len(points)
    labels = np.full(n, -1, np.int64)
    left = np.ones(n, np.bool_)
    total = np.zeros(points.shape[1])
    for i in range(n):
        total += points[i]
    norms = np.zeros(n)
    for i in range(n):
        for t in range(points.shape[1]):
            norms[i] += points[i, t] ** 2
    count, crowd = n, 0
    while count >= 2 * k:
        to_mean = np.empty(n)
        mean = total / count
        for i in range(n):
            along = 0.0
            for t in range(points.shape[1]):
                along += points[i, t] * mean[t]
            to_mean[i] = norms[i] - 2 * along
        far = _farthest(to_mean, left)
        farthest = _farthest(squared[far], left)
        _take(squared[far], left, k, crowd, labels, points, total)
        crowd += 1
        count -= k
        if count >= 2 * k:
            if not left[farthest]:
                farthest = _farthest(squared[far], left)
            _take(squared[farthest], left, k, crowd, labels, points, total)
            crowd += 1
            count -= k
    for i in range(n):
        if left[i]:
            labels[i] = crowd
    return labels

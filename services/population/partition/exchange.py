"""What `swap` does within a block: exchanges and moves between crowds, at first by chance, then only for the better.

For crowds of fixed size the within-crowd sum of squares changes, when x of A and y of B change places, by sums of
distances to the members of A and B alone; no centre is needed. A crowd's sum of squares is the sum of its members'
pairwise squared distances over its size. Where crowds are large, everyone's sums to every crowd stand in a table, else
that is None, and what is compiled knows nothing of it.
"""

import numpy as np
from numba import njit

MOVES = 0.3  # share of proposals that move a point instead of exchanging two, where sizes allow
TABLE = 40  # k from which on a table is kept: to add up as many distances takes longer than to keep it


def table_of(squared: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray | None:
    """Sums of squared distances, float64 [crowds, n], where it pays to keep them."""
    if k < TABLE:
        return None
    table = np.zeros((labels.max() + 1, len(labels)))
    for point, crowd in enumerate(labels):
        table[crowd] += squared[point]
    return table


@njit(cache=True, nogil=True)
def _crowds(labels, most):  # type: ignore[no-untyped-def]
    """Members of every crowd [crowds, most + 1], how many they are, and each point's place among them."""
    count = labels.max() + 1
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
def _move(point, target, squared, labels, members, sizes, places, table):  # type: ignore[no-untyped-def]
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
    if table is not None:
        table[crowd] -= squared[point]
        table[target] += squared[point]


@njit(cache=True, nogil=True)
def _exchange(x, y, squared, labels, members, places, table):  # type: ignore[no-untyped-def]
    """Two points of different crowds change places."""
    a, b = labels[x], labels[y]
    members[a, places[x]], members[b, places[y]] = y, x
    places[x], places[y] = places[y], places[x]
    labels[x], labels[y] = b, a
    if table is not None:
        for i in range(len(labels)):
            change = np.float64(squared[y, i]) - squared[x, i]
            table[a, i] += change
            table[b, i] -= change


@njit(cache=True, nogil=True)
def _sum_to(point, crowd, squared, members, sizes, table):  # type: ignore[no-untyped-def]
    """Of squared distances from a point to the members of a crowd."""
    if table is not None:
        return table[crowd, point]
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
    table: np.ndarray | None,
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
        table: of these labels, changed in place; see `table_of`.
        hot, cold: first and last temperature, in the units of `squared`.
    """
    members, sizes, places = _crowds(labels, most)
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
        to_a, to_b = _sum_to(x, a, squared, members, sizes, table), _sum_to(x, b, squared, members, sizes, table)
        if na > k and nb < most and rng.random() < MOVES:
            change = (pairs[a] - to_a) / (na - 1) - pairs[a] / na + (pairs[b] + to_b) / (nb + 1) - pairs[b] / nb
            if change <= 0 or rng.random() < np.exp(-change / heat):
                pairs[a] -= to_a
                pairs[b] += to_b
                _move(x, b, squared, labels, members, sizes, places, table)
            continue
        y = members[b, int(rng.random() * nb)]
        da = _sum_to(y, a, squared, members, sizes, table) - squared[x, y] - to_a
        db = to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes, table)
        change = da / na + db / nb
        if change <= 0 or rng.random() < np.exp(-change / heat):
            pairs[a] += da
            pairs[b] += db
            _exchange(x, y, squared, labels, members, places, table)


@njit(cache=True, nogil=True)
def exchanges(
    squared: np.ndarray,
    near: np.ndarray,
    labels: np.ndarray,
    table: np.ndarray | None,
    most: int,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """What exchanges that `anneal` may propose would add to the loss: float64 [count], of those that add anything.

    Fewer if it takes long to find them. Args: as of `anneal`.
    """
    members, sizes, _ = _crowds(labels, most)
    added = np.empty(count)
    found = 0
    for _ in range(20 * count):
        x = int(rng.random() * len(labels))
        a, b = labels[x], labels[near[x, int(rng.random() * near.shape[1])]]
        if a == b:
            continue
        y = members[b, int(rng.random() * sizes[b])]
        da = _sum_to(y, a, squared, members, sizes, table) - _sum_to(x, a, squared, members, sizes, table)
        db = _sum_to(x, b, squared, members, sizes, table) - _sum_to(y, b, squared, members, sizes, table)
        change = (da - squared[x, y]) / sizes[a] + (db - squared[x, y]) / sizes[b]
        if change > 0:
            added[found] = change
            found += 1
            if found == count:
                break
    return added[:found]


@njit(cache=True, nogil=True)
def improve(
    squared: np.ndarray,
    near: np.ndarray,
    labels: np.ndarray,
    table: np.ndarray | None,
    k: int,
    most: int,
    sweeps: int,
    least: float,
) -> None:
    """For each point the best move or exchange with the crowds of near points, until none makes the loss smaller.

    Args: as of `anneal`.
        least: what counts as a gain, in the units of `squared`.
    """
    members, sizes, places = _crowds(labels, most)
    pairs = _pair_sums(squared, members, sizes)
    look = np.ones(len(labels), np.bool_)  # points whose crowd, or whose neighbours' crowds, have changed
    seen = np.full(len(sizes), -1, np.int64)
    for sweep in range(sweeps):
        changed = False
        for x in range(len(labels)):
            if not look[x]:
                continue
            a = labels[x]
            na = sizes[a]
            to_a = _sum_to(x, a, squared, members, sizes, table)
            best, best_crowd, best_point = -least, -1, -1
            for i in range(near.shape[1]):
                b = labels[near[x, i]]
                if b == a or seen[b] == sweep * len(labels) + x:
                    continue
                seen[b] = sweep * len(labels) + x
                nb = sizes[b]
                to_b = _sum_to(x, b, squared, members, sizes, table)
                if na > k and nb < most:
                    change = (pairs[a] - to_a) / (na - 1) - pairs[a] / na
                    change += (pairs[b] + to_b) / (nb + 1) - pairs[b] / nb
                    if change < best:
                        best, best_crowd, best_point = change, b, -1
                for j in range(nb):
                    y = members[b, j]
                    da = _sum_to(y, a, squared, members, sizes, table) - squared[x, y] - to_a
                    db = to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes, table)
                    change = da / na + db / nb
                    if change < best:
                        best, best_crowd, best_point = change, b, y
            if best_crowd < 0:
                look[x] = False
                continue
            changed = True
            b = best_crowd
            to_b = _sum_to(x, b, squared, members, sizes, table)
            if best_point < 0:
                pairs[a] -= to_a
                pairs[b] += to_b
                _move(x, b, squared, labels, members, sizes, places, table)
            else:
                y = best_point
                pairs[a] += _sum_to(y, a, squared, members, sizes, table) - squared[x, y] - to_a
                pairs[b] += to_b - squared[x, y] - _sum_to(y, b, squared, members, sizes, table)
                _exchange(x, y, squared, labels, members, places, table)
            for crowd in (a, b):
                for i in range(sizes[crowd]):
                    look[members[crowd, i]] = True
        if not changed:
            break


@njit(cache=True, nogil=True)
def _cheapest(x, squared, labels, members, sizes, pairs, table, most):  # type: ignore[no-untyped-def]
    """The crowd with room where a point costs least, what that is, and the sum of distances to it; -1: none."""
    best, cost, to_best = -1, np.inf, 0.0
    for b in range(len(sizes)):
        if b != labels[x] and 0 < sizes[b] < most:
            to_b = _sum_to(x, b, squared, members, sizes, table)
            change = (pairs[b] + to_b) / (sizes[b] + 1) - pairs[b] / sizes[b]
            if change < cost:
                best, cost, to_best = b, change, to_b
    return best, cost, to_best


@njit(cache=True, nogil=True)
def dissolve(squared: np.ndarray, labels: np.ndarray, table: np.ndarray | None, most: int, least: float) -> int:
    """Ends crowds whose members lose less in others, as those that lie across two groups of people do.

    Args: as of `improve`; labels are changed in place, and those of ended crowds are left out.

    Returns:
        How many crowds were ended.
    """
    members, sizes, places = _crowds(labels, most)
    pairs = _pair_sums(squared, members, sizes)
    ended = 0
    for a in range(len(sizes)):
        people, before = members[a, : sizes[a]].copy(), pairs.copy()
        left = pairs[a] / sizes[a] - least  # of what the crowd may cost elsewhere
        for x in people:
            b, cost, to_b = _cheapest(x, squared, labels, members, sizes, pairs, table, most)
            left -= cost
            if left <= 0:
                break
            pairs[b] += to_b
            _move(x, b, squared, labels, members, sizes, places, table)
        if left > 0:
            ended += 1
            continue
        for x in people:
            if labels[x] != a:
                _move(x, a, squared, labels, members, sizes, places, table)
        pairs[:] = before
    return ended


@njit(cache=True, nogil=True)
def spreads(squared: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """For each crowd the mean squared distance of its members to their mean: float64 [crowds]."""
    members, sizes, _ = _crowds(labels, most)
    return _pair_sums(squared, members, sizes) / sizes**2

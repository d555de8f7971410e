"""Exchanges and moves between crowds that a sensitive attribute has a say in: those that repair, those that improve.

Costs are changes of the within-crowd sum of squares, from crowds' sums alone: no table of all pairs is held. All is in
one file, since numba's cache does not see changes of others.
"""

import numpy as np
from numba import njit

from services.population.constraints.crowds import Crowds

MOVES = 0.3  # share of proposals that move a point instead of exchanging two, where sizes allow


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True)
def _held(code, crowd, but, i, c):  # type: ignore[no-untyped-def]
    """Whether a member of a crowd, other than one, has a value of attribute i."""
    for j in range(c.sizes[crowd]):
        other = c.members[crowd, j]
        if other != but and c.codes[i, other] == code:
            return True
    return False


@njit(cache=True)
def _gained(leaver, comer, crowd, i, c):  # type: ignore[no-untyped-def]
    """How many distinct values of attribute i a crowd gains when one leaves and another comes (-1: nobody)."""
    left = c.codes[i, leaver] if leaver >= 0 else -1
    came = c.codes[i, comer] if comer >= 0 else -1
    if left == came:
        return 0
    gain = 0
    if left >= 0 and not _held(left, crowd, leaver, i, c):
        gain -= 1
    if came >= 0 and not _held(came, crowd, leaver, i, c):
        gain += 1
    return gain


@njit(cache=True)
def _changes(x, y, b, c):  # type: ignore[no-untyped-def]
    """What x joining crowd b, and y (-1: nobody) x's, does to the values crowds lack, and to those they hold."""
    lack, hold = 0, 0
    for i in range(len(c.wanted)):
        for crowd, leaver, comer in ((c.labels[x], x, y), (b, y, x)):
            now = c.distinct[crowd, i]
            then = now + _gained(leaver, comer, crowd, i, c)
            lack += max(0, c.wanted[i] - then) - max(0, c.wanted[i] - now)
            hold += then - now
    return lack, hold


@njit(cache=True)
def added_loss(x, y, b, to_b, c):  # type: ignore[no-untyped-def]
    """What x joining crowd b, and y (-1: nobody) x's, adds to the sum of squares; `to_b` is x times the sum of b."""
    a = c.labels[x]
    na, nb = c.sizes[a], c.sizes[b]
    if y < 0:
        from_a = c.squares[x] - 2 * c.own[x] / na + c.powers[a] / na**2
        from_b = c.squares[x] - 2 * to_b / nb + c.powers[b] / nb**2
        return from_b * nb / (nb + 1) - from_a * na / (na - 1)
    apart = c.squares[x] + c.squares[y] - 2 * _dot(c.points[x], c.points[y])
    change = -(2 * (_dot(c.points[y], c.sums[a]) - c.own[x]) + apart) / na
    return change - (2 * (to_b - c.own[y]) + apart) / nb


@njit(cache=True)
def _leave(x, a, c):  # type: ignore[no-untyped-def]
    for i in range(len(c.wanted)):
        c.distinct[a, i] += _gained(x, -1, a, i, c)
    c.sizes[a] -= 1
    last = c.members[a, c.sizes[a]]
    c.members[a, c.places[x]], c.places[last] = last, c.places[x]
    c.sums[a] -= c.points[x]


@njit(cache=True)
def _join(x, b, c):  # type: ignore[no-untyped-def]
    for i in range(len(c.wanted)):
        c.distinct[b, i] += _gained(-1, x, b, i, c)
    c.members[b, c.sizes[b]], c.places[x] = x, c.sizes[b]
    c.sizes[b] += 1
    c.sums[b] += c.points[x]
    c.labels[x] = b


@njit(cache=True)
def place(x, y, b, c):  # type: ignore[no-untyped-def]
    """x joins crowd b; y, if there is one, takes x's place in the crowd that x leaves."""
    a = c.labels[x]
    _leave(x, a, c)
    if y >= 0:
        _leave(y, b, c)
        _join(y, a, c)
    _join(x, b, c)
    for crowd in (a, b):
        c.powers[crowd] = _dot(c.sums[crowd], c.sums[crowd])
        for i in range(c.sizes[crowd]):
            member = c.members[crowd, i]
            c.own[member] = _dot(c.points[member], c.sums[crowd])


@njit(cache=True)
def _brings(y, a, c):  # type: ignore[no-untyped-def]
    """Whether y has a value that crowd a lacks."""
    for i in range(len(c.wanted)):
        code = c.codes[i, y]
        if code >= 0 and c.distinct[a, i] < c.wanted[i] and not _held(code, a, -1, i, c):
            return True
    return False


@njit(cache=True)
def _best_repair(a, crowds, c):  # type: ignore[no-untyped-def]
    """The exchange of crowd a with one of some that costs least for each value it brings; -1: there is none."""
    best, best_x, best_y = np.inf, -1, -1
    for b in crowds:
        for t in range(c.sizes[b]):
            y = c.members[b, t]
            if b == a or not _brings(y, a, c):
                continue
            for j in range(c.sizes[a]):
                x = c.members[a, j]
                lack, _ = _changes(x, y, b, c)
                if lack < 0:
                    cost = added_loss(x, y, b, _dot(c.points[x], c.sums[b]), c) / -lack
                    if cost < best:
                        best, best_x, best_y = cost, x, y
    return best_x, best_y


@njit(cache=True)
def _takes(x, b, c):  # type: ignore[no-untyped-def]
    """Who of crowd b can change places with x so that more values are held, and none lacks more; -1: nobody."""
    for t in range(c.sizes[b]):
        lack, hold = _changes(x, c.members[b, t], b, c)
        if lack <= 0 and hold > 0:
            return c.members[b, t]
    return -1


@njit(cache=True)
def _spread(c):  # type: ignore[no-untyped-def]
    """Takes values that a crowd holds twice to crowds that have them not, at nobody's expense: repairs may follow."""
    some = False
    for i in range(len(c.wanted)):
        holders = np.zeros(c.codes[i].max() + 1, np.int64)  # crowds that hold a value
        for crowd in range(len(c.sizes)):
            for code in np.unique(c.codes[i][c.members[crowd, : c.sizes[crowd]]]):
                if code >= 0:
                    holders[code] += 1
        for x in range(len(c.labels)):
            code = c.codes[i, x]
            if code < 0 or holders[code] == len(c.sizes) or not _held(code, c.labels[x], x, i, c):
                continue
            for b in range(len(c.sizes)):
                if not _held(code, b, -1, i, c):
                    y = _takes(x, b, c)
                    if y >= 0:
                        place(x, y, b, c)
                        holders[code] += 1
                        some = True
                        break
    return some


@njit(cache=True)
def repair(near: np.ndarray, c: Crowds) -> bool:
    """Exchanges that bring crowds the values they lack, each the cheapest with near crowds, else with all.

    `near` is int64 [crowds, q], for each crowd some that are near to it. Answers whether nothing is lacking now.
    """
    everyone = np.arange(len(c.sizes))
    while True:
        lacking, progress = False, False
        for a in range(len(c.sizes)):
            while (c.distinct[a] < c.wanted).any():
                x, y = _best_repair(a, near[a], c)
                if x < 0:
                    x, y = _best_repair(a, everyone, c)
                if x < 0:
                    lacking = True
                    break
                place(x, y, c.labels[y], c)
                progress = True
        if not progress and not (lacking and _spread(c)):
            return not lacking


@njit(cache=True)
def anneal(
    near: np.ndarray, c: Crowds, k: int, most: int, proposals: int, hot: float, cold: float, rng: np.random.Generator
) -> None:
    """Simulated annealing (Kirkpatrick et al. 1983) among partitions in which nothing is lacking; see `improve`."""
    cooling, heat = np.log(cold / hot), hot
    for step in range(proposals):
        if step % 1024 == 0:
            heat = hot * np.exp(cooling * step / proposals)
        x = int(rng.random() * len(c.labels))
        a, b, y = c.labels[x], near[x, int(rng.random() * near.shape[1])], -1
        if a == b:
            continue
        if c.sizes[a] <= k or c.sizes[b] >= most or rng.random() >= MOVES:
            y = c.members[b, int(rng.random() * c.sizes[b])]
        cost = added_loss(x, y, b, _dot(c.points[x], c.sums[b]), c)
        if (cost <= 0 or rng.random() < np.exp(-cost / heat)) and _changes(x, y, b, c)[0] <= 0:
            place(x, y, b, c)


@njit(cache=True)
def improve(near: np.ndarray, c: Crowds, k: int, most: int, sweeps: int, least: float) -> None:
    """For each point the best move or exchange with near crowds that leaves nothing lacking, until none gains.

    Args:
        near: int64 [n, q], for each point some crowds that are near to it.
        c: crowds that lack nothing.
        k, most: sizes that moves may lead to.
        least: what counts as a gain.
    """
    look = np.ones(len(c.labels), np.bool_)  # points whose crowd has changed
    for _ in range(sweeps):
        if not look.any():
            break
        for x in range(len(c.labels)):
            if not look[x]:
                continue
            look[x], a = False, c.labels[x]
            best, to, other = -least, -1, -1
            for b in near[x][near[x] != a]:
                to_b = _dot(c.points[x], c.sums[b])
                for t in range(-1 if c.sizes[a] > k and c.sizes[b] < most else 0, c.sizes[b]):
                    y = c.members[b, t] if t >= 0 else -1
                    cost = added_loss(x, y, b, to_b, c)
                    if cost < best and _changes(x, y, b, c)[0] <= 0:
                        best, to, other = cost, b, y
            if to >= 0:
                place(x, other, to, c)
                for crowd in (a, to):
                    look[c.members[crowd, : c.sizes[crowd]]] = True

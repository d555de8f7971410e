"""Which candidate every crowd takes: the least loss in all, with no more members recognised than the budget.

A candidate is (cost, below): the sum of squared distances of its crowd's members, and how many of them it lets
recognise. The choice is a knapsack with one item of each crowd: exact by dynamic programming where that is cheap,
else along the lower convex hulls (Lagrange), then repaired with what is left of the budget.
"""

from collections.abc import Sequence

import numpy as np

Candidate = tuple[float, int]
MOST_CELLS = 20_000_000  # of the exact table


def pareto(candidates: Sequence[Candidate]) -> list[int]:
    """The candidates that no other one beats in both, most recognised first; of equals the first."""
    kept: list[int] = []
    fewest = np.inf
    for i in sorted(range(len(candidates)), key=lambda i: (candidates[i], i)):
        if candidates[i][1] < fewest:
            kept.append(i)
            fewest = candidates[i][1]
    return kept


def cheapest(candidates: Sequence[Candidate], price: float) -> int:
    """The candidate with the least cost, if every member recognised costs `price`; the fewer recognised of equals."""
    return min(range(len(candidates)), key=lambda i: (candidates[i][0] + price * candidates[i][1], candidates[i][1], i))


def price_of(crowds: Sequence[Sequence[Candidate]], budget: int, least: float, most: float) -> float:
    """What a member recognised has to cost for all crowds together to stay within the budget; `most` if none is enough.

    Prices are powers of sqrt(2) times `least`.
    """
    price = least
    while price < most:
        if sum(c[cheapest(c, price)][1] for c in crowds) <= budget:
            return price
        price *= 2**0.5
    return most


def choose_within(crowds: Sequence[Sequence[Candidate]], budget: int, most_cells: int = MOST_CELLS) -> list[int]:
    """One candidate of every crowd, at the least cost in all with at most `budget` members recognised.

    Where that cannot be had: with as few recognised as can be, and of those at the least cost.

    Returns:
        The number of each crowd's candidate.
    """
    fronts = [pareto(candidates) for candidates in crowds]
    fewest = sum(candidates[front[-1]][1] for candidates, front in zip(crowds, fronts, strict=True))
    if fewest >= budget:  # nothing to choose: the last of a front has the fewest
        return [front[-1] for front in fronts]
    most = sum(candidates[front[0]][1] for candidates, front in zip(crowds, fronts, strict=True))
    budget = min(budget, most)
    kept = [[candidates[i] for i in front] for candidates, front in zip(crowds, fronts, strict=True)]
    picks = _exact(kept, budget) if len(crowds) * (budget + 1) <= most_cells else _along_hulls(kept, budget)
    return [front[pick] for front, pick in zip(fronts, picks, strict=True)]


def _exact(crowds: Sequence[Sequence[Candidate]], budget: int) -> list[int]:
    best = np.zeros(budget + 1)  # least cost of the crowds so far, by what they may use of the budget
    picked = np.zeros((len(crowds), budget + 1), np.int16)
    for number, candidates in enumerate(crowds):
        found = np.full(budget + 1, np.inf)
        for i, (cost, below) in enumerate(candidates):
            if below <= budget:
                total = best[: budget + 1 - below] + cost
                better = total < found[below:]
                found[below:][better] = total[better]
                picked[number, below:][better] = i
        best = found
    picks, left = [], budget
    for number in range(len(crowds) - 1, -1, -1):
        picks.append(int(picked[number, left]))
        left -= crowds[number][picks[-1]][1]
    return picks[::-1]


def _along_hulls(crowds: Sequence[Sequence[Candidate]], budget: int) -> list[int]:
    """Fewer recognised where each costs least, until the budget holds; then back where the rest of it allows."""
    picks = [0] * len(crowds)
    steps = sorted(step for number, candidates in enumerate(crowds) for step in _hull(candidates, number))
    over = sum(candidates[0][1] for candidates in crowds) - budget
    for _, number, start, end in steps:
        if over <= 0:
            break
        over -= crowds[number][start][1] - crowds[number][end][1]
        picks[number] = end
    savings = sorted(
        (crowds[number][pick][0] - cost, number, i)
        for number, pick in enumerate(picks)
        for i, (cost, _) in enumerate(crowds[number][:pick])
    )
    for saving, number, i in reversed(savings):
        more = crowds[number][i][1] - crowds[number][picks[number]][1]
        if saving > 0 and i < picks[number] and more <= -over:
            over += more
            picks[number] = i
    return picks


def _hull(candidates: Sequence[Candidate], number: int) -> list[tuple[float, int, int, int]]:
    """Steps (cost of one fewer recognised, crowd, from, to) along a front's lower convex hull, cheapest first."""
    steps: list[tuple[float, int, int, int]] = []
    start, steepest = 0, 0.0
    while start < len(candidates) - 1:
        cost, below = candidates[start]
        slope, end = min(((c - cost) / (below - b), -i) for i, (c, b) in enumerate(candidates) if i > start)
        steepest = max(steepest, slope)  # rounding must not change the order of a crowd's steps
        steps.append((steepest, number, start, -end))
        start = -end
    return steps

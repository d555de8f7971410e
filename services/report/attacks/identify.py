"""Distances -> how often the right person is among the first, ties by expectation."""

import numpy as np

from services.report.attacks.pairs import TIE, Pairs


def credit(pairs: Pairs, rank: int) -> np.ndarray:
    """The chance that each probe's own person is among the first `rank`, where ties are ordered at random: float64 [p].

    With b people nearer and t as near, the person's own among these, the own one takes places b + 1 to b + t alike:
    min(max((rank - b) / t, 0), 1). A member of a crowd of k whose faces are all the same gets 1/k at rank 1.
    """
    gained = np.empty(len(pairs.own))
    own = pairs.genuine
    for rows in pairs.blocks():
        beyond = pairs.steps[rows] - own[rows, None]  # both are at least 0, so the difference does not overflow
        nearer = (beyond < -TIE).sum(axis=1)
        tied = (beyond <= TIE).sum(axis=1) - nearer
        gained[rows] = np.clip((rank - nearer) / tied, 0, 1)
    return gained

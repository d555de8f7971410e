"""Composition: who has two releases of the same people looks for whom both surrogates can stand."""

from collections.abc import Mapping

import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.results import Figure, SystemAttack


def composition(first: Mapping[str, int], second: Mapping[str, int], k: int, other: str, seed: int) -> SystemAttack:
    """Intersects the crowds of the people who are in both.

    Args:
        first, second: name -> crowd, in this release and in the other one.
        k: that both have, the smaller one.
        other: name of the other release.
    """
    asks, holds = (
        "Who is it that has this surrogate here and that one there?",
        f"This release and {other}, and which photos belong together.",
    )
    names = sorted(first.keys() & second.keys())
    if len(names) < 2:
        why = "fewer than two people are in both"
        return SystemAttack(
            f"composition with {other}", asks, holds, False, (Figure("singled out", why, None),), f"Not tried: {why}."
        )
    pairs = np.array([(first[name], second[name]) for name in names])
    _, group, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    left = sizes[group.ravel()]
    people = np.arange(len(names))
    alone = estimate_mean((left == 1).astype(np.float64), people, seed)
    below = estimate_mean((left < k).astype(np.float64), people, seed)
    figures = (
        Figure("singled out", "share of people who are alone in both crowds", alone.value, alone),
        Figure("left with fewer than k", f"share of people, k = {k}", below.value, below),
        Figure("people left, median", "for whom both surrogates can stand", float(np.median(left))),
    )
    verdict = (
        "Nobody is left with fewer than k people by both releases together."
        if below.value == 0
        else f"{alone.value:.0%} of people are singled out by both releases together, {below.value:.0%} are left with "
        "fewer than k: publish one release of a population, and withdraw it before another."
    )
    return SystemAttack(f"composition with {other}", asks, holds, False, figures, verdict)

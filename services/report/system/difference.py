"""Differencing: k-1 people of a crowd, or who knows them, subtract themselves from what stands for all of it."""

from collections.abc import Mapping

import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.results import Estimate, Figure, SystemAttack

INDEX, SURROGATE = "difference", "difference without the index"
ASKS = "Who is the last person of this crowd?"
_HELD = {
    INDEX: "The index, which crowd it is, and photos of all its other people, who may work together; {}.",
    SURROGATE: "The release, which crowd it is, and photos of all its other people; no index. The surrogate is taken "
    "for the mean of its crowd; {}.",
}


def differencing(
    embeddings: np.ndarray,
    crowds: np.ndarray,
    stands_for: Mapping[int, np.ndarray],
    sizes: np.ndarray,
    recogniser: str,
    seed: int,
    name: str = INDEX,
) -> SystemAttack:
    """Computes each person from what stands for the crowd and all others of it, and looks the result up.

    Who is known to be another of the crowd is not looked for. A surrogate's embedding is brought to the length that the
    mean of the others has: a mean of faces is shorter than a face, most of all where a recogniser gives every face the
    same length.

    Args:
        embeddings: float [n, d], one vector a person, from photos that somebody has.
        crowds: int [n]. People of whose crowd not all are here are not asked for: more than they would be left.
        stands_for: by crowd, float [d]: its centroid as the index has it, or its surrogate as a recogniser sees it.
        sizes: int [c], people of each crowd.
        recogniser: whose embeddings these are.
        name: INDEX or SURROGATE: which of the two it is.
    """
    points, holds = embeddings.astype(np.float64), _HELD[name].format(recogniser)
    whole = np.bincount(crowds, minlength=len(sizes))[crowds] == sizes[crowds]
    whole &= np.isin(crowds, list(stands_for)) & (sizes[crowds] > 1)
    if not whole.any():
        why = "of no crowd are all people in these photos, and something that stands for it"
        return SystemAttack(name, ASKS, holds, False, (Figure("named right", why, None),), f"Not tried: {why}.")
    hits, nearness, chances = [], [], []
    for person in np.flatnonzero(whole).tolist():
        others = (crowds == crowds[person]) & (np.arange(len(crowds)) != person)
        mean = np.asarray(stands_for[int(crowds[person])], np.float64)
        if name == SURROGATE:
            mean = mean * np.linalg.norm(points[others].mean(axis=0)) / max(float(np.linalg.norm(mean)), 1e-12)
        apart = np.linalg.norm(points - (mean * (others.sum() + 1) - points[others].sum(axis=0)), axis=1)
        nearness.append(float(apart[person]))
        apart[others] = np.inf
        hits.append(float(apart.argmin() == person))
        chances.append(1 / (len(points) - int(others.sum())))
    share = estimate_mean(np.array(hits), crowds[whole], seed)  # one mean stands for all of a crowd: crowds are drawn
    chance = float(np.mean(chances))
    figures = (
        Figure("named right", "share of people who are the nearest to what is left of their crowd", share.value, share),
        Figure("chance", "one of those who are in these photos and not known to be another", chance),
        Figure("median distance", f"of what is left to the person, by {recogniser}", float(np.median(nearness))),
    )
    return SystemAttack(name, ASKS, holds, False, figures, _verdict(name, share, chance))


def _verdict(name: str, share: Estimate, chance: float) -> str:
    if name == INDEX:
        return (
            f"{share.as_share} of people are found by whoever knows all others of their crowd and has the index: k "
            "holds against those who know fewer. Keep the index from people who are in it."
        )
    more = (
        "a surrogate looks like the mean of its crowd."
        if share.low > chance
        else f"not more than by guessing ({chance:.1%}), as far as so many crowds can tell."
    )
    return f"{share.as_share} of people are found by whoever knows all others of their crowd, without the index: {more}"

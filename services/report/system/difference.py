"""Differencing: k-1 people of a crowd, or who knows them, subtract themselves from what stands for all of it."""

from collections.abc import Mapping

import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.results import Figure, SystemAttack

INDEX, SURROGATE = "difference", "difference without the index"
_HELD = {
    INDEX: "The index, which crowd it is, and photos of all its other people, who may work together.",
    SURROGATE: "The release, which crowd it is, and photos of all its other people; no index. The surrogate is taken "
    "for the mean of its crowd.",
}
_MEANS = {
    INDEX: "k holds against those who know fewer. Keep the index from people who are in it.",
    SURROGATE: "what a surrogate gives away beyond its crowd.",
}


def differencing(
    embeddings: np.ndarray,
    crowds: np.ndarray,
    stands_for: Mapping[int, np.ndarray],
    sizes: np.ndarray,
    seed: int,
    name: str = INDEX,
) -> SystemAttack:
    """Computes each person from what stands for the crowd and all others of it, and looks the result up.

    Who is known to be another of the crowd is not looked for. A surrogate's embedding is brought to the length that the
    mean of the others has: recognisers give every face the same length, and a mean of faces is shorter.

    Args:
        embeddings: float [n, d], one vector a person, from photos that somebody has.
        crowds: int [n]. People of whose crowd not all are here are not asked for: more than they would be left.
        stands_for: by crowd, float [d]: its centroid as the index has it, or its surrogate as a recogniser sees it.
        sizes: int [c], people of each crowd.
        name: INDEX or SURROGATE: which of the two it is.
    """
    asks, points = "Who is the last person of this crowd?", embeddings.astype(np.float64)
    whole = np.bincount(crowds, minlength=len(sizes))[crowds] == sizes[crowds]
    whole &= np.isin(crowds, list(stands_for)) & (sizes[crowds] > 1)
    if not whole.any():
        why = "of no crowd are all people in these photos"
        return SystemAttack(name, asks, _HELD[name], False, (Figure("named right", why, None),), f"Not tried: {why}.")
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
    share = estimate_mean(np.array(hits), np.arange(len(hits)), seed)
    figures = (
        Figure("named right", "share of people who are the nearest to what is left of their crowd", share.value, share),
        Figure("chance", "one of those who are in these photos and not known to be another", float(np.mean(chances))),
        Figure("median distance", "of what is left to the person, by this recogniser", float(np.median(nearness))),
    )
    has = " and has the index" if name == INDEX else ""
    return SystemAttack(
        name,
        asks,
        _HELD[name],
        False,
        figures,
        f"{share.value:.0%} of people are found by whoever knows all others of their crowd{has}: {_MEANS[name]}",
    )

"""Differencing: k-1 people of a crowd, or who knows them, subtract themselves from its mean."""

import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.results import Figure, SystemAttack


def differencing(
    embeddings: np.ndarray, crowds: np.ndarray, centroids: dict[int, np.ndarray], sizes: np.ndarray, seed: int
) -> SystemAttack:
    """Computes each person from the crowd's centroid and all others of it, and looks the result up among everybody.

    Args:
        embeddings: float [n, d], one vector a person, from photos that somebody has.
        crowds: int [n]. People of whose crowd not all are here are not asked for: more than they would be left.
        centroids: by crowd, float [d], as the index has them.
        sizes: int [c], people of each crowd.
    """
    asks, holds = (
        "Who is the last person of this crowd?",
        "The index, which crowd it is, and photos of all its other people, who may work together.",
    )
    whole = np.bincount(crowds, minlength=len(sizes))[crowds] == sizes[crowds]
    if not whole.any():
        why = "of no crowd are all people in these photos"
        return SystemAttack("difference", asks, holds, False, (Figure("named right", why, None),), f"Not tried: {why}.")
    hits, nearness = [], []
    for person in np.flatnonzero(whole).tolist():
        crowd = int(crowds[person])
        others = embeddings[(crowds == crowd) & (np.arange(len(crowds)) != person)].astype(np.float64)
        guess = centroids[crowd] * (len(others) + 1) - others.sum(axis=0)
        apart = np.linalg.norm(embeddings - guess, axis=1)
        hits.append(float(apart.argmin() == person))
        nearness.append(float(apart[person]))
    share = estimate_mean(np.array(hits), np.arange(len(hits)), seed)
    figures = (
        Figure("named right", "share of people who are the nearest to what is left of their crowd", share.value, share),
        Figure(
            "median distance", "of what is left to the person, by the index's recogniser", float(np.median(nearness))
        ),
    )
    return SystemAttack(
        "difference",
        asks,
        holds,
        False,
        figures,
        f"{share.value:.0%} of people are found by whoever knows all others of their crowd and has the index: k holds "
        "against those who know fewer. Keep the index from people who are in it.",
    )

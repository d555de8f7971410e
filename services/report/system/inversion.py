"""Learned inversion: a model that guesses from a surrogate who is behind it, learnt on crowds of known people."""

import numpy as np
from sklearn.linear_model import RidgeCV

from services.report.attacks.interval import estimate_mean
from services.report.results import Figure, SystemAttack

STRENGTHS = np.logspace(-3, 3, 13)
FOLDS = 4  # of crowds; with fewer, each crowd is a fold
FEWEST = 4  # crowds to learn from


def learned_inversion(
    embeddings: np.ndarray, crowds: np.ndarray, surrogates: np.ndarray, recogniser: str, seed: int
) -> SystemAttack:
    """Fits people's embeddings to their surrogates', by ridge regression on other crowds, and looks the guesses up.

    Args:
        embeddings: float [n, d], one photo of each person, whom the attacker has in a gallery; one row a person.
        crowds: int [n].
        surrogates: float [n, d], each person's surrogate, as the same recogniser sees it.
    """
    names, at = np.unique(crowds, return_inverse=True)
    asks, holds = (
        "Who is in this photo?",
        (f"The release, a photo of everybody, and people of whom the attacker knows the crowd; {recogniser}."),
    )
    if len(names) < FEWEST:
        why = f"{len(names)} crowds are too few to learn from; from {FEWEST} on"
        return SystemAttack(
            "learned inversion", asks, holds, True, (Figure("named right", why, None),), f"Not tried: {why}."
        )
    fold = np.random.default_rng(seed).permutation(len(names))[at] % min(FOLDS, len(names))
    guesses = np.empty_like(embeddings, np.float64)
    for part in range(fold.max() + 1):
        learnt, asked = fold != part, fold == part
        guesses[asked] = RidgeCV(STRENGTHS).fit(surrogates[learnt], embeddings[learnt]).predict(surrogates[asked])
    apart = np.linalg.norm(guesses[:, None] - embeddings[None].astype(np.float64), axis=2)
    order = apart.argsort(axis=1, kind="stable")[:, 0]
    # All of a crowd share one surrogate, and so one guess: crowds are drawn, not people.
    exact = estimate_mean((order == np.arange(len(order))).astype(np.float64), at, seed)
    any_one = estimate_mean((at[order] == at).astype(np.float64), at, seed)
    line = float((1 / np.bincount(at)[at]).mean())
    figures = (
        Figure(
            "named right", "share of people who are the nearest to the guess of their own surrogate", exact.value, exact
        ),
        Figure("chance within the crowd", "1 / people of the crowd who are in this gallery", line),
        Figure("somebody of the crowd named", "share of people", any_one.value, any_one),
        Figure(
            "chance of somebody of the crowd",
            "people of the crowd, of all who are in this gallery",
            float((np.bincount(at)[at] / len(at)).mean()),
        ),
    )
    within = exact.low <= line
    return SystemAttack(
        "learned inversion",
        asks,
        holds,
        True,
        figures,
        f"The right person is named for {exact.as_share}, somebody of the crowd for {any_one.as_share}: "
        + (
            "no more than one of a crowd can be, since all of it share one surrogate."
            if within
            else "more than a function of the crowd alone could; look into it."
        ),
    )

"""Crowd membership: from a surrogate alone, is this person one of those behind it?"""

import numpy as np
from sklearn.metrics import roc_auc_score

from services.report.attacks.interval import DRAWS, draws_of
from services.report.results import Estimate, Figure, SystemAttack


def crowd_membership(
    embeddings: np.ndarray,
    owners: np.ndarray,
    crowds: np.ndarray,
    surrogates: dict[int, np.ndarray],
    recogniser: str,
    seed: int,
) -> SystemAttack:
    """Compares photos of people with every surrogate.

    Args:
        embeddings: float [n, d], of photos that somebody has of people; by a recogniser that chose no crowds.
        owners: int [n], the person of each.
        crowds: int [n], the crowd of each person; -1: a stranger.
        surrogates: by crowd, float [d].
        recogniser: its name.
    """
    numbers = np.array(sorted(surrogates))
    apart = np.linalg.norm(embeddings[:, None] - np.array([surrogates[crowd] for crowd in numbers])[None], axis=2)
    own = crowds[:, None] == numbers[None]
    inside = own.any(axis=1)
    members = _auc(-apart[inside], own[inside], crowds[inside], seed)  # people of a crowd share one surrogate
    rank = (apart[inside] < apart[inside][own[inside]][:, None]).sum(axis=1) + 1
    figures = [
        Figure("AUC, member against not", "1: told without fault; 0.5: not at all", members.value, members),
        Figure("surrogates", "that there are to choose from", float(len(numbers))),
        Figure("median rank of the right surrogate", "1: the nearest", float(np.median(rank))),
    ]
    if inside.all():
        figures.append(Figure("AUC, enrolled at all", "no stranger is in these photos", None))
    else:
        units = np.where(inside, crowds, -1 - owners)
        at_all = _auc(-apart.min(axis=1)[:, None], inside[:, None], units, seed)
        figures.append(Figure("AUC, enrolled at all", "by the distance to the nearest surrogate", at_all.value, at_all))
    return SystemAttack(
        "crowd membership",
        "Is this person one of those behind that surrogate?",
        f"The release, a photo of the person (here: the originals), and {recogniser}.",
        claimed=False,
        figures=tuple(figures),
        verdict=f"Membership of a crowd is told with an AUC of {members.value:.2f}: "
        + (
            "a surrogate looks like its crowd. k hides which of its people a photo shows, not that they are in it."
            if members.low > 0.5
            else "not better than by guessing, as far as these photos can tell."
        ),
    )


def _auc(scores: np.ndarray, own: np.ndarray, owners: np.ndarray, seed: int) -> Estimate:
    """Area under the ROC curve over all pairs, and its interval over `owners`: crowds, or strangers."""
    value = float(roc_auc_score(own.ravel(), scores.ravel()))
    _, at = np.unique(owners, return_inverse=True)
    drawn = []
    for weights in draws_of(int(at.max()) + 1, seed)[: DRAWS // 5]:
        weight = np.repeat(weights[at], own.shape[1])
        kept = weight > 0
        if 0 < own.ravel()[kept].sum() < kept.sum():
            drawn.append(roc_auc_score(own.ravel()[kept], scores.ravel()[kept], sample_weight=weight[kept]))
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn else (value, value)
    return Estimate(value, min(float(low), value), max(float(high), value), own.size, int(at.max()) + 1)

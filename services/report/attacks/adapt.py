"""Published faces of other people -> embeddings in which what hiding does to one person's photos counts for little.

The adapted parrot hides photos of people it knows and learns how the embeddings of one hidden person scatter, and those
of several. Dividing by the first (within-class covariance normalisation: Hatch, Kajarekar and Stolcke 2006) makes all
directions equally noisy; each then counts by its share of signal, between / (between + within), as in probabilistic
linear discriminant analysis (Ioffe 2006). Covariances are shrunk as Ledoit and Wolf (2004) do.
They ask for independent rows, which deviations from a person's mean are not: with two photos each comes twice, and far
too little would be shrunk. Helmert's contrasts of a person's m photos are m - 1 independent rows with the same scatter.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import GroupKFold

from services.report.faces import Faces

FOLDS = 5
LEAST = 10  # people with two photos to learn from; of fewer, what is learnt is mostly noise
LEAST_SIGNAL = 0.02  # of the noise: no direction is given up
FLOOR = 1e-8  # of the embeddings' variance: rounding is not blown up where one person's photos are all alike


@dataclass(frozen=True)
class Fold:
    """People who are attacked, and what the attacker has learnt without them."""

    people: np.ndarray  # int64, identities
    change: np.ndarray  # float64 [d, d]; embeddings @ change


def learn(embeddings: np.ndarray, identities: np.ndarray) -> np.ndarray:
    """The change of coordinates that makes photos of one person alike and keeps people apart: float64 [d, d].

    Args:
        embeddings: float [n, d], finite.
        identities: int [n]. Of people with one photo it is only learnt how people differ.
    """
    rows = embeddings.astype(np.float64)
    order = np.argsort(identities, kind="stable")
    counts = np.unique(identities, return_counts=True)[1]
    people = [rows[one] for one in np.split(order, np.cumsum(counts)[:-1])]
    contrasts = np.concatenate([helmert(len(one)) @ one for one in people])
    within, _ = ledoit_wolf(contrasts, assume_centered=True)
    variances, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(np.maximum(variances, 0) + FLOOR * rows.var(axis=0).mean() + np.finfo(float).tiny)
    means = np.array([one.mean(axis=0) for one in people]) @ whitening
    between, _ = ledoit_wolf(means)
    variances, axes = np.linalg.eigh(between)
    signal = np.maximum(variances - (1 / counts).mean(), LEAST_SIGNAL)  # means of few photos differ by these as well
    return whitening @ axes * np.sqrt(signal / (1 + signal))


def folds(faces: Faces, embeddings: np.ndarray, seen: np.ndarray) -> list[Fold] | None:
    """Divides the people, crowds undivided, and learns for each part from the others.

    Faces of a crowd that some of a part's people belong to are not learnt from, whoever they are of: nothing of the
    surrogate that is attacked was seen before.

    Args:
        embeddings: float [n, d], of the published faces.
        seen: bool [n], which of them there are.

    Returns:
        None if some part would leave too few people to learn from.
    """
    people, firsts = np.unique(faces.identities, return_index=True)
    crowds = faces.crowds[firsts]
    groups = np.where(crowds >= 0, crowds, -1 - people)  # who has no crowd is alone
    parts = min(FOLDS, len(np.unique(groups)))
    if parts < 2:
        return None
    found = []
    for _, held in GroupKFold(parts).split(people, groups=groups):
        others = seen & ~_touched(faces, people[held])
        if _learnable(faces.identities[others]) < LEAST:
            return None
        found.append(Fold(people[held], learn(embeddings[others], faces.identities[others])))
    return found


def _touched(faces: Faces, people: np.ndarray) -> np.ndarray:
    """Faces of these people, and of crowds that any of them has a face of: bool [n]."""
    theirs = np.isin(faces.identities, people)
    crowds = np.unique(faces.crowds[theirs & (faces.crowds >= 0)])
    return theirs | np.isin(faces.crowds, crowds)


def _learnable(identities: np.ndarray) -> int:
    """How many people have two faces or more."""
    return int((np.unique(identities, return_counts=True)[1] > 1).sum())

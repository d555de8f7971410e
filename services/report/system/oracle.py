"""The look-up oracle: whoever may send photos to the service learns who is enrolled, and in which crowd."""

import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.results import Figure, SystemAttack


def look_up_oracle(
    embeddings: np.ndarray,
    owners: np.ndarray,
    enrolled: np.ndarray,
    gallery: np.ndarray,
    crowd: np.ndarray,
    crowds: np.ndarray,
    sizes: np.ndarray,
    threshold: float,
    seed: int,
) -> SystemAttack:
    """Sends every photo as a stranger to the release would, and reads the answer: enrolled or stranger, and the crowd.

    Args:
        embeddings: float [n, d], of photos that somebody has of people, by the recogniser of the index.
        owners: int [n], the person of each.
        enrolled: bool [n], whether that person is enrolled.
        gallery: float [m, d], the vectors of the enrolled.
        crowd: int [m], the crowds of the enrolled.
        crowds: int [n], the right crowd of each photo's person; -1 for strangers.
        sizes: int [c], distinct people of each crowd; one person may be enrolled under several names.
        threshold: a face nearer than this to an enrolled vector is taken for that person.
    """
    apart = np.linalg.norm(embeddings[:, None].astype(np.float64) - gallery[None], axis=2)
    nearest = apart.argmin(axis=1)
    known = apart[np.arange(len(apart)), nearest] < threshold
    figures = [_share("enrolled people who are told to be", known[enrolled], owners[enrolled], seed)]
    if (~enrolled).any():
        figures.append(_share("strangers who are taken for enrolled", known[~enrolled], owners[~enrolled], seed))
    else:
        figures.append(Figure("strangers who are taken for enrolled", "no stranger is in these photos", None))
    right = known[enrolled] & (crowd[nearest[enrolled]] == crowds[enrolled])
    figures.append(_share("enrolled people whose crowd is told", right, owners[enrolled], seed))
    left = float(sizes.min())
    figures.append(Figure("fewest enrolled people of a crowd", "who could then be meant by its surrogate", left))
    told, wrong = (figure.interval.as_share if figure.interval else None for figure in figures[:2])
    beside = "" if wrong is None else f", and {wrong} of photos of strangers are taken for somebody enrolled"
    return SystemAttack(
        "look-up oracle",
        "Is this person enrolled, and behind which surrogate?",
        "The service's address, a key with the scope `inspect`, and a photo of the person (here: the originals; if "
        "they were enrolled from these very photos, the rate is higher than with others).",
        claimed=False,
        figures=tuple(figures),
        verdict=f"{told} of photos of enrolled people are recognised{beside}: who may ask the service learns who "
        f"is enrolled, and which surrogate stands for them and at least {left - 1:.0f} others. Let nobody ask who is "
        "not to know.",
    )


def _share(name: str, hits: np.ndarray, owners: np.ndarray, seed: int) -> Figure:
    found = estimate_mean(hits.astype(np.float64), owners, seed)
    return Figure(name, "share of their photos", found.value, found)

"""faces -> age group and gender as networks see them, in coarse words or none: for statistics, and what crowds may mix.

What is told is how a face looks to a network, not who somebody is. Estimates of age are off by years; older children
and teenagers pass for young adults; there are two genders, and a child's is hardly told. Errors differ with skin,
light, make-up and pose, and nobody has measured them on photos like yours. So estimates are no ground truth, and
nothing to decide about a person by: an operator who knows better states it at enrolment. What is estimated of a person
is personal data.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from services.anonymizer.align import cut_chips
from services.anonymizer.models import Attribute, Estimator, find_estimators
from services.anonymizer.triton import Triton

__all__ = ["estimate", "find_estimators"]


async def estimate(
    pixels: np.ndarray, landmarks: np.ndarray, triton: Triton, estimators: Sequence[Estimator]
) -> dict[str, list[str]]:
    """What the faces at `landmarks float32 [n, 5, 2]` of `pixels uint8 [H, W, 3]` look like.

    Returns:
        For each attribute one value a face: of age_group "child" (to 12), "young" (13 to 29), "adult" (30 to 59) or
        "senior" (from 60), of gender "female" or "male" (all that the network knows); "" where an estimator is not
        certain, or two are and differ. Without estimators nothing.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    said: dict[str, list[list[str]]] = {}
    for estimator in estimators:
        outputs = [attribute.output for attribute in estimator.attributes.values()]
        shares: list[np.ndarray] = [np.empty((0, 0), np.float32)] * len(outputs)
        if len(landmarks):
            chips = await asyncio.to_thread(cut_chips, pixels, landmarks, estimator.aligner, estimator.chip_px)
            shares = await triton.infer(estimator.model, {"chips": chips}, *outputs)
        for (name, attribute), rows in zip(estimator.attributes.items(), shares, strict=True):
            said.setdefault(name, []).append([value_of(row, attribute) for row in rows])
    return {name: [agreed(words) for words in zip(*answers, strict=True)] for name, answers in said.items()}


def value_of(shares: np.ndarray, attribute: Attribute) -> str:
    """The value that holds enough of `shares float [classes]`; "" if none does."""
    held = {value: float(shares[first : last + 1].sum()) for value, (first, last) in attribute.values.items()}
    best = max(held, key=lambda value: held[value])
    return best if held[best] >= attribute.certain else ""


def agreed(words: Sequence[str]) -> str:
    """What all say who say anything; "" if nobody does, or they differ."""
    told = {word for word in words if word}
    return told.pop() if len(told) == 1 else ""

"""How well a recogniser tells generated people apart, and how far it knows one again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_PEOPLE = 400  # whose photos are compared with each other's
LIMIT = 0.6  # dlib's own, beside the embedder's


def distances(embeddings: Mapping[int, Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Distances between photos of one person, and between those of two.

    Args:
        embeddings: by person, float32 [d] each.
    """
    people = [np.array(rows) for _, rows in sorted(embeddings.items()) if len(rows)][:MOST_PEOPLE]
    every = np.concatenate(people)
    who = np.repeat(np.arange(len(people)), [len(rows) for rows in people])
    first, second = np.triu_indices(len(every), 1)
    same, apart = who[first] == who[second], np.empty(len(first))
    for start in range(0, len(first), 1 << 20):
        part = slice(start, start + (1 << 20))
        apart[part] = np.linalg.norm(every[first[part]] - every[second[part]], axis=1)
    return apart[same], apart[~same]


def figures(embeddings: Mapping[int, Sequence[np.ndarray]], same_person: float) -> dict[str, Any]:
    """Medians, and shares within two limits: the embedder's `same_person`, and dlib's."""
    told: dict[str, Any] = {}
    for name, values in zip(("same", "different"), distances(embeddings), strict=True):
        if len(values):
            within = {f"within_{limit:g}": round(float((values <= limit).mean()), 4) for limit in (same_person, LIMIT)}
            told[name] = {"pairs": len(values), "median": round(float(np.median(values)), 4), **within}
    return told

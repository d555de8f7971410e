"""Crowds drawn by lot: what any partitioner has to beat."""

import numpy as np

from services.population.partition.paper import crowd_sizes


def shuffle(embeddings: np.ndarray, k: int, seed: int = 0, effort: str = "default") -> np.ndarray:
    """Crowds of k to 2k - 1 whoever is in them; sizes differ by one at most, as in the authors' `random_partition`.

    Args:
        embeddings: float [n, d]; only n matters.
        k: fewest members, at most n.
        seed: the same seed gives the same labels.
        effort: makes no difference.

    Returns:
        labels int64 [n].
    """
    sizes = crowd_sizes(len(embeddings), k)
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))

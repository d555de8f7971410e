"""A crowd's surrogate with random weights: a mixture of its members, the same for the same people and seed.

The weights are those of the paper's code (`random_list` and `mix_function`, bounds 0.6 and 1): no member weighs much
more than another, so that the surrogate of a small crowd is not nearly one of them. There they are divided by the
number of members, which also pulls the surrogate towards the zero latent; here they add up to one.
"""

import hashlib

import numpy as np

LEAST, MOST = 0.6, 1.0


def members_of(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of every crowd, ascending: int64 arrays by crowd number."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def crowd_rng(latents: np.ndarray, seed: int, purpose: int = 0) -> tuple[np.random.Generator, np.ndarray]:
    """A generator that depends on the seed and on who is in a crowd: not on their order, nor on other crowds.

    Args:
        latents: float32 [k, l] of the members.
        purpose: another number, another stream.

    Returns:
        The generator, and the order of members in which to use it, int64 [k].
    """
    digests = [hashlib.sha256(row.tobytes()).digest() for row in np.ascontiguousarray(latents, np.float32)]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__))
    crowd = hashlib.sha256(b"".join(digests[i] for i in order)).digest()
    return np.random.default_rng([abs(seed), int(seed < 0), purpose, int.from_bytes(crowd[:8], "big")]), order


def random_weights(latents: np.ndarray, seed: int) -> np.ndarray:
    """Weights of a crowd's members, float64 [k], all positive, their sum 1; by the members' rows `float32 [k, l]`."""
    rng, order = crowd_rng(latents, seed)
    weights = np.empty(len(latents))
    weights[order] = rng.uniform(LEAST, MOST, len(latents))
    return weights / weights.sum()


def random_mixtures(latents: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """The randomly weighted mixture of every crowd, float32 [m, l]."""
    rows = []
    for members in members_of(labels):
        _, order = crowd_rng(latents[members], seed)
        ordered = latents[members][order]  # the sum's last bit, too, is to be the same in any order of members
        rows.append(random_weights(ordered, seed) @ ordered.astype(np.float64))
    return np.array(rows, np.float32)

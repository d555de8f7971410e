"""The regression: standardised embedding and pose -> w, by ridge, and how far to go from the average.

Ridge shrinks towards the average face, and w holds much that no embedding tells (light, background, hair), so that
what a face is like is understated; a gain on all of it makes up for that. Both are chosen on pairs that were held out,
the gain by what the pictures look like to the embedder.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from conversion.inversion.pairs import Pairs
from services.errors import ConversionError

HELD_OUT = 0.05  # share of the pairs, at least 40
# For each pair, on standardised inputs; smaller ones change nothing.
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
GAINS = (0.8, 1.0, 1.2, 1.4, 1.7)
TRIED = 80  # people rendered for each gain


@dataclass(frozen=True)
class Inversion:
    """w = w_mean + gain * ((embedding, pose) - mean) / scale @ matrix."""

    mean: np.ndarray  # float32 [d + 10]
    scale: np.ndarray  # float32 [d + 10]
    matrix: np.ndarray  # float32 [d + 10, w]
    w_mean: np.ndarray  # float32 [w]
    gain: float

    def predict(self, embeddings: np.ndarray, poses: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, w] of `embeddings float [n, d]` and `poses float [n, 10]`; the average pose if there is none."""
        dims = embeddings.shape[1]
        if poses is None:
            poses = np.tile(self.mean[dims:], (len(embeddings), 1))
        inputs = (np.column_stack([embeddings, poses]) - self.mean) / self.scale
        return (self.w_mean + self.gain * (inputs @ self.matrix)).astype(np.float32)


def explained(inversion: Inversion, pairs: Pairs) -> float:
    """R^2 of w at a gain of 1."""
    residual = pairs.w - replace(inversion, gain=1.0).predict(pairs.embeddings, pairs.poses)
    return float(1 - (residual**2).sum() / ((pairs.w - inversion.w_mean) ** 2).sum())


def split(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """(to learn from, held out).

    Raises:
        ConversionError: fewer pairs than a fit needs.
    """
    held = max(40, round(HELD_OUT * len(pairs)))
    if len(pairs) < 4 * held:
        raise ConversionError(f"{len(pairs)} pairs are too few to learn from; at least {4 * held}, better 4000")
    return pairs.rows(slice(None, len(pairs) - held)), pairs.rows(slice(len(pairs) - held, None))


def fit(learnt: Pairs, held: Pairs) -> tuple[Inversion, float]:
    """Ridge with the penalty that explains the held-out pairs best. Returns it at a gain of 1, and the penalty."""
    inputs = np.column_stack([learnt.embeddings, learnt.poses]).astype(np.float64)
    scaler = StandardScaler().fit(inputs)
    w_mean = learnt.w.mean(axis=0, dtype=np.float64)
    fits = []
    for penalty in PENALTIES:
        ridge = Ridge(alpha=penalty * len(learnt), fit_intercept=False)
        matrix = ridge.fit(scaler.transform(inputs), learnt.w - w_mean).coef_.T
        parts = (scaler.mean_, np.maximum(scaler.scale_, 1e-6), matrix, w_mean)
        mean, scale, matrix, average = (np.asarray(part, np.float32) for part in parts)
        fits.append((Inversion(mean, scale, matrix, average, gain=1.0), penalty))
    return max(fits, key=lambda found: explained(found[0], held))


async def choose_gain(
    inversion: Inversion, held: Pairs, distances: Callable[[np.ndarray, np.ndarray], Awaitable[np.ndarray]]
) -> tuple[Inversion, dict[str, float]]:
    """Renders held-out people at several gains and keeps the one that comes nearest to them.

    Args:
        distances: (w [n, w], embeddings [n, d]) -> distance of each face rendered from w to that embedding [n].

    Returns:
        The inversion with its gain, and the mean distance at every gain tried.
    """
    tried = held.rows(slice(None, TRIED))
    means = {}
    for gain in GAINS:
        w = replace(inversion, gain=gain).predict(tried.embeddings, tried.poses)
        means[gain] = float((await distances(w, tried.embeddings)).mean())
    best = min(means, key=lambda gain: means[gain])
    return replace(inversion, gain=best), {f"{gain:g}": round(mean, 4) for gain, mean in means.items()}

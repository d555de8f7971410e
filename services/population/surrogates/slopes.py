"""Where to move a surrogate's latent so that its embedding moves as wished: a linear model of the generator.

The paper's loop shrinks latents blindly, all of them by alpha and those of recognised members by beta. Here the slopes
d embedding / d latent are fitted to the population itself, by ridge regression, and to what was seen around the place
to move from; a move is the one that they promise to cost least, and counts only once it has been rendered and seen.
"""

from dataclasses import dataclass, replace

import numpy as np

MOST_ROWS = 2000  # people that the slopes are fitted to
RIDGE = 0.2  # of the mean squared length of latents; R2 0.31 to 0.33 on held-out synthetic people from 0.2 to 0.6
TRUST = 0.02  # ridge of what tries of a crowd add to the slopes, in squared spreads
STEPS = 150
SOFTNESS = 0.1  # of the threshold: over this distance a member goes from recognised to not
INWARD = 0.25  # pull on members far within the threshold, where the soft count is flat
STAY = 0.4  # price of a move as long as the people's spread, in squared thresholds


@dataclass(frozen=True)
class Slopes:
    """A linear model of generator and embedder, and the region in which latents look like people."""

    centre: np.ndarray  # float64 [l], mean latent of the people
    lowest: np.ndarray  # float64 [l], of the people, in each coordinate
    highest: np.ndarray
    spread: float  # root mean squared distance of the people's latents from their mean
    along: np.ndarray  # float64 [l, r], orthonormal: the directions of latents that matter
    gains: np.ndarray  # float64 [r, d], what a unit along each does to the embedding

    def plausible(self, latent: np.ndarray) -> np.ndarray:
        """The nearest latent that is in no coordinate beyond the people, nor farther out than they usually are."""
        moved = np.clip(latent, self.lowest, self.highest) - self.centre
        return self.centre + moved * min(1.0, self.spread / max(float(np.linalg.norm(moved)), 1e-12))


def fit_slopes(latents: np.ndarray, embeddings: np.ndarray, seed: int) -> Slopes:
    """Fits the slopes to people: `latents [n, l]`, `embeddings [n, d]`; to `MOST_ROWS` of them if there are more."""
    rows = np.random.default_rng(abs(seed)).permutation(len(latents))[:MOST_ROWS]
    x = np.asarray(latents[rows], np.float64)
    centre = x.mean(axis=0)
    moved, seen = x - centre, embeddings[rows] - embeddings[rows].mean(axis=0, dtype=np.float64)
    squared = float((moved**2).sum() / len(rows))
    gram = moved @ moved.T
    dual = np.linalg.solve(gram + max(RIDGE * squared, 1e-12) * np.eye(len(rows)), seen)
    along, sizes, right = np.linalg.svd(moved.T @ dual, full_matrices=False)
    kept = sizes > 1e-9 * max(float(sizes.max()), 1e-30)
    return Slopes(centre, x.min(axis=0), x.max(axis=0), squared**0.5, along[:, kept], sizes[kept, None] * right[kept])


def corrected(slopes: Slopes, place: np.ndarray, seen: np.ndarray, places: np.ndarray, others: np.ndarray) -> Slopes:
    """The slopes around one place, changed least to agree with what was seen at others.

    Secant equations (Broyden, Math. Comp. 19, 1965), one for each of the others, all at once and damped.

    Args:
        place: float [r], a latent in coordinates `along` the slopes.
        seen: float [d], its embedding.
        places: float [t, r], others of the same crowd.
        others: float [t, d], their embeddings.
    """
    moves = (places - place) / slopes.spread
    missed = others - seen - moves @ slopes.gains * slopes.spread
    weights = np.linalg.solve(moves @ moves.T + TRUST * np.eye(len(moves)), missed)
    return replace(slopes, gains=slopes.gains + moves.T @ weights / slopes.spread)


def promising(
    slopes: Slopes, latent: np.ndarray, seen: np.ndarray, members: np.ndarray, threshold: float, price: float
) -> np.ndarray:
    """The latent that the slopes promise to do best, from one whose embedding was seen.

    Gradient descent, on the mean squared distance to the members, plus `price` for the share of them that is nearer
    than the threshold (softly counted), plus the price of moving.

    Args:
        latent: float [l].
        seen: float [d], its embedding.
        members: float [k, d], embeddings.
        threshold: a member nearer than this is recognised.
        price: in squared thresholds.

    Returns:
        float64 [l], not limited to where people are.
    """
    start, to = seen / threshold, members / threshold  # lengths in thresholds from here on
    gains = slopes.gains * slopes.spread / threshold
    rate = 0.5 / (2 * np.linalg.norm(gains, 2) ** 2 + 2 * STAY)
    move = np.zeros(len(gains))
    for _ in range(STEPS):
        apart = start + move @ gains - to
        distance = np.linalg.norm(apart, axis=1)
        soft = 1 / (1 + np.exp(np.clip((distance - 1) / SOFTNESS, -50, 50)))
        push = price * (soft * (1 - soft) / SOFTNESS + INWARD * (distance < 1))
        gradient = 2 * apart.mean(axis=0) - (push / np.maximum(distance, 1e-9)) @ apart / len(members)
        move -= rate * (gains @ gradient + 2 * STAY * move)
    return latent + slopes.along @ move * slopes.spread

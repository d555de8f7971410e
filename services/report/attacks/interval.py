"""Values of probes, and whose they are -> an estimate with its 95 % interval.

Photos of one person are alike, so people are drawn again, not photos (the cluster bootstrap: Davison and Hinkley 1997,
section 3.8; for recognition: Bolle, Ratha and Pankanti 2004). Where (almost) everything or nothing is a hit, every draw
says the same, and the bootstrap's interval shrinks to nothing although few people were seen. Shares therefore get the
hull of the bootstrap's interval and of Wilson's (1927), the latter with the effective number of trials (Korn and
Graubard 1998): as many independent ones as would scatter as much as these people do. At 0 or n hits of n there is no
scatter to go by, and each person is one trial. Credits that are shares themselves, such as 1/k for everybody, scatter
less than hits would, and are not widened.
"""

from functools import lru_cache

import numpy as np

from services.errors import ReportError
from services.report.results import Estimate

DRAWS = 1000
Z95 = 1.959964
TAILS = (2.5, 97.5)  # percentiles


def estimate_mean(values: np.ndarray, owners: np.ndarray, seed: int, share: bool = True) -> Estimate:
    """The mean over probes, and its interval over people.

    Args:
        values: float [p]; NaN are left out.
        owners: int [p], the person each is of.
        share: values lie in 0 to 1: the interval is widened by Wilson's. Otherwise it is the bootstrap's alone, and of
            no width with one person.

    Raises:
        ReportError: no value is left.
    """
    kept = ~np.isnan(values)
    if not kept.any():
        raise ReportError("there is nothing to take a mean of; leave out measures that no face has a value of")
    _, at = np.unique(owners[kept], return_inverse=True)
    measured = values[kept].astype(np.float64)
    sums, counts = np.bincount(at, measured), np.bincount(at)
    weights = draws_of(len(counts), seed)
    return enclose(weights @ sums / (weights @ counts), measured, at, share)


def enclose(drawn: np.ndarray, values: np.ndarray, owners: np.ndarray, share: bool = True) -> Estimate:
    """The mean of `values float [p]` of `owners int [p]`, with the interval of what came of the draws.

    Args:
        drawn: float [draws], the same figure for people drawn again; NaN where a draw gave none.
    """
    value = float(values.mean())
    people = np.unique(owners)
    low, high = np.nanpercentile(drawn, TAILS) if np.isfinite(drawn).any() else (value, value)
    if share:
        least, most = wilson(value, effective_trials(values, owners))
        low, high = max(0.0, min(low, least)), min(1.0, max(high, most))
    return Estimate(value, float(min(low, value)), float(max(high, value)), len(values), len(people))


@lru_cache(maxsize=8)
def draws_of(people: int, seed: int) -> np.ndarray:
    """How often each of n people is drawn when n are drawn with replacement: float64 [DRAWS, n], read-only."""
    rng = np.random.default_rng((seed, people))
    weights = np.array([np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(DRAWS)], float)
    weights.setflags(write=False)
    return weights


def effective_trials(values: np.ndarray, owners: np.ndarray) -> float:
    """Independent hits and misses that would scatter as much as the mean of these shares does between people.

    With one hit or miss each: as many as there are people. Infinite where people do not differ, although their shares
    are neither 0 nor 1.
    """
    _, at, counts = np.unique(owners, return_inverse=True, return_counts=True)
    n, mean = len(counts), values.mean()
    spread = mean * (1 - mean)
    if n < 2 or spread <= 1e-12:
        return float(n)
    residuals = np.bincount(at, values - mean)
    variance = n / (n - 1) * (residuals**2).sum() / len(values) ** 2  # of a ratio: people have unlike many probes
    return float("inf") if variance <= 1e-12 * spread else float(spread / variance)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `trials`, which may be infinite."""
    shrink = Z95**2 / trials
    middle = (share + shrink / 2) / (1 + shrink)
    half = Z95 / (1 + shrink) * float(np.sqrt(share * (1 - share) / trials + shrink / (4 * trials)))
    return middle - half, middle + half

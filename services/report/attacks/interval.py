"""Values of probes, and whose they are -> an estimate with its 95 % interval.

Photos of one person are alike, so people are drawn again, not photos (the cluster bootstrap: Davison and Hinkley 1997,
section 3.8; for recognition: Bolle, Ratha and Pankanti 2004). Where (almost) everything or nothing is a hit, every draw
says the same, and the bootstrap's interval shrinks to nothing although few people were seen. Shares therefore get the
hull of the bootstrap's interval and of Wilson's (1927), the latter with the effective number of trials (Korn and
Graubard 1998): as many independent ones as would vary as much as the draws do. At 0 or n hits of n these do not vary,
and each person is one trial. Credits that are shares themselves, such as 1/k for everybody, vary less than hits would,
and are not widened.
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
    value, people = float(values.mean()), len(np.unique(owners))
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, TAILS) if len(known) else (value, value)
    if share:
        variance = float(known.var()) if len(known) else 0.0
        least, most = wilson(value, effective_trials(value, variance, people))
        low, high = max(0.0, min(low, least)), min(1.0, max(high, most))
    return Estimate(value, float(min(low, value)), float(max(high, value)), len(values), people)


@lru_cache(maxsize=8)
def draws_of(people: int, seed: int) -> np.ndarray:
    """How often each of n people is drawn when n are drawn with replacement: float64 [DRAWS, n], read-only."""
    rng = np.random.default_rng((seed, people))
    weights = np.array([np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(DRAWS)], float)
    weights.setflags(write=False)
    return weights


def effective_trials(share: float, variance: float, people: int) -> float:
    """Independent hits and misses of which a share would vary as much.

    As many as there are people if these have one hit or miss each. Infinite for a share that does not vary although it
    is neither 0 nor 1, and is of more than one person.
    """
    most = share * (1 - share)  # variance of one hit or miss
    if people < 2 or most <= 1e-12:
        return float(people)
    return float("inf") if variance <= 1e-12 * most else most / variance


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `trials`, which may be infinite."""
    shrink = Z95**2 / trials
    middle = (share + shrink / 2) / (1 + shrink)
    half = Z95 / (1 + shrink) * float(np.sqrt(share * (1 - share) / trials + shrink / (4 * trials)))
    return middle - half, middle + half

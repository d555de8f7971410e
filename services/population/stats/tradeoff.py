"""What each k would gain and cost: the population partitioned for a number of k, quickly, before anything is built."""

from dataclasses import dataclass

import numpy as np

from services.population.partition import information_loss, partition

KS = (2, 3, 4, 5, 7, 10, 14, 20, 30, 40, 50)
SAMPLE = 4000  # identities partitioned in larger populations
ALGORITHM, EFFORT = "swap", "quick"


@dataclass(frozen=True)
class Expectation:
    """What a partition with crowds of at least k came to."""

    k: int
    crowds: int
    smallest: int
    largest: int
    people_per_face: float  # n / crowds
    information_loss: float  # SSE/SST, 0..1
    loss_of_random_crowds: float  # expected for crowds drawn at random
    distance_to_centre: float  # of a member to the mean vector of their crowd; mean over members
    distance_to_centre_p95: float
    near_centre: float | None  # share of members nearer to it than the threshold; None where that is not known


@dataclass(frozen=True)
class Tradeoff:
    """One expectation for each k that the population allows."""

    algorithm: str
    effort: str
    identities: int  # that were partitioned
    sampled: bool  # they are fewer than the population has
    expectations: tuple[Expectation, ...]


def trade_off(people: np.ndarray, threshold: float | None, seed: int, rng: np.random.Generator) -> Tradeoff:
    """Partitions the identities, or `SAMPLE` of them, for each k of `KS` that is not more than they are.

    Args:
        people: float32 [n, d], one vector an identity.
        threshold: the embedder's, below which two photos may be of one person; None where it is not known.
        seed: of the partitioner.
    """
    sampled = len(people) > SAMPLE
    if sampled:
        people = people[np.sort(rng.choice(len(people), SAMPLE, replace=False))]
    rows = tuple(expect(people, k, threshold, seed) for k in KS if k <= len(people))
    return Tradeoff(ALGORITHM, EFFORT, len(people), sampled, rows)


def expect(people: np.ndarray, k: int, threshold: float | None, seed: int) -> Expectation:
    """Partitions for one k. Crowds drawn at random lose (n - crowds) / (n - 1) on average."""
    n = len(people)
    labels = partition(people, k, ALGORITHM, seed, EFFORT)
    sizes = np.bincount(labels)
    away = distances_to_centres(people, labels)
    return Expectation(
        k=k,
        crowds=len(sizes),
        smallest=int(sizes.min()),
        largest=int(sizes.max()),
        people_per_face=n / len(sizes),
        information_loss=information_loss(people, labels),
        loss_of_random_crowds=(n - len(sizes)) / (n - 1),
        distance_to_centre=float(away.mean()),
        distance_to_centre_p95=float(np.percentile(away, 95)),
        near_centre=None if threshold is None else float((away < threshold).mean()),
    )


def distances_to_centres(people: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Distance of each member to the mean vector of their crowd, float64 [n]."""
    sums = np.zeros((labels.max() + 1, people.shape[1]))
    np.add.at(sums, labels, people)
    return np.linalg.norm(people - (sums / np.bincount(labels)[:, None])[labels], axis=1)

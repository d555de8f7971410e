"""A population -> its statistics: counts and distances only, so that neither page nor JSON can hold more."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.errors import EnrolmentError
from services.population.enroll.rows import ENROLLED
from services.population.people import Population
from services.population.stats.attributes import Counts, count
from services.population.stats.distances import Distances, distances
from services.population.stats.photos import PhotoTable, choose_photos
from services.population.stats.spread import Spread, doubling_edges, spread
from services.population.stats.tradeoff import Tradeoff, trade_off

FORMAT = "anonfaces-population-stats-1"
MADE_WITH = ("detector", "embedder", "aligner", "generator", "inverter")


@dataclass(frozen=True)
class Statistics:
    """Everything the page shows and the JSON says."""

    format: str
    population: str
    made_with: dict[str, str | None]
    seed: int
    threshold: float | None  # of the embedder: two photos nearer than this may be of one person
    identities: int
    dims: int  # of an embedding
    latents: bool  # whether they are known
    photos_per_identity: Spread
    identities_with_one_photo: int
    photos_known: bool  # photo by photo; else only how many each identity has
    turned_away: dict[str, int]  # photos by what became of them, the most frequent first
    distances: Distances
    quality: dict[str, Spread]
    attributes: dict[str, Counts]
    tradeoff: Tradeoff

    @property
    def photos(self) -> int:
        """Photos behind the identities' vectors."""
        return round(self.photos_per_identity.mean * self.identities)


def measure(population: Population, photos: PhotoTable | None, threshold: float | None, seed: int) -> Statistics:
    """Measures a population; the same for the same seed.

    Args:
        photos: its photos; None where they are not known, as of people who were enrolled from arrays.
        threshold: the embedder's; None where it is not known.
        seed: of every sample, and of the partitioner.

    Raises:
        EnrolmentError: nobody is enrolled, or a vector is not finite.
    """
    people = population.embeddings
    if not len(people):
        raise EnrolmentError(f"population {population.name} has no identities; enrol some first")
    rng = np.random.default_rng(seed)
    owners, vectors = _compared(photos, people.shape[1], seed)
    if not (np.isfinite(people).all() and np.isfinite(vectors).all()):
        raise EnrolmentError(f"population {population.name} holds embeddings that are not finite; enrol it again")
    per_identity = population.photos
    counted = spread(per_identity, doubling_edges(int(per_identity.max())))
    assert counted is not None  # somebody is enrolled
    return Statistics(
        format=FORMAT,
        population=population.name,
        made_with={part: _name(population.made_with.get(part)) for part in MADE_WITH},
        seed=seed,
        threshold=threshold,
        identities=len(people),
        dims=people.shape[1],
        latents=population.latents is not None,
        photos_per_identity=counted,
        identities_with_one_photo=int((per_identity == 1).sum()),
        photos_known=photos is not None,
        turned_away={} if photos is None else _turned_away(photos.status),
        distances=distances(people, owners, vectors, threshold, rng),
        quality={} if photos is None else _quality(photos),
        attributes={
            name: count(values, population.identities) for name, values in sorted(population.attributes.items())
        },
        tradeoff=trade_off(people, threshold, seed, rng),
    )


def as_json(statistics: Statistics) -> dict[str, Any]:
    """Plain values of JSON; numbers to six digits, as many as a sample of this size could ever bear."""
    return _rounded({**asdict(statistics), "photos": statistics.photos})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value


def _compared(photos: PhotoTable | None, dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whose photos are compared, int64 [v], and their vectors, float32 [v, d]."""
    if photos is None:
        return np.empty(0, np.int64), np.empty((0, dims), np.float32)
    owners = photos.identity[photos.vectors_of]
    chosen = choose_photos(owners, photos.used[photos.vectors_of], seed)
    return owners[chosen], photos.embeddings[chosen]


def _quality(photos: PhotoTable) -> dict[str, Spread]:
    """Each measure over the photos that are used and have it."""
    found = {}
    for name, values in photos.quality.items():
        values = values[photos.used]
        summary = spread(values[np.isfinite(values)])
        if summary is not None:
            found[name] = summary
    return found


def _turned_away(status: np.ndarray) -> dict[str, int]:
    """Photos that are not enrolled, by status. Their reasons, free text that may name files, stay where they are."""
    names, counts = np.unique(status[status != ENROLLED], return_counts=True)
    return {str(names[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")}


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None

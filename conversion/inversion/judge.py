"""How well people are found again: those nobody has learnt from, by the embedder and by others it does not know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.inversion.fit import Inversion, explained, fit
from conversion.inversion.pairs import Pairs
from services.anonymizer.align import pose_of
from services.anonymizer.models import Embedder, Models
from services.anonymizer.triton import Triton
from services.population.portrait import Portrait, photograph
from services.population.sample import Sampler

PEOPLE = 200
SEED_OFFSET = 1_000_003  # people of the judgement are of another seed than those of the pairs


@dataclass(frozen=True)
class Studio:
    """Renders w, and sees what it rendered as the service would."""

    sampler: Sampler
    models: Models
    triton: Triton
    others: Sequence[Embedder] = ()

    async def portraits(self, w: np.ndarray) -> list[Portrait | None]:
        latents = self.sampler.spread(w)
        return await photograph(
            latents, self.triton, self.models, self.sampler.generator, lambda rows: None, self.others
        )

    async def distances(self, w: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """Of the face rendered from each w to an embedding, float [n]; where no face is found, that of strangers."""
        found = [None if p is None else p.embedding for p in await self.portraits(w)]
        far = np.linalg.norm(embeddings - np.roll(embeddings, 1, axis=0), axis=1).mean()
        return np.array([far if f is None else np.linalg.norm(f - e) for f, e in zip(found, embeddings, strict=True)])


async def judge(inversion: Inversion, studio: Studio, seed: int, people: int = PEOPLE) -> dict[str, Any]:
    """New people of truncation 0.7 -> what the service sees of them -> w -> a picture -> how far it is from them.

    Returns:
        For each recogniser the mean distance, that of random pairs of the same people, and for the embedder itself the
        share within 0.6.
    """
    w = (await studio.sampler.latents(people, seed + SEED_OFFSET, studio.triton)).reshape(people, -1)
    w = w[:, -studio.sampler.w_mean.size :]
    seen = [p for p in await studio.portraits(w) if p is not None]
    embeddings = np.array([p.embedding for p in seen])
    poses = pose_of(np.array([p.landmarks for p in seen]))
    again = await studio.portraits(inversion.predict(embeddings, poses))
    both = [(a, b) for a, b in zip(seen, again, strict=True) if b is not None]
    figures: dict[str, Any] = {"people": people, "faces_found": len(both)}
    for i, embedder in enumerate((studio.models.embedder, *studio.others)):
        first, second = (np.array([(p.embedding, *p.others)[i] for p in side]) for side in zip(*both, strict=True))
        distance = np.linalg.norm(first - second, axis=1)
        figures[embedder.name] = {
            "mean_distance": round(float(distance.mean()), 4),
            "random_pair": round(float(np.linalg.norm(first - np.roll(first, 1, axis=0), axis=1).mean()), 4),
            "nearest_of_all": round(float(_first_rank(first, second)), 4),
        }
    return figures


def _first_rank(first: np.ndarray, second: np.ndarray) -> float:
    """Share of faces whose nearest among all people is who they are to be."""
    squares = (first**2).sum(axis=1)[None] - 2 * second @ first.T
    return float((squares.argmin(axis=1) == np.arange(len(first))).mean())


def learning_curve(pairs: Pairs, held: Pairs) -> dict[str, float]:
    """R^2 of w on held-out pairs by how many were learnt from: what more of them would bring."""
    counts = [count for count in (250, 500, 1000, 2000, 4000, 8000) if count < len(pairs)] + [len(pairs)]
    return {str(n): round(explained(fit(pairs.rows(slice(None, n)), held)[0], held), 4) for n in counts}

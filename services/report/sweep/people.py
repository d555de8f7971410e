"""Whom a sweep is about: their latents, and what every recogniser sees of their pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.anonymizer.models import Embedder, Generator, Models
from services.anonymizer.triton import Triton
from services.errors import ReportError
from services.population.people import Population
from services.population.portrait import Portrait, photograph
from services.population.sample import Sampler

Report = Callable[[int], None]


@dataclass(frozen=True)
class People:
    """n people. Held in memory only."""

    latents: np.ndarray  # float32 [n, l], flat
    embeddings: dict[str, np.ndarray]  # recogniser -> float32 [n, d]
    faceless: int = 0  # of a population: whose picture has no face, and who are left out


class Eyes:
    """Shows latents to all recognisers; a latent that was shown is not rendered again."""

    def __init__(self, triton: Triton, models: Models, recognisers: Sequence[Embedder]):
        self.triton, self.models, self.recognisers = triton, models, tuple(recognisers)
        self.seen: dict[tuple[str, bytes], Portrait | None] = {}
        self.rendered = 0

    @property
    def _others(self) -> list[Embedder]:
        return [one for one in self.recognisers if one.name != self.models.embedder.name]

    async def look(self, latents: np.ndarray, generator: Generator, report: Report) -> list[Portrait | None]:
        """What is seen of the picture of each latent of `float32 [n, l]`."""
        keys = [(generator.name, row.tobytes()) for row in np.ascontiguousarray(latents, np.float32)]
        fresh = {key: row for key, row in zip(keys, latents, strict=True) if key not in self.seen}
        report(len(keys) - len(fresh))
        if fresh:
            rows = np.array([*fresh.values()], np.float32)
            found = await photograph(rows, self.triton, self.models, generator, report, self._others)
            self.seen.update(zip(fresh, found, strict=True))
            self.rendered += len(rows)
        return [self.seen[key] for key in keys]

    def columns(self, portraits: Sequence[Portrait]) -> dict[str, np.ndarray]:
        """Embeddings by recogniser, float32 [n, d]."""
        own = self.models.embedder.name
        columns = {own: np.array([portrait.embedding for portrait in portraits])}
        for i, other in enumerate(self._others):
            columns[other.name] = np.array([portrait.others[i] for portrait in portraits])
        return columns


async def draw_people(count: int, seed: int, sampler: Sampler, eyes: Eyes, report: Report) -> People:
    """People who do not exist, until `count` have a face that is found.

    Raises:
        ReportError: too few have one.
    """
    latents = await sampler.latents(2 * count, seed, eyes.triton)
    kept: list[int] = []
    portraits: list[Portrait] = []
    start = 0
    while len(kept) < count and start < len(latents):
        rows = latents[start : start + count - len(kept)]
        for number, portrait in enumerate(await eyes.look(rows, sampler.generator, report), start):
            if portrait is not None:
                kept.append(number)
                portraits.append(portrait)
        start += len(rows)
    if len(kept) < count:
        raise ReportError(f"only {len(kept)} of {len(latents)} people have a face that is found; ask for fewer")
    return People(latents[kept], eyes.columns(portraits))


async def show_people(population: Population, generator: Generator, eyes: Eyes, report: Report) -> People:
    """Enrolled people: their own embeddings, and for further recognisers those of the pictures of their latents.

    Raises:
        ReportError: they have no latents, or too few have a picture with a face.
    """
    latents = latents_of(population)
    seen = await eyes.look(latents, generator, report)
    rows = [row for row, portrait in enumerate(seen) if portrait is not None]
    if len(rows) < 2:
        raise ReportError(f"the latents of population {population.name} show no faces; enrol its people again")
    columns = eyes.columns([portrait for portrait in seen if portrait is not None])
    columns[eyes.models.embedder.name] = np.asarray(population.embeddings, np.float32)[rows]
    return People(latents[rows], columns, len(seen) - len(rows))


def latents_of(population: Population) -> np.ndarray:
    """float32 [n, l]. Raises ReportError: it has none."""
    if population.latents is None:
        raise ReportError(f"no latents are known for population {population.name}; enrol with --latents")
    return np.asarray(population.latents, np.float32)

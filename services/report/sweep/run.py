"""Cells -> what they come to, with a Triton that renders."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from services.anonymizer.models import Embedder, Generator
from services.errors import PartitionError
from services.population.partition import partition
from services.population.people import Population
from services.population.sample import Sampler
from services.population.surrogates.plain import mean_by
from services.population.surrogates.risk import RiskOptions, tune
from services.population.surrogates.weights import random_mixtures
from services.report.sweep.cells import Cell, Outcome, target_of
from services.report.sweep.measure import outcome_of
from services.report.sweep.people import Eyes, People, draw_people, show_people

Tell = Callable[[int], None]  # pictures made


@dataclass(frozen=True)
class Wish:
    """What is swept, but for the cells."""

    embedders: dict[str, Embedder]  # that partition, by name
    recognisers: tuple[Embedder, ...]  # all that look: those, and further ones
    generators: dict[str, Generator]
    samplers: dict[str, Sampler]  # by generator
    people: int
    seed: int
    renders: int  # pictures tried for a crowd of a tuned weighting
    render: bool  # False: partitions are measured, surrogates are not made
    population: Population | None = None  # None: people who do not exist
    home: Generator | None = None  # whose latents the population has


@dataclass
class Sweep:
    """Measures cells; people are shown once, and no partition is made twice."""

    wish: Wish
    eyes: Eyes
    report: Tell
    shown: dict[str, People] = field(default_factory=dict)
    crowds: dict[tuple[str, str, str, int], np.ndarray] = field(default_factory=dict)

    async def outcome(self, cell: Cell) -> Outcome:
        """Measures a cell; one that cannot be is told with the reason."""
        try:
            return await self._measured(cell)
        except PartitionError as refused:
            return Outcome(cell, str(refused))

    async def _measured(self, cell: Cell) -> Outcome:
        home, generator = self.wish.home, self.wish.generators[cell.generator]
        if home and (home.mapping, home.latent_shape) != (generator.mapping, generator.latent_shape):
            raise PartitionError(f"the population has latents of {home.name}, which {generator.name} does not take")
        people = await self._people(cell.generator)
        labels = self._labels(cell, people.embeddings[cell.embedder])
        if not self.wish.render:
            return outcome_of(cell, labels, people.embeddings, {}, self.wish.recognisers)
        latents, note = await self._latents(cell, people, labels)
        seen = await self.eyes.look(latents, generator, self.report)
        portraits = [portrait for portrait in seen if portrait is not None]
        if len(portraits) < len(seen):
            missing = len(seen) - len(portraits)
            raise PartitionError(f"{missing} of {len(seen)} surrogates have no face that is found")
        surrogates = self.eyes.columns(portraits)
        return outcome_of(cell, labels, people.embeddings, surrogates, self.wish.recognisers, note)

    async def _people(self, generator: str) -> People:
        """Those of a generator; generators of the same latents have the same people."""
        sampler = self.wish.samplers[generator]
        name = sampler.generator.name
        if name not in self.shown:
            if self.wish.population is None:
                drawn = draw_people(self.wish.people, self.wish.seed, sampler, self.eyes, self.report)
                self.shown[name] = await drawn
            else:
                found = show_people(self.wish.population, sampler.generator, self.eyes, self.report)
                self.shown[name] = await found
        return self.shown[name]

    def _labels(self, cell: Cell, embeddings: np.ndarray) -> np.ndarray:
        key = (self.wish.samplers[cell.generator].generator.name, cell.embedder, cell.algorithm, cell.k)
        if key not in self.crowds:
            self.crowds[key] = crowds_of(cell, embeddings, self.wish.seed)
        return self.crowds[key]

    async def _latents(self, cell: Cell, people: People, labels: np.ndarray) -> tuple[np.ndarray, str]:
        """Of the surrogates, float32 [m, l], and what is to be known of them."""
        if cell.weighting == "mean":
            return mean_by(people.latents, labels), ""
        if cell.weighting == "random":
            return random_mixtures(people.latents, labels, self.wish.seed), ""
        target = target_of(cell.weighting)
        models = self.eyes.models.model_copy(
            update={
                "embedder": self.wish.embedders[cell.embedder],
                "generator": self.wish.generators[cell.generator],
            }
        )
        done = 0

        def report(now: int, total: int) -> None:
            nonlocal done
            self.report(now - done)
            done = now

        options = RiskOptions(target, None, self.wish.renders)
        embeddings = people.embeddings[cell.embedder]
        tuned = await tune(
            people.latents, embeddings, labels, options, self.wish.seed, self.eyes.triton, models, report
        )
        missed = f"{tuned.recognised} of {len(labels)} members are recognised, {tuned.budget} were allowed"
        return tuned.latents, "" if tuned.met else missed


def crowds_of(cell: Cell, embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Crowds of `embeddings float [n, d]`, int64 [n]. Raises PartitionError: these people cannot form two."""
    n = len(embeddings)
    if 2 * cell.k > n:
        raise PartitionError(f"k = {cell.k} of {n} people would leave one crowd; take more people or a lower k")
    return partition(embeddings, cell.k, cell.algorithm, seed)


def without_pictures(cell: Cell, embeddings: np.ndarray, wish: Wish) -> Outcome:
    """The loss of a partition of a population's own embeddings: no model is needed."""
    try:
        labels = crowds_of(cell, embeddings, wish.seed)
    except PartitionError as refused:
        return Outcome(cell, str(refused))
    return outcome_of(cell, labels, {cell.embedder: embeddings}, {}, wish.recognisers)


def expected_pictures(cells: list[Cell], wish: Wish) -> int:
    """About how many pictures the cells take: what a progress bar shows. Latents met again take none."""
    n = len(wish.population.identities) if wish.population else wish.people
    people = len({wish.samplers[cell.generator].generator.name for cell in cells}) * n
    if not wish.render:
        return people
    tries = [1 if cell.weighting in ("mean", "random") else wish.renders + 1 for cell in cells]
    return people + sum(n // cell.k * times for cell, times in zip(cells, tries, strict=True) if 2 * cell.k <= n)

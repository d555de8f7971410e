"""A sweep from its cells to its outcomes: with a Triton where pictures are needed, and going on where it was."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.population.enroll.progress import watching
from services.provenance import check_model
from services.report.sweep.cells import Axes, Cell, Outcome
from services.report.sweep.kept import Kept
from services.report.sweep.people import Eyes
from services.report.sweep.run import Sweep, Wish, expected_pictures, without_pictures
from services.report.sweep.target import Aim, check_people, most_cells, search

Serving = Callable[[set[str]], AbstractContextManager[str]]


@dataclass(frozen=True)
class Work:
    """All that a sweep needs."""

    wish: Wish
    axes: Axes
    whole: bool  # every combination; False: one factor at a time
    aim: Aim | None  # cells are looked for that meet it; None: those of the axes are measured
    models: Models
    repository: Path

    @property
    def served(self) -> set[str]:
        """The Triton models."""
        wish = self.wish
        used = {*self.models.detector.served, self.models.embedder.model, *(one.model for one in wish.recognisers)}
        for name, sampler in wish.samplers.items():
            used |= {*sampler.models, wish.generators[name].model}
        return used

    @property
    def own_embeddings(self) -> np.ndarray | None:
        """float32 [n, d] of the population, where they are all that is needed."""
        wish = self.wish
        if wish.population is None or wish.render or set(wish.embedders) != {self.models.embedder.name}:
            return None
        return np.asarray(wish.population.embeddings, np.float32)

    def terms(self) -> dict[str, Any]:
        """What cells depend on besides what they are called by. The people are told by a digest."""
        wish = self.wish
        population = "synthetic"
        if wish.population is not None:
            held = np.ascontiguousarray(wish.population.embeddings, np.float32).tobytes()
            population = f"{wish.population.name} {hashlib.sha256(held).hexdigest()[:16]}"
        return {
            "population": population,
            "people": wish.people,
            "seed": wish.seed,
            "renders": wish.renders,
            "render": wish.render,
            "recognisers": {one.name: one.same_person for one in wish.recognisers},
            "models_sha256": {name: check_model(self.repository, name)["model_sha256"] for name in sorted(self.served)},
        }


def make_sweep(work: Work, folder: Path, serving: Serving, console: Console) -> list[Outcome]:
    """Measures what is asked for, but for what `folder` has already.

    Raises:
        ReportError: other terms; or a risk that so few people cannot show.
    """
    if work.aim:
        check_people(work.aim, work.wish.people)
    kept = Kept(folder, work.terms())
    cells = most_cells(work.aim, work.axes) if work.aim else work.axes.cells(work.whole)
    left = [cell for cell in cells if cell not in kept.done]
    if not work.aim and not left:
        return [kept.done[cell] for cell in cells]
    if kept.done:
        console.print(f"{len(kept.done)} cells are there already: {kept.path}", soft_wrap=True, highlight=False)
    own = work.own_embeddings
    if own is not None:
        for cell in left:
            kept.add(without_pictures(cell, own, work.wish))
        return [kept.done[cell] for cell in cells]
    what = "pictures, at most," if work.aim else "pictures"
    with serving(work.served) as url, watching(console, expected_pictures(left, work.wish), 0, what) as report:
        return asyncio.run(_measured(work, cells, kept, url, report))


async def _measured(
    work: Work, cells: list[Cell], kept: Kept, url: str, report: Callable[[int], None]
) -> list[Outcome]:
    async with Triton(url, timeout_s=120) as triton:
        sweep = Sweep(work.wish, Eyes(triton, work.models, work.wish.recognisers), report)

        async def measure(cell: Cell) -> Outcome:
            if cell not in kept.done:
                kept.add(await sweep.outcome(cell))
            return kept.done[cell]

        return await search(work.aim, work.axes, measure) if work.aim else [await measure(cell) for cell in cells]

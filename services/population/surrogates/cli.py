"""`anonfaces population surrogates`: what the ways to choose surrogates come to, before an index is built."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_embedder
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError
from services.population.demo import sample_people
from services.population.enroll.about import population_folder
from services.population.enroll.store import read_population
from services.population.partition import partition
from services.population.people import Population
from services.population.sample import sampler_for
from services.population.surrogates.choose import Crowded
from services.population.surrogates.compare import compare
from services.population.surrogates.report import Report, show_report
from services.population.surrogates.risk import RiskOptions
from services.population.tell import tell
from services.settings import Settings, settings

console = Console()
Tell = Callable[[str, int, int], None]  # (what, done, of how many)


def surrogates(
    k: Annotated[int, typer.Option(help="fewest people of a crowd")],
    name: Annotated[str | None, typer.Argument(help="name of a population; synthetic people if not given")] = None,
    people: Annotated[int, typer.Option(min=2, help="how many synthetic people")] = 240,
    people_seed: Annotated[int, typer.Option(help="the same seed samples the same people")] = 7,
    algorithm: Annotated[str, typer.Option(help="how people are partitioned")] = "swap",
    effort: Annotated[str, typer.Option(help="quick, default or thorough")] = "default",
    seed: Annotated[int, typer.Option(help="the same seed gives the same surrogates")] = 0,
    risk_target: Annotated[
        list[float], typer.Option(help="share of members who may be recognised; any number of times")
    ] = [0.2],  # noqa: B006
    risk_threshold: Annotated[
        float | None, typer.Option(help="as near as one person; the embedder's if not given")
    ] = None,
    risk_renders: Annotated[int, typer.Option(help="pictures tried for a crowd")] = 12,
    second: Annotated[list[str], typer.Option(help="further recogniser that looks, any number of times")] = [],  # noqa: B006
    as_json: Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")] = None,
) -> None:
    """Compares plain means, random weights and surrogates tuned for risk: loss, and how many members are recognised."""
    s = settings()
    models = choose(s)
    others = [find_embedder(other, s.model_repository) for other in second]
    risks = [RiskOptions(target, risk_threshold, risk_renders) for target in risk_target]
    enrolled = read_population(population_folder(name, s.populations_dir)) if name is not None else None
    sampler = sampler_for(models.generator, s.model_repository)

    async def work(triton: Triton, progress: Tell) -> Report:
        population = enrolled or await sample_people(
            people, people_seed, triton, models, sampler, s.model_repository, progress
        )
        crowded = _crowded(population, k, algorithm, seed, effort)
        return await compare(crowded, risks, seed, others, sampler.generator, triton, models, progress)

    served = {*models.online(), *sampler.models, *(other.model for other in others)}
    report = _through_triton(work, served, s).as_dict()
    if as_json is None:
        show_report(report, console)
    else:
        tell(report, as_json)


def _through_triton(work: Callable[[Triton, Tell], Awaitable[Report]], served: set[str], s: Settings) -> Report:
    """Does work with a Triton of its own, under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Console(stderr=True)  # the standard output is for what came of it
    with LocalTriton(s.model_repository, served, s.home / "run") as server, Progress(*columns, console=shown) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        async def through() -> Report:
            async with Triton(server.url, timeout_s=120) as triton:
                return await work(triton, progress)

        return asyncio.run(through())


def _crowded(population: Population, k: int, algorithm: str, seed: int, effort: str) -> Crowded:
    if population.latents is None:
        raise EnrolmentError(f"no latents are known for population {population.name}; enrol with --latents")
    labels = partition(population.embeddings, k, algorithm, seed, effort)
    return Crowded(population.latents, np.asarray(population.embeddings, np.float32), labels)

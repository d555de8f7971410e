"""`anonfaces population`: people -> cluster index."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose
from services.anonymizer.triton import Triton
from services.errors import ConversionError, IndexRefused
from services.population import demo as synthetic
from services.population.compatibility import check_built_with
from services.population.index import ClusterIndex, read_index
from services.population.sample import sampler_for
from services.settings import settings

app = typer.Typer(help="Populations, and the cluster indexes made of them.", no_args_is_help=True)
console = Console()


@app.callback()
def _group() -> None:
    """Populations, and the cluster indexes made of them."""


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=2, help="how many synthetic people")] = 240,
    k: Annotated[int, typer.Option(min=2, help="fewest people of a crowd")] = 10,
    seed: Annotated[int, typer.Option(help="the same seed samples the same people")] = 7,
    algorithm: Annotated[str, typer.Option(help="how people are partitioned")] = "mdav",
    name: Annotated[str, typer.Option(help="name of the index, below the home folder")] = "demo",
    missing: Annotated[bool, typer.Option(help="do nothing if that very index is there already")] = False,
) -> None:
    """Samples synthetic people, partitions them, and writes a cluster index to serve."""
    folder = settings().home / "indexes" / name
    if missing and _is_current(folder, people, k, seed, algorithm):
        console.print(f"{folder}: already there")
        return
    index = asyncio.run(_build(people, k, seed, algorithm, folder))
    sizes = index.crowds.sizes
    console.print(
        f"{folder}: version {index.version}, {len(index.enrolment.identities)} people in {len(sizes)} crowds of "
        f"{sizes.min()} to {sizes.max()} (k = {index.k}), information loss "
        f"{index.manifest['provenance']['partition']['information_loss']}",
        soft_wrap=True,
    )


def _is_current(folder: Path, people: int, k: int, seed: int, algorithm: str) -> bool:
    """Whether a valid index of that population is there, built with the models of the repository."""
    try:
        index = read_index(folder)
        check_built_with(index, settings().model_repository)
    except (IndexRefused, ConversionError):
        return False
    told = index.manifest["provenance"]
    models = choose(settings())
    found = (len(index.enrolment.identities), index.k, told.get("seed"), told.get("partition", {}).get("algorithm"))
    made_with = (told.get("embedder"), told.get("generator"))
    return found == (people, k, seed, algorithm) and made_with == (models.embedder.name, models.generator.name)


async def _build(people: int, k: int, seed: int, algorithm: str, folder: Path) -> ClusterIndex:
    s = settings()
    models = choose(s)
    sampler = sampler_for(models.generator, s.model_repository)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    served = {*models.online(), *sampler.models}
    with LocalTriton(s.model_repository, served, s.home / "run") as server, Progress(*columns, console=console) as bar:
        tasks: dict[str, int] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = int(bar.add_task(what, total=total))
            bar.update(tasks[what], completed=done)  # type: ignore[arg-type]

        async with Triton(server.url, timeout_s=120) as triton:
            sampled = await synthetic.sample_people(people, seed, triton, models, sampler, progress)
            return await synthetic.build_index(
                sampled, k, algorithm, seed, triton, models, s.model_repository, folder, progress
            )

"""`anonfaces population`: people -> cluster index. Each command is beside the code it drives."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.models import Models, choose
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError, ConversionError, IndexRefused
from services.population.build.cli import build, run_build, show
from services.population.build.options import BuildOptions, Place
from services.population.compatibility import check_built_with
from services.population.demo import sample_people
from services.population.enroll.cli import enroll, remove
from services.population.generate.cli import generate, labels
from services.population.index import EnrolmentStore, building, index_folder, open_index
from services.population.partition.cli import partition
from services.population.people import Population
from services.population.sample import sampler_for
from services.population.stats.cli import stats
from services.population.surrogates.cli import surrogates
from services.settings import Settings, settings

app = typer.Typer(help="Populations: photos of people -> crowds -> a cluster index.", no_args_is_help=True)
console = Console()


@app.callback()
def _group() -> None:
    """Populations: photos of people -> crowds -> a cluster index."""


for _command in (enroll, stats, build, surrogates, remove, partition, generate, labels):
    app.command()(_command)


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
    s = settings()
    folder = index_folder(name, s.home)
    if missing and _is_current(s.model_copy(update={"index": str(folder)}), people, k, seed, algorithm):
        console.print(f"{folder}: already there")
        return
    models = choose(s)
    sampled = asyncio.run(_sample(people, seed, name, models, s))
    # Everybody is new each time, and nobody is alike but by chance.
    options = BuildOptions(k, algorithm, seed=0, duplicates="ignore", new_epoch=True)
    place = Place(folder, EnrolmentStore.of(s, name), s.model_repository, models)
    with building(folder):
        show(run_build(sampled, options, place, s), console)


def _is_current(s: Settings, people: int, k: int, seed: int, algorithm: str) -> bool:
    """Whether a valid index of that population is there with its map, built with the models of the repository."""
    try:
        index = open_index(s)
        check_built_with(index, s.model_repository)
    except (IndexRefused, ConversionError, ConfigurationError):
        return False
    told = index.manifest["provenance"]
    models = choose(s)
    found = (int(index.crowds.sizes.sum()), index.k, told.get("seed"), told.get("partition", {}).get("algorithm"))
    made_with = (told.get("embedder"), told.get("generator"), index.enrolment is not None)
    return found == (people, k, seed, algorithm) and made_with == (models.embedder.name, models.generator.name, True)


async def _sample(count: int, seed: int, name: str, models: Models, s: Settings) -> Population:
    sampler = sampler_for(models.generator, s.model_repository)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    served = {*models.online(), *sampler.models}
    with LocalTriton(s.model_repository, served, s.home / "run") as server, Progress(*columns, console=console) as bar:
        task: TaskID = bar.add_task("sampling people", total=count)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, completed=done)

        async with Triton(server.url, timeout_s=120) as triton:
            return await sample_people(count, seed, triton, models, sampler, s.model_repository, progress, name)

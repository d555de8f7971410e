"""`anonfaces population`: people -> cluster index."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose
from services.anonymizer.triton import Triton
from services.arrays import read_embeddings
from services.errors import ConfigurationError, ConversionError, IndexRefused
from services.files import require_parent
from services.population import demo as synthetic
from services.population.compatibility import check_built_with
from services.population.index import ClusterIndex, EnrolmentStore, read_index, with_enrolment
from services.population.partition import information_loss, partition
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
        f"{folder}: version {index.version}, {sizes.sum()} people in {len(sizes)} crowds of "
        f"{sizes.min()} to {sizes.max()} (k = {index.k}), information loss "
        f"{index.manifest['provenance']['partition']['information_loss']}",
        soft_wrap=True,
    )


@app.command("partition")
def partition_(
    embeddings: Annotated[Path, typer.Option(exists=True, dir_okay=False, help=".npz with `embedding`, or .npy")],
    k: Annotated[int, typer.Option(help="fewest people of a crowd")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="where the labels go (CSV)")],
    algorithm: Annotated[str, typer.Option(help="how people are partitioned")] = "swap",
    effort: Annotated[str, typer.Option(help="quick, default or thorough")] = "default",
    seed: Annotated[int, typer.Option(help="the same seed gives the same labels")] = 0,
    as_json: Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")] = None,
) -> None:
    """Partitions bare embeddings, one row a person: CSV with a header, then each row and its crowd, in order."""
    require_parent(out)
    points = read_embeddings(embeddings)
    start = time.perf_counter()
    labels = partition(points, k, algorithm, seed, effort)
    told = {
        "people": len(points),
        "k": k,
        "algorithm": algorithm,
        "effort": effort,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 3),
        "information_loss": round(information_loss(points, labels), 6),
        "crowds": int(labels.max()) + 1,
        "smallest": int(np.bincount(labels).min()),
        "largest": int(np.bincount(labels).max()),
    }
    partial = out.with_name(f".{out.name}.part")
    np.savetxt(partial, np.column_stack([np.arange(len(labels)), labels]), "%d", ",", header="row,crowd", comments="")
    partial.replace(out)
    if as_json is None:
        console.print(
            f"{told['people']} people in {told['crowds']} crowds of {told['smallest']} to {told['largest']}, "
            f"information loss {told['information_loss']:.4f}, {told['seconds']:.1f} s: {out}",
            soft_wrap=True,
            highlight=False,
        )
    elif str(as_json) == "-":
        typer.echo(json.dumps(told))
    else:
        as_json.write_text(json.dumps(told, indent=1) + "\n")


def _is_current(folder: Path, people: int, k: int, seed: int, algorithm: str) -> bool:
    """Whether a valid index of that population is there, built with the models of the repository."""
    try:
        index = with_enrolment(read_index(folder), settings())
        check_built_with(index, settings().model_repository)
    except (IndexRefused, ConversionError, ConfigurationError):
        return False
    told = index.manifest["provenance"]
    models = choose(settings())
    if index.enrolment is None:
        return False
    found = (int(index.crowds.sizes.sum()), index.k, told.get("seed"), told.get("partition", {}).get("algorithm"))
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
                sampled,
                k,
                algorithm,
                seed,
                triton,
                models,
                s.model_repository,
                folder,
                EnrolmentStore.of(s, folder.name),
                progress,
            )

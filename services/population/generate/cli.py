"""`anonfaces population generate` and `labels`: data to try things on, and whose faces others have."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_inverter
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError
from services.population.compatibility import check_inverter
from services.population.enroll.progress import watching
from services.population.generate.layouts import Layout, read_labels
from services.population.generate.make import Plan, make_photos
from services.population.generate.places import Shape
from services.population.sample import sampler_for
from services.population.tell import tell
from services.settings import settings


def generate(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="where the photos go; made if it is not there")],
    people: Annotated[int, typer.Option(min=1, max=99_999, help="how many")] = 20,
    photos: Annotated[int, typer.Option(min=1, max=9_999, help="of each; the first is the person as sampled")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="people are those of `population demo` with the same seed")] = 7,
    layout: Annotated[Shape, typer.Option(help="of what data set the folder has the shape")] = "folders",
    triton: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")] = None,
) -> None:
    """Generates photos of people who do not exist, several of each: pose, expression, hair, background and light vary.

    Prints how far apart the photos of one person are for the embedder, and those of two. The same options make the same
    photos.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty; generated photos are not mixed with others")
    s = settings()
    models = choose(s)
    sampler, inverter = sampler_for(models.generator, s.model_repository), find_inverter(models, s.model_repository)
    check_inverter(inverter, s.model_repository)
    plan = Plan(people, photos, seed, layout)
    served = {*models.detector.served, models.embedder.model, *sampler.models, inverter.model}

    async def run(url: str) -> dict[str, Any]:
        with watching(Console(stderr=True), people * photos, 0, "generating photos") as report:
            async with Triton(url, timeout_s=120) as client:
                return await make_photos(plan, folder, models, sampler, inverter, client, report)

    with _serving(triton, served) as url:
        told = asyncio.run(run(url))
    if as_json is not None:
        tell(told, as_json)
    if str(as_json) != "-":
        _show(told, folder, Console())


def labels(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="a data set as it was unpacked")],
    layout: Annotated[Layout, typer.Option(help="how it lies")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="CSV for `enroll --identities` and `release --identities`")],
    attribute: Annotated[list[str] | None, typer.Option(help="to take along, by name; repeat it")] = None,
) -> None:
    """Reads who is in the photos of LFW, CelebA or RaFD, as these data sets say it, into a table."""
    told = read_labels(folder, layout)
    text = told.as_csv(attribute or [])
    partial = out.with_name(f".{out.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(out)
    people = len({row.identity for row in told.rows})
    without = f"; of {told.unlabelled} other photos nothing is told" if told.unlabelled else ""
    Console().print(f"{len(told.rows)} photos of {people} people in {out}{without}", soft_wrap=True, highlight=False)


@contextmanager
def _serving(url: str | None, models: set[str]) -> Iterator[str]:
    if url is not None:
        yield url
        return
    s = settings()
    with LocalTriton(s.model_repository, models, s.home / "run" / "generate") as server:
        yield server.url


def _show(told: dict[str, Any], folder: Path, console: Console) -> None:
    console.print(
        f"{told['photos']} photos in {folder}, {told['faceless']} without a face that is found", highlight=False
    )
    for pairs, values in told["figures"].items():
        within = ", ".join(f"{v:.1%} within {n.removeprefix('within_')}" for n, v in values.items() if "within" in n)
        console.print(
            f"{values['pairs']} pairs of {pairs} people: median {values['median']:.3f}, {within}", highlight=False
        )

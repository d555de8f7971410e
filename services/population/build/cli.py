"""`anonfaces population build`: a population -> the next version of its cluster index."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.models import Models, choose
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError, NobodyEnrolled
from services.population.build.options import BuildOptions, Built, Place
from services.population.build.steps import build as build_index
from services.population.build.steps import forget_removed
from services.population.constraints import parse_constraints
from services.population.engine import Engine, engine_for
from services.population.enroll.about import population_folder, read_removed
from services.population.enroll.store import read_population
from services.population.index import EnrolmentStore, building, index_folder
from services.population.index.cli import describe
from services.population.people import Population
from services.population.sample import sampler_for
from services.population.surrogates import RiskOptions, show_report
from services.population.tell import tell
from services.settings import Settings, settings

console = Console()


def build(
    name: Annotated[str, typer.Argument(help="name of a population, as given to `enroll`")],
    k: Annotated[int, typer.Option(help="fewest people of a crowd")],
    index: Annotated[str | None, typer.Option(help="name of the index; the population's if not given")] = None,
    algorithm: Annotated[str, typer.Option(help="how people are partitioned")] = "swap",
    effort: Annotated[str, typer.Option(help="quick, default or thorough")] = "default",
    seed: Annotated[int, typer.Option(help="the same seed gives the same index")] = 0,
    separate: Annotated[list[str], typer.Option(help="attribute that no crowd may mix; any number of times")] = [],  # noqa: B006
    diverse: Annotated[list[str], typer.Option(help="NAME:L, an attribute with L values in every crowd")] = [],  # noqa: B006
    merge_small: Annotated[bool, typer.Option("--merge-small", help="strata too small join the nearest one")] = False,
    surrogates: Annotated[str, typer.Option(help="mean or random weights of the members' latents")] = "mean",
    risk_target: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of members who may be as near as one person to it")
    ] = None,
    risk_threshold: Annotated[
        float | None, typer.Option(help="as near as one person; the embedder's if not given")
    ] = None,
    risk_renders: Annotated[int, typer.Option(min=2, help="pictures tried for a crowd")] = 12,
    risk_best_effort: Annotated[
        bool, typer.Option("--risk-best-effort", help="build though the target is missed")
    ] = False,
    duplicates: Annotated[
        str, typer.Option(help="identities likely one person: count-once, ignore or refuse")
    ] = "count-once",
    duplicate_threshold: Annotated[
        float | None, typer.Option(help="how near they are; 0.7 of the embedder's if not given")
    ] = None,
    new_epoch: Annotated[
        bool, typer.Option("--new-epoch", help="partition everybody anew; names what to withdraw")
    ] = False,
    engine: Annotated[str, typer.Option(help="local or ray")] = "local",
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; one of its own if not given")] = None,
    triton: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")] = None,
) -> None:
    """Partitions a population and publishes the next version of its index; crowds that are there stay as they are."""
    s = settings()
    models = choose(s)
    source, folder = population_folder(name, s.populations_dir), index_folder(index or name, s.home)
    place = Place(folder, EnrolmentStore.of(s, folder.name), s.model_repository, models)
    try:
        population = read_population(source)
    except NobodyEnrolled as empty:
        _forget(place, read_removed(source)[0], empty)
    risk = None
    if risk_target is not None:
        risk = RiskOptions(risk_target, risk_threshold, risk_renders, risk_best_effort)
    options = BuildOptions(
        k=k,
        algorithm=algorithm,
        effort=effort,
        seed=seed,
        constraints=parse_constraints(separate, diverse, merge_small),
        surrogates="risk" if risk else _one_of("surrogates", surrogates, ("mean", "random")),
        risk=risk,
        duplicates=_one_of("duplicates", duplicates, ("count-once", "ignore", "refuse")),
        duplicate_threshold=duplicate_threshold,
        new_epoch=new_epoch,
    )
    with building(folder), engine_for(engine, address) as machines:
        built = run_build(population, options, place, s, machines, triton)
    show(built, console if as_json is None else None)
    if as_json is not None:
        tell(built.as_dict(), as_json)


def _forget(place: Place, removed: set[str], empty: NobodyEnrolled) -> NoReturn:
    """There is nobody left to build with; but who was removed must not stay in the maps. Raises NobodyEnrolled."""
    if removed and place.folder.exists():
        with building(place.folder):
            if forget_removed(place, removed) == 0:
                raise NobodyEnrolled(
                    f"{empty}. All that were removed are out of the maps of {place.folder.name}: nobody is recognised; "
                    "withdraw the index if it is not to serve strangers either"
                ) from None
    raise empty


def _one_of(option: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise EnrolmentError(f"--{option} {value}: there are {', '.join(known)}")
    return value


def run_build(
    population: Population,
    options: BuildOptions,
    place: Place,
    s: Settings,
    engine: Engine | None = None,
    triton: str | None = None,
) -> Built:
    """Builds with a progress bar, and with a Triton of its own if no running one is named. Raises as `build` does."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Console(stderr=True)  # the standard output is for what came of it
    with _triton(triton, place.models, s) as url, Progress(*columns, console=shown) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        async def through() -> Built:
            async with Triton(url, timeout_s=120) as client:
                return await build_index(population, options, place, client, engine, progress)

        return asyncio.run(through())


@contextmanager
def _triton(url: str | None, models: Models, s: Settings) -> Iterator[str]:
    """A Triton with the models of a build: the one at `url`, or one of its own."""
    if url is not None:
        yield url
        return
    served = {*models.online(), *sampler_for(models.generator, s.model_repository).models}
    with LocalTriton(s.model_repository, served, s.home / "run" / "build") as server:
        yield server.url


def show(built: Built, console: Console | None) -> None:
    """What came of a build, in sentences."""
    if console is None:
        return
    index = built.index
    if built.plan.step is None:
        console.print(f"nothing has changed since version {index.version}", soft_wrap=True, highlight=False)
    else:
        sizes = index.crowds.sizes
        console.print(
            f"version {index.version}, {built.plan.step}: {sizes.sum()} people in {len(sizes)} crowds of {sizes.min()} "
            f"to {sizes.max()} (k = {index.k}), {len(index.enrolled.identities)} identities enrolled",
            soft_wrap=True,
            highlight=False,
        )
    for line in _remarks(built):
        console.print(line, soft_wrap=True, highlight=False)
    show_report(built.surrogates, console)


def _remarks(built: Built) -> list[str]:
    remarks = list(built.constraints.get("remarks", ()))
    if built.duplicates:
        remarks.append(f"{built.duplicates} pairs of identities are likely one person each, and count once")
    if built.plan.waiting:
        remarks.append(
            f"{built.plan.waiting} newcomers wait until crowds of {built.index.k} can be made of them; till then they "
            "are strangers"
        )
    if built.plan.people_removed:
        remarks.append(f"{built.plan.people_removed} identities were removed; their crowds stay as they are")
    if built.difference:
        remarks.append(describe(built.difference))
    withdrawn = built.index.ledger[-1].withdraws if built.plan.step else []
    if withdrawn:
        remarks.append(f"withdraw what was published with versions {', '.join(withdrawn)}")
    return remarks

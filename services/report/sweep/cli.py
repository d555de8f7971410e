"""`anonfaces report sweep`: k against loss and risk, for recognisers, partitioners, generators and weightings."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from services.anonymizer.models import Models, choose, find_embedder, find_generator
from services.anonymizer.models.find import DEFAULTS
from services.errors import ReportError
from services.files import require_parent
from services.local_triton import serving
from services.population.enroll.about import population_folder
from services.population.enroll.store import read_population
from services.population.people import Population
from services.population.sample import sampler_for
from services.population.tell import tell
from services.provenance import how_to_bring, is_converted
from services.report.look import UNINVOLVED
from services.report.sweep.cells import Axes, measured, read_algorithms, read_ks, read_weightings, split
from services.report.sweep.flow import Work, make_sweep
from services.report.sweep.page import Swept, write_page
from services.report.sweep.people import latents_of
from services.report.sweep.published import read_curves
from services.report.sweep.run import Wish
from services.report.sweep.target import Aim, Side, pick
from services.settings import Settings, settings


def sweep(
    name: Annotated[str | None, typer.Argument(help="name of a population; synthetic people if not given")] = None,
    k: Annotated[str, typer.Option("--k", help="fewest people of a crowd, with commas between")] = "2,3,5,10,20",
    embedders: Annotated[
        str | None, typer.Option(help="whose embeddings are partitioned; all that are converted if not given")
    ] = None,
    generators: Annotated[str, typer.Option(help="that draw surrogates")] = "mobile-stylegan-512",
    algorithms: Annotated[str, typer.Option(help="that partition")] = "swap,hierarchical,mdav,random",
    weightings: Annotated[
        str, typer.Option(help="mean, random, risk:SHARE; the last one takes --risk-renders pictures a crowd")
    ] = "mean,random,risk:0.1",
    people: Annotated[int, typer.Option(min=4, help="how many synthetic people")] = 60,
    seed: Annotated[int, typer.Option(help="the same seed draws the same people and crowds")] = 7,
    risk_renders: Annotated[int, typer.Option(min=2, help="pictures tried for a crowd by risk:SHARE")] = 8,
    every: Annotated[
        bool,
        typer.Option("--all", help="every combination; otherwise one is changed at a time, from the first of each"),
    ] = False,
    no_render: Annotated[
        bool, typer.Option("--no-render", help="loss of the partitions alone: no surrogate is drawn, seconds a cell")
    ] = False,
    target_risk: Annotated[
        float | None, typer.Option(help="find the least loss at which at most this share of members is recognised")
    ] = None,
    risk_by: Annotated[
        str | None, typer.Option(help="recogniser that counts; the worst that did not partition if not given")
    ] = None,
    risk_side: Annotated[
        str, typer.Option(help="upper: the interval's upper end must meet the risk; value: the measured share")
    ] = "upper",
    published: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="folder of the paper's curves, drawn beside")
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder for the page, the JSON and finished cells")] = Path(
        "sweep"
    ),
    as_json: Annotated[Path | None, typer.Option("--json", help="the JSON elsewhere; - prints it")] = None,
    triton: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")
    ] = None,
) -> None:
    """Measures what k costs and hides, on your population or on people who do not exist.

    A cell is one embedder, algorithm, generator and weighting at one k. It costs about people/k pictures, risk:SHARE
    --risk-renders times that, and each generator one picture a person; two CPU cores make about four pictures a second.
    The defaults take about five minutes on them. A sweep that was ended goes on where it was.

    --target-risk goes up from the smallest k, tries tuned surrogates where plain ones miss, and says what to build;
    if nothing meets it, the exit status is 2.
    """
    own = settings()
    require_parent(out)
    population = read_population(population_folder(name, own.populations_dir)) if name is not None else None
    models = _models(population, own)
    aim = _aim(target_risk, risk_by, risk_side)
    axes = Axes(
        _embedders(embedders, models, own.model_repository),
        read_algorithms(algorithms),
        split(generators, "--generators"),
        read_weightings(weightings),
        read_ks(k),
    )
    wish = _wish(axes, population, models, own, people, seed, risk_renders, not no_render)
    if aim:
        _check(aim, axes, wish, models)
    curves = read_curves(published)
    work = Work(wish, axes, every, aim, models, own.model_repository)
    outcomes = make_sweep(work, out, lambda models: serving(triton, own, models, "sweep"), Console(stderr=True))
    picked = pick(aim, outcomes, name or "POPULATION", seed, risk_renders) if aim else None
    found = Swept(
        wish.people,
        f"population {name}" if name else "drawn from a generator: they do not exist",
        seed,
        shlex.join(["anonfaces", *sys.argv[1:]]),
        tuple(one.name for one in wish.recognisers),
        tuple(outcomes),
        curves,
        picked,
    )
    write_page(found, out / "sweep.html")
    tell(found.as_dict(), as_json or out / "sweep.json")
    _say(found, out / "sweep.html")
    if picked and not picked.chosen:
        raise ReportError(f"{picked.why}; take a higher --target-risk, larger --k, or more people")


def _say(found: Swept, page: Path) -> None:
    """A few lines on the error output: the standard output is for JSON."""
    console = Console(stderr=True)
    lines = [f"{len(measured(found.outcomes))} of {len(found.outcomes)} cells measured: {page}"]
    if found.pick and found.pick.chosen:
        cell = found.pick.chosen.cell
        lines += [f"k = {cell.k}, {cell.algorithm}, {cell.weighting}: {found.pick.why}", found.pick.command]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _models(population: Population | None, own: Settings) -> Models:
    """Those a population was enrolled with; the installation's where there is none."""
    made = population.made_with if population else {}
    return choose(own, {part: str(made.get(part) or default) for part, default in DEFAULTS.items()})


def _aim(risk: float | None, by: str | None, side: str) -> Aim | None:
    sides: dict[str, Side] = {one: one for one in get_args(Side)}
    if side not in sides:
        raise ReportError(f"--risk-side {side}: there are {', '.join(sides)}")
    return None if risk is None else Aim(risk, by, sides[side])


def _embedders(named: str | None, models: Models, repository: Path) -> tuple[str, ...]:
    """Names of those that partition. Raises ReportError: one that was named is not converted."""
    if named is None:
        others = [name for name in UNINVOLVED if is_converted(repository, find_embedder(name, repository).model)]
        return tuple(dict.fromkeys([models.embedder.name, *others]))
    names = split(named, "--embedders")
    missing = [name for name in names if not is_converted(repository, find_embedder(name, repository).model)]
    if missing:
        raise ReportError(how_to_bring(missing))
    return names


def _wish(
    axes: Axes,
    population: Population | None,
    models: Models,
    own: Settings,
    people: int,
    seed: int,
    renders: int,
    render: bool,
) -> Wish:
    """What is swept, from what is installed."""
    repository = own.model_repository
    embedders = {name: find_embedder(name, repository) for name in axes.embedders}
    further = [find_embedder(name, repository) for name in (models.embedder.name, *UNINVOLVED)]
    looking = {**embedders, **{one.name: one for one in further if render and is_converted(repository, one.model)}}
    generators = {name: find_generator(name, repository) for name in axes.generators}
    if population is not None:
        latents_of(population)
    return Wish(
        embedders=embedders,
        recognisers=tuple(looking.values()),
        generators=generators,
        samplers={name: sampler_for(generator, repository) for name, generator in generators.items()},
        people=len(population.identities) if population else people,
        seed=seed,
        renders=renders,
        render=render,
        population=population,
        home=models.generator if population else None,
    )


def _check(aim: Aim, axes: Axes, wish: Wish, models: Models) -> None:
    """Raises ReportError where nobody could judge, or what is chosen could not be built."""
    if axes.embedders[0] != models.embedder.name:
        raise ReportError(
            f"--target-risk says what to build, and an index is built by {models.embedder.name} here; name it first of "
            f"--embedders, or set ANONFACES_EMBEDDER={axes.embedders[0]}"
        )
    drawn, own = wish.generators[axes.generators[0]], models.generator
    if (drawn.mapping, drawn.latent_shape) != (own.mapping, own.latent_shape):
        raise ReportError(
            f"--target-risk says what to build, and {drawn.name} draws from other latents than {own.name}; name "
            f"{own.name}, or its preview, first of --generators"
        )
    names = [one.name for one in wish.recognisers]
    if not wish.render:
        raise ReportError("--target-risk needs surrogates; leave --no-render out")
    if aim.by and aim.by not in names:
        raise ReportError(f"--risk-by {aim.by}: those that look are {', '.join(names)}; add it to --embedders")
    if not aim.by and names == [axes.embedders[0]]:
        raise ReportError(f"{names[0]} makes the crowds; bring mobileface or faceres to judge them, or name --risk-by")

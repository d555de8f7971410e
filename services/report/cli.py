"""`anonfaces report`: what a release gives away, and what it keeps, as a page and as JSON."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.anonymizer.models import find_embedder, find_estimators
from services.default_command import by_default
from services.errors import ReportError
from services.files import require_parent
from services.local_triton import serving
from services.population.enroll.about import population_folder
from services.population.enroll.making import inverter_for
from services.population.enroll.store import read_population
from services.population.sample import sampler_for
from services.population.tell import tell
from services.provenance import how_to_bring, is_converted
from services.release.terms import private_of
from services.release.whose import read_whose
from services.release.write import write_at_once
from services.report.baselines import NAMES
from services.report.example import Example, make_example
from services.report.fairness import attributes_of
from services.report.flow import Wish, make_report
from services.report.look import UNINVOLVED
from services.report.opened import Opened, open_release
from services.report.page import write_page
from services.report.show import show
from services.report.sweep.cli import sweep
from services.settings import settings

OF = "of"

Private = Annotated[
    Path | None, typer.Option(file_okay=False, help="folder of the release's journal; RELEASE.private if not given")
]
Json = Annotated[Path | None, typer.Option("--json", help="the report as JSON; - prints it. Beside the page otherwise")]

app = typer.Typer(
    cls=by_default(OF),
    help="What a release gives away, and what it keeps. `report RELEASE --originals FOLDER`",
    no_args_is_help=True,
)
app.command("sweep")(sweep)


@app.command(OF)
def report(
    release: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of a release")],
    originals: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="the photos; where they were, if not given")
    ] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="the page; RELEASE.report.html if not given")] = None,
    as_json: Json = None,
    private: Private = None,
    index: Annotated[
        str | None, typer.Option(help="name of its cluster index; the same as it was if not given")
    ] = None,
    identities: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV or .parquet: photo, identity; who is in them")
    ] = None,
    by_folder: Annotated[
        bool, typer.Option("--by-folder", help="the first folder below the originals says who it is")
    ] = False,
    recogniser: Annotated[
        list[str] | None,
        typer.Option(help="that had no part in the crowds; repeat it. mobileface and faceres if not given"),
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help=f"other ways to hide: {', '.join(NAMES)}; all if not given")
    ] = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="look at the release alone, in a fifth of the time")
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="another release of the same people; repeat it"),
    ] = None,
    population: Annotated[
        str | None, typer.Option(help="whose attributes group people, rather than what their photos look like")
    ] = None,
    people: Annotated[int, typer.Option(min=2, help="looked at; of more, so many are drawn")] = 300,
    seed: Annotated[int, typer.Option(help="of draws: people, bootstrap, random faces")] = 0,
    public: Annotated[
        bool,
        typer.Option("--public", help="leave out what is for the owner alone: paths of misses, pictures of originals"),
    ] = False,
    triton: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")
    ] = None,
) -> None:
    """Measures a release: attacks by recognisers that had no part in it, utility, fairness, and every failure.

    Needs the originals, the private folder, and who is in the photos (--by-folder, --identities; else as the release
    recognised them). Nothing of a face is written: figures, and a few pictures on the page.
    """
    own = settings()
    page = out or release.resolve().with_name(f"{release.resolve().name}.report.html")
    require_parent(page)
    require_parent(as_json if str(as_json) != "-" else None)
    if identities is not None and by_folder:
        raise ReportError("--identities and --by-folder both say who is in the photos; choose one")
    whose = read_whose(identities, by_folder)
    opened = open_release(release, private_of(release, private), originals, whose, index, own)
    further = [open_release(other, private_of(other), originals, opened.whose, None, own) for other in also or []]
    wish = _wish(opened, recogniser, [] if no_baselines else baseline, tuple(further), people, seed)
    if population is not None:
        held = read_population(population_folder(population, own.populations_dir))
        wish = replace(wish, known=attributes_of(held))
    found = make_report(opened, wish, lambda models: serving(triton, own, models, "report"), Console(stderr=True))
    write_page(found, page, public)
    if str(as_json) == "-":
        tell(found.as_dict(public), Path("-"))
    else:
        data = json.dumps(found.as_dict(public), indent=1).encode() + b"\n"
        write_at_once(as_json or page.with_suffix(".json"), data, 0o644 if public else 0o600)
    if str(as_json) != "-":
        show(found, page, Console())


@app.command()
def example(
    out: Annotated[Path, typer.Argument(file_okay=False, help="folder for all of it")],
    people: Annotated[int, typer.Option(min=5, help="generated; one of five is not enrolled")] = 100,
    photos: Annotated[int, typer.Option(min=2, help="of each")] = 3,
    k: Annotated[list[int], typer.Option(min=2, help="repeat it: one release and one report each")] = [5, 10],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="the same seed makes the same people")] = 7,
    baseline: Annotated[list[str] | None, typer.Option(help="other ways to hide; all if not given")] = None,
    no_baselines: Annotated[bool, typer.Option("--no-baselines", help="look at the releases alone")] = False,
) -> None:
    """Generates people, enrols and releases them, and writes the reports: every step a command that it shows."""
    from services.cli import COMMANDS  # here: it imports this module

    def run(words: Sequence[str]) -> None:
        sys.argv[1:] = words  # a report says by which command it was made
        typer.main.get_command(COMMANDS).main(list(words), standalone_mode=False)

    console = Console(stderr=True)
    further = ["--no-baselines"] if no_baselines else []
    further += [word for name in baseline or [] for word in ("--baseline", name)]
    wanted = Example(out, people, photos, tuple(sorted(set(k))), seed, tuple(further))
    pages = make_example(wanted, run, lambda line: console.print(f"[bold]{line}", soft_wrap=True, highlight=False))
    for page in pages:
        Console().print(f"{page}", soft_wrap=True, highlight=False, markup=False)


def _wish(
    opened: Opened,
    recogniser: list[str] | None,
    baseline: list[str] | None,
    also: tuple[Opened, ...],
    people: int,
    seed: int,
) -> Wish:
    """What is asked for, from what is installed.

    Raises:
        ReportError: fewer than two recognisers had no part in the crowds; or a baseline is unknown.
    """
    repository = opened.job.settings.model_repository
    own = opened.models.embedder.name
    names = [name for name in recogniser or UNINVOLVED if name != own]
    embedders = [find_embedder(name, repository) for name in names]
    missing = [one.name for one in embedders if not is_converted(repository, one.model)]
    if missing:
        raise ReportError(how_to_bring(missing))
    if not embedders:
        raise ReportError(f"{own} chose the crowds; name a --recogniser that had no part in them")
    unknown = [name for name in baseline or [] if name not in NAMES]
    if unknown:
        raise ReportError(f"--baseline {unknown[0]}: there are {', '.join(NAMES)}")
    inverter, _ = inverter_for(opened.models, repository)
    return Wish(
        recognisers=tuple(embedders),
        estimators=tuple(find_estimators(repository)),
        baselines=tuple(NAMES if baseline is None else baseline),
        people=people,
        seed=seed,
        command=shlex.join(["anonfaces", *sys.argv[1:]]),
        inverter=inverter,
        sampler=sampler_for(opened.models.generator, repository),
        also=also,
    )

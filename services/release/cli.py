"""`anonfaces release`: a collection -> a release that can be published, with its manifest and its proof."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from services.anonymizer.options import Options
from services.default_command import by_default
from services.errors import ConfigurationError, ReleaseError
from services.files import require_parent
from services.local_triton import serving
from services.population.compatibility import served_models
from services.population.engine import EngineName
from services.population.tell import tell
from services.release.check import check_release
from services.release.flow import Outcome, make, verify_again
from services.release.report import show, show_check
from services.release.request import How, Recognisable, Request, new_terms, open_index_version, request_of
from services.release.run import CHUNK, Where
from services.release.terms import Kind, private_of, read_terms
from services.release.whose import Whose, read_whose
from services.settings import NoFacePolicy, Settings, SmallFacePolicy, StrangerPolicy, settings

MAKE = "make"

Out = Annotated[Path, typer.Option(file_okay=False, help="folder that is published; made, or gone on with")]
Made = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of a release")]
Index = Annotated[str | None, typer.Option(help="name of the cluster index; that of ANONFACES_INDEX if not given")]
Private = Annotated[
    Path | None, typer.Option(file_okay=False, help="folder for what is never published; OUT.private if not given")
]
Concurrency = Annotated[int, typer.Option(min=1, max=64, help="photos under way at a time, of each worker")]
Patience = Annotated[float, typer.Option(min=0, help="minutes for which a lost Triton is waited for")]
Engine = Annotated[EngineName, typer.Option(help="local or ray")]
Address = Annotated[str | None, typer.Option(help="of a Ray cluster; one of its own if not given")]
Chunk = Annotated[int, typer.Option(min=1, help="photos that a worker of the cluster is given at a time")]
TritonAt = Annotated[str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")]
Looks = Annotated[
    Recognisable, typer.Option(help="of surrogates that look like who was there: the proof fails, or they are counted")
]
Json = Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")]


app = typer.Typer(
    cls=by_default(MAKE),
    help="Whole collections: every photo with its faces replaced, a manifest, and a proof. `release FOLDER --out OUT`",
    no_args_is_help=True,
)


@app.command(MAKE)
def release(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="the photos, with all their folders")],
    out: Out,
    index: Index = None,
    index_version: Annotated[
        str | None, typer.Option(help="its number, or the start of its name; else the current")
    ] = None,
    private: Private = None,
    surrogates_only: Annotated[
        bool, typer.Option("--surrogates-only", help="publish no photos: the surrogates, and which photo has which")
    ] = False,
    identities: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV or .parquet: photo, identity; who is in them")
    ] = None,
    by_folder: Annotated[
        bool, typer.Option("--by-folder", help="the first folder below FOLDER says who it is")
    ] = False,
    k: Annotated[int | None, typer.Option(min=2, help="refuse unless the index has at least this k")] = None,
    stranger: Annotated[StrangerPolicy | None, typer.Option(help="what to do with a face nobody enrolled")] = None,
    small_face: Annotated[SmallFacePolicy | None, typer.Option(help="what to do with one it cannot replace")] = None,
    no_face: Annotated[NoFacePolicy | None, typer.Option(help="what to do with a photo without faces")] = None,
    emotion: Annotated[str | None, typer.Option(help="of every surrogate, where the generator has that input")] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="of JPEG and WebP")] = None,
    verify: Annotated[bool, typer.Option(help="look at every photo again, each face held against its original")] = True,
    recognisable: Looks = "refuse",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="take photos out whose proof fails; else the release is not finished")
    ] = False,
    concurrency: Concurrency = 4,
    patience: Patience = 60.0,
    engine: Engine = "local",
    address: Address = None,
    chunk: Chunk = CHUNK,
    triton: TritonAt = None,
    as_json: Json = None,
) -> None:
    """Releases a collection: same names, same folders, every face replaced, nothing else kept of the files.

    Stopped anywhere, the same command goes on. OUT is whole when it holds manifest.json. What is in the private folder
    (hashes of the originals, reasons, distances) is for its owner alone.
    """
    if identities is not None and by_folder:
        raise ReleaseError("--identities and --by-folder both say who is in the photos; choose one")
    chosen: dict[str, Any] = {"k": k, "stranger": stranger, "small_face": small_face, "no_face": no_face}
    chosen |= {"emotion": emotion, "quality": quality}
    how = _how(engine, address, chunk, triton, concurrency, patience, as_json, verify, recognisable, withdraw)
    own = _own(index)
    opened = open_index_version(own, index_version)
    options = Options.of({name: value for name, value in chosen.items() if value is not None}).within(own)
    kind: Kind = "surrogates" if surrogates_only else "photos"
    whose = read_whose(identities, by_folder)
    terms = new_terms(kind, folder.resolve(), opened, options, whose, own)
    request = request_of(terms, opened, whose, out.resolve(), private_of(out, private), how, own)
    _tell(make(request, partial(_serving, request), Console(stderr=True)), as_json, request)


@app.command("verify")
def verify_(
    out: Made,
    private: Private = None,
    index: Index = None,
    recognisable: Looks = "refuse",
    concurrency: Concurrency = 4,
    patience: Patience = 60.0,
    engine: Engine = "local",
    address: Address = None,
    chunk: Chunk = CHUNK,
    triton: TritonAt = None,
    as_json: Json = None,
) -> None:
    """Proves a release anew, whatever was proved before. Needs the originals, and the private folder.

    Exit status 2, and a list, if a face is left, was not treated, or cannot be explained.
    """
    how = _how(engine, address, chunk, triton, concurrency, patience, as_json, True, recognisable, False)
    beside = private_of(out, private)
    terms = read_terms(beside)
    if terms is None:
        raise ReleaseError(f"there is no release in {beside}; say with --private where the rest of {out} is")
    own = _own(index or terms.index)
    opened = open_index_version(own, terms.index_version)
    request = request_of(terms, opened, Whose(), out.resolve(), beside, how, own)
    _tell(verify_again(request, partial(_serving, request), Console(stderr=True)), as_json, request)


@app.command()
def check(out: Made) -> None:
    """Checks a release as anybody can who has it: every file is the one its manifest names, and there is no other."""
    show_check(check_release(out), Console())


def _how(
    engine: EngineName,
    address: str | None,
    chunk: int,
    triton: str | None,
    concurrency: int,
    patience: float,
    as_json: Path | None,
    verify: bool,
    recognisable: Recognisable,
    withdraw: bool,
) -> How:
    require_parent(as_json if str(as_json) != "-" else None)
    if address is not None and triton is None:
        raise ConfigurationError("the workers of a cluster need a Triton that all of them reach: name it with --triton")
    where = Where(engine, address, chunk)
    return How(where, concurrency, 60 * patience, triton or "", verify, recognisable, withdraw)


def _own(index: str | None) -> Settings:
    """The settings, by which the operator may choose every policy."""
    return settings().model_copy(update={"may_relax": True, **({"index": index} if index else {})})


def _serving(request: Request) -> AbstractContextManager[str]:
    """A Triton with the models of the index."""
    own = request.job.settings
    return serving(request.how.url, own, served_models(own, request.models), "release")


def _tell(outcome: Outcome, as_json: Path | None, request: Request) -> None:
    """Reports. Raises ReleaseError if a proof failed."""
    if as_json is not None:
        tell(outcome.told, as_json)
    show(outcome, request.private, Console(stderr=str(as_json) == "-"))
    if outcome.failed:
        advice = "--withdraw takes such photos out of a release"
        if all(proof.found("recognisable") for proof in outcome.failed):
            advice += "; --recognisable count keeps those that only look alike, if one of k is all that you promise"
        unfinished = "and the release has no manifest" if "run" in outcome.told else "whatever was proved before"
        raise ReleaseError(f"the proof of {len(outcome.failed)} photos failed, as listed above, {unfinished}; {advice}")

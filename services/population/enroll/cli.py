"""`anonfaces population enroll` and `remove`: who is in a population."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_estimators
from services.errors import EnrolmentError
from services.files import require_parent, sha256_of
from services.population.engine import EngineName
from services.population.enroll.about import population_folder
from services.population.enroll.arrays import read_rows
from services.population.enroll.choose import Several
from services.population.enroll.chunk import Job
from services.population.enroll.duplicates import SHARE
from services.population.enroll.flow import Options, Outcome, enroll_arrays, enroll_folder
from services.population.enroll.gone import Policy
from services.population.enroll.group import LENIENT
from services.population.enroll.making import embedder_named, inverter_for, served_models, stated
from services.population.enroll.run import SHARD_PHOTOS, Engine
from services.population.enroll.sources import list_photos, name_of
from services.population.enroll.summary import Run, show
from services.population.enroll.writing import remove as remove_from
from services.population.tell import tell
from services.settings import settings

LEAST = 1e-6  # of a threshold
Json = Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")]


def enroll(
    name: Annotated[str, typer.Option(help="name of the population; made, or added to")],
    folder: Annotated[
        Path | None, typer.Argument(exists=True, file_okay=False, help="photos, as identity/photo.jpg")
    ] = None,
    identities: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV or .parquet: photo, identity, and attributes if any"),
    ] = None,
    group_by_face: Annotated[bool, typer.Option("--group-by-face", help="find identities from the faces")] = False,
    group_threshold: Annotated[
        float | None,
        typer.Option(min=LEAST, help="distance from which on two groups are two people; the embedder's if not given"),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="instead of photos: .npz or .parquet with `embedding`, or .npy"),
    ] = None,
    latents: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="of the embeddings: from `photos invert`, or .npy [n, l]"),
    ] = None,
    embedder: Annotated[str | None, typer.Option(help="what embeddings are of, or photos become")] = None,
    generator: Annotated[str | None, typer.Option(help="what latents are of, or photos become")] = None,
    several: Annotated[
        Several, typer.Option(help="of several faces: the one twice as large as any other, the largest, or none")
    ] = "dominant",
    duplicate_threshold: Annotated[
        float | None,
        typer.Option(min=LEAST, help="identities nearer than this may be one; 0.7 of the embedder's if not given"),
    ] = None,
    readmit: Annotated[bool, typer.Option("--readmit", help="enrol people again who were removed")] = False,
    gone: Annotated[
        Policy, typer.Option(help="of photos that are not in FOLDER any more: they count on, or are taken out")
    ] = "keep",
    engine: Annotated[EngineName, typer.Option(help="local or ray")] = "local",
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; one of its own if not given")] = None,
    triton: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; one of its own if not given")
    ] = None,
    shard_photos: Annotated[
        int, typer.Option(min=1, help="photos written at a time: most of what a crash can cost")
    ] = SHARD_PHOTOS,
    as_json: Json = None,
) -> None:
    """Enrols people: photos, or vectors that exist, become a population. Stopped, it goes on where it was.

    The population holds personal data, one vector a photo; its folder is for its owner alone.
    """
    target = population_folder(name, settings().populations_dir)
    require_parent(as_json if str(as_json) != "-" else None)
    _check_together(folder, embeddings, identities, latents, group_by_face)
    if address is not None and triton is None:
        raise EnrolmentError("the workers of a cluster need a Triton that all of them reach: name it with --triton")
    about = {"identities": _fingerprint(identities)}
    if embeddings is not None:
        arrays = read_rows(embeddings, latents, identities)
        made = stated(arrays, embedder, generator, settings())
        row = embedder_named(made["embedder"], settings())
        options = Options(duplicate_threshold or (SHARE * row.same_person if row else None), readmit=readmit)
        outcome = enroll_arrays(arrays, embeddings, target, made, options, {**about, "latents": _fingerprint(latents)})
    elif folder is not None:
        job, without = _job(folder, embedder, generator, several)
        same_person = job.models.embedder.same_person
        apart = (group_threshold or LENIENT * same_person) if group_by_face else None
        place = Engine(engine, address, shard_photos)
        options = Options(duplicate_threshold or SHARE * same_person, apart, readmit, gone, place)
        run = Run(job.source, without_latents=without, estimators=[estimator.name for estimator in job.estimators])
        listing = list_photos(folder, identities, group_by_face)
        outcome = enroll_folder(listing, target, job, options, run, about, partial(_serving, triton))
    _tell(outcome, as_json)
    if not outcome.enrolled:
        raise EnrolmentError(
            f"nobody was enrolled: no photo of {outcome.told['source']} has a face that can be used, as listed above"
        )


def remove(
    name: Annotated[str, typer.Argument(help="name of the population")],
    identities: Annotated[list[str], typer.Argument(help="who is to go, by name")],
    as_json: Json = None,
) -> None:
    """Takes people out of a population: what was stored of them is erased, but for their names.

    An index that was built with them stays as it is, and so do their photos, which are not touched: take them away as
    well. Whoever was removed is not enrolled again, unless --readmit says so.
    """
    require_parent(as_json if str(as_json) != "-" else None)
    target = population_folder(name, settings().populations_dir)
    gone = remove_from(target, identities)
    told = {"population": name, "removed": gone, "already_removed": len(set(identities)) - gone}
    if as_json is not None:
        tell(told, as_json)
    if str(as_json) != "-":
        Console().print(
            f"{gone} identities were removed from population {name}, {told['already_removed']} had been before",
            soft_wrap=True,
            highlight=False,
        )


def _job(folder: Path, embedder: str | None, generator: str | None, several: Several) -> tuple[Job, str]:
    """What enrolling photos takes, and why there will be no latents if there will be none."""
    models = choose(settings().model_copy(update=_named(embedder=embedder, generator=generator)))
    inverter, without = inverter_for(models, settings().model_repository)
    estimators = tuple(find_estimators(settings().model_repository, of="person"))
    return Job(name_of(folder.resolve()), models, inverter, estimators, several, settings()), without


@contextmanager
def _serving(url: str | None, job: Job) -> Iterator[str]:
    """A Triton with a job's models: the one at `url`, or one of its own."""
    if url is not None:
        yield url
        return
    with LocalTriton(job.settings.model_repository, served_models(job), job.settings.home / "run" / "enroll") as server:
        yield server.url


def _check_together(
    folder: Path | None, embeddings: Path | None, identities: Path | None, latents: Path | None, by_face: bool
) -> None:
    """Refuses options that say different things."""
    for file in (embeddings, identities, latents):
        if file is not None and not file.is_file():
            raise EnrolmentError(f"{file} is no regular file, and is read twice; save what comes out of it in one")
    if (folder is None) == (embeddings is None):
        raise EnrolmentError("name a folder of photos, or a file of --embeddings; one of them")
    if latents is not None and embeddings is None:
        raise EnrolmentError("--latents are of --embeddings; of photos they are found by the inversion")
    if by_face and (identities is not None or embeddings is not None):
        raise EnrolmentError("--group-by-face finds identities in photos; it goes with neither --identities nor arrays")


def _fingerprint(file: Path | None) -> dict[str, str] | None:
    """Which file it was."""
    return None if file is None else {"file": name_of(file.resolve()), "sha256": sha256_of(file)}


def _named(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _tell(outcome: Outcome, as_json: Path | None) -> None:
    if as_json is not None:
        tell(outcome.told, as_json)
    console = Console(stderr=str(as_json) == "-")
    show(outcome.told, outcome.listed, outcome.pairs, console)

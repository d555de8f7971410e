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
from services.population.enroll.group import LENIENT
from services.population.enroll.making import embedder_named, inverter_for, served_models, stated
from services.population.enroll.run import SHARD_PHOTOS, Engine
from services.population.enroll.sources import list_photos, name_of
from services.population.enroll.summary import Run, show
from services.population.enroll.writing import remove as remove_from
from services.population.tell import tell
from services.settings import settings

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
        float | None, typer.Option(help="distance from which on two groups are two people; the embedder's if not given")
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
        float | None, typer.Option(help="identities nearer than this may be one; 0.7 of the embedder's if not given")
    ] = None,
    readmit: Annotated[bool, typer.Option("--readmit", help="enrol people again who were removed")] = False,
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

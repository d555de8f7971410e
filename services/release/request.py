"""What is asked for, put together: terms that bind a release, and how this run works on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.anonymizer.models import Models
from services.anonymizer.options import Options
from services.errors import IndexRefused, KNotMet
from services.population.compatibility import models_for
from services.population.index import ClusterIndex, read_index, version_folder, versions_of, with_enrolment
from services.release.photo import Job
from services.release.run import Where
from services.release.terms import DECIDING, PHOTOS, Kind, Terms
from services.release.whose import Whose
from services.settings import Settings

Recognisable = Literal["refuse", "count"]  # a surrogate that looks like who was there: a failure, or a figure


@dataclass(frozen=True)
class Index:
    """A version of an index, opened with its map."""

    place: Path  # its folder
    held: ClusterIndex


@dataclass(frozen=True)
class How:
    """What one run may choose and the next one choose otherwise: it decides nothing about a photo that is released."""

    where: Where
    window: int  # photos under way at a time, of each worker
    patience_s: float  # for how long a lost Triton is waited for
    url: str = ""  # of Triton; "": one of its own
    verify: bool = True
    recognisable: Recognisable = "refuse"
    withdraw: bool = False  # photos whose proof fails


@dataclass(frozen=True)
class Request:
    """A release to make, or to go on with."""

    job: Job  # but for the address of a Triton of its own
    out: Path  # what is published
    private: Path  # what is not
    terms: Terms
    index: ClusterIndex
    models: Models
    whose: Whose
    how: How


def open_index_version(own: Settings, version: str | None) -> Index:
    """A version of the index that the settings name; the current one if none is asked for.

    Raises:
        IndexRefused: there is none, or it does not add up; or its map is required and not there.
        ConfigurationError: the map is there and its key is not.
    """
    folder = own.index_path
    place = version_folder(folder, version).resolve() if versions_of(folder) else folder.resolve()
    held = with_enrolment(read_index(place), own)
    if version is not None and held.version != version and not versions_of(folder):
        raise IndexRefused(f"{folder} holds version {held.version} alone, not {version}")
    return Index(place, held)


def new_terms(kind: Kind, folder: Path, index: Index, options: Options, whose: Whose, own: Settings) -> Terms:
    """The terms of a release that begins now."""
    return Terms(
        kind,
        str(folder),
        index.held.name,
        index.held.version,
        "nearest-only" if index.held.enrolment is None else "enrolled-first",
        options.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        whose.fingerprint,
        {name: getattr(own, name) for name in DECIDING},
    )


def request_of(terms: Terms, index: Index, whose: Whose, out: Path, private: Path, how: How, own: Settings) -> Request:
    """All that a run takes.

    Raises:
        KNotMet: the index does not give the k that was asked for.
        IndexRefused: the settings name other models than the index was made with.
        ConfigurationError: a model is not known here.
    """
    own = own.model_copy(update=terms.settings)
    options = Options.of(terms.options)
    if options.k is not None and (index.held.enrolment is None or options.k > index.held.k):
        raise KNotMet(f"k = {options.k} was asked for; index {terms.index} has {index.held.k}, or is without its map")
    folder = Path(terms.folder)
    job = Job(folder, out / PHOTOS, index.place, own, options, terms.kind, how.url, how.window, how.patience_s)
    return Request(job, out, private, terms, index.held, models_for(index.held, own), whose, how)

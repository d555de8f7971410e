"""The whole of an enrolment: a folder, or arrays -> a population that is finished, and what came of it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from services.population.enroll.about import About
from services.population.enroll.arrays import Arrays
from services.population.enroll.choose import rules_of
from services.population.enroll.chunk import Job
from services.population.enroll.finish import group_photos, relabel
from services.population.enroll.gone import Policy, leave_out_gone
from services.population.enroll.making import made_with
from services.population.enroll.progress import watching
from services.population.enroll.run import Engine, plan_photos, read_photos, store_arrays
from services.population.enroll.sources import Listing
from services.population.enroll.store import read_photos as stored_photos
from services.population.enroll.store import read_population
from services.population.enroll.summary import COLUMNS, Pairs, Run, find_pairs, not_enrolled, summarise, write_reports
from services.population.enroll.writing import Amend, Store, writing

Serve = Callable[[Job], AbstractContextManager[str]]  # a Triton with a job's models: its address


@dataclass(frozen=True)
class Options:
    """How people are enrolled, besides the models."""

    duplicate_threshold: float | None  # None: the embedder is not known, and they are not looked for
    group_threshold: float | None = None  # None: somebody says who the photos are of
    readmit: bool = False
    gone: Policy = "keep"  # photos that are not in their folder any more
    engine: Engine = field(default_factory=Engine)


@dataclass(frozen=True)
class Outcome:
    """What came of an enrolment."""

    told: dict[str, Any]
    listed: list[tuple[str, ...]]  # photos of this source that are not enrolled
    pairs: Pairs | None  # likely duplicates; None: nobody is enrolled at all
    enrolled: int  # photos of this source


def enroll_folder(
    listing: Listing, folder: Path, job: Job, options: Options, run: Run, about: dict[str, Any], serve: Serve
) -> Outcome:
    """Enrols the photos of a folder.

    Args:
        folder: of the population; made if it is not there.
        run: what is known of the run beforehand.
        about: options that population.json is to keep.
        serve: called if a photo has to be read.

    Raises:
        EnrolmentError, PopulationBusy: see `writing` and `plan_photos`.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures; the same call again goes on from there.
    """
    told = {**about, "source": listing.source, **vars(rules_of(job.several, job.settings))}
    told["group_threshold"] = options.group_threshold
    with writing(folder, About(made_with(job), job.models.embedder.dims, job.latent_dims, told)) as store:
        plan = plan_photos(store, listing, job, options.readmit)
        start = time.monotonic()
        if plan.todo:
            with serve(job) as url, watching(Console(stderr=True), len(plan.todo) + plan.kept, plan.kept) as report:
                start = time.monotonic()
                read_photos(store, plan, listing, replace(job, url=url), options.engine, report)
        amend, sureness = relabel(listing), None
        if options.group_threshold is not None:  # while those that were moved are there to say who is on them
            amend, sureness = group_photos(store, options.group_threshold)
        told_of = {row.photo for row in listing.unread}
        gone = leave_out_gone(store, listing.source, listing.there, options.gone, told_of, listing.closed, amend)
        run = replace(
            run,
            gone=gone,
            read=len(plan.todo),
            kept=plan.kept,
            seconds=time.monotonic() - start,
            others=listing.others,
            refused=len(plan.refused),
            sureness=sureness,
        )
        if sureness is None and not plan.relabelled and _is_finished(store, told):
            return _outcome(store, run, options)
        return _finished(store, amend, told, run, options)


def enroll_arrays(
    arrays: Arrays, file: Path, folder: Path, made: dict[str, Any], options: Options, about: dict[str, Any]
) -> Outcome:
    """Enrols arrays, read from `file`; see `enroll_folder`. The file's rows take the place of those it had before."""
    told = {**about, "source": arrays.source}
    with writing(folder, About(made, arrays.embeddings.shape[1], arrays.latent_dims, told)) as store:
        start = time.monotonic()
        changed = store.about.options != told
        stored, refused = store_arrays(store, arrays, file, options.readmit, changed)
        without = "" if arrays.latent_dims else "none were given; see --latents"
        run = Run(arrays.source, stored, len(arrays.told) - stored, time.monotonic() - start, without_latents=without)
        gone = leave_out_gone(store, arrays.source, {row.photo for row in arrays.told}, "drop")
        run = replace(run, refused=len(refused), gone=gone)
        if _is_finished(store, told):
            return _outcome(store, run, options)
        return _finished(store, lambda table: table, told, run, options)


def _is_finished(store: Store, told: dict[str, Any]) -> bool:
    """Whether there is nothing to write."""
    return not store.appended and store.about.finished and store.about.options == told


def _finished(store: Store, amend: Amend, told: dict[str, Any], run: Run, options: Options) -> Outcome:
    """Compacts a population, writes its reports, and says that it is finished; if anybody is enrolled at all."""
    if store.compact(amend, options=told):
        store.tell(finished=True)
        return _outcome(store, run, options)
    photos = stored_photos(store.folder, COLUMNS)
    told = summarise(store.folder, None, None, run, photos)
    store.abandon()
    return Outcome(told, not_enrolled(photos), None, 0)


def _outcome(store: Store, run: Run, options: Options) -> Outcome:
    population = read_population(store.folder)
    pairs = find_pairs(population, options.duplicate_threshold)
    write_reports(store.folder, pairs)
    photos = stored_photos(store.folder, COLUMNS)
    told = summarise(store.folder, population, pairs, run, photos)
    return Outcome(told, not_enrolled(photos, run.source), pairs, told["statuses"]["enrolled"])

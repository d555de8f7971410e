"""A folder, or arrays -> rows in a population's folder; goes on where it was stopped."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from services.errors import EnrolmentError
from services.population.enroll.about import read_removed
from services.population.enroll.arrays import Arrays, as_tables
from services.population.enroll.choose import rules_of
from services.population.enroll.chunk import TIMEOUT_S, Job, PatientTriton, enroll_chunk, enroll_photos
from services.population.enroll.rows import BAD, ENROLLED, Row
from services.population.enroll.sources import Entry, Listing, is_news, to_read
from services.population.enroll.writing import Known, Store

SHARD_PHOTOS = 64
SHARD_SECONDS = 10.0  # after so long a shard is written however few photos it has

Report = Callable[[int], None]  # photos done


@dataclass(frozen=True)
class Engine:
    """Where photos are worked on."""

    name: Literal["local", "ray"] = "local"
    address: str | None = None  # of a Ray that is running
    shard_photos: int = SHARD_PHOTOS


@dataclass(frozen=True)
class Plan:
    """What is left to do of a folder."""

    todo: list[Entry]
    kept: int  # photos that are enrolled, or known to be of no use, already
    relabelled: bool  # some of those are somebody else's now
    refused: list[str]  # identities that were removed


def plan_photos(store: Store, listing: Listing, job: Job, readmit: bool) -> Plan:
    """Finds out which photos have to be read, and stores what can be said of the others.

    Raises:
        EnrolmentError: everybody in the listing was removed; or the rows cannot be written.
    """
    refused = admit(store, {entry.identity for entry in listing.entries if entry.identity}, readmit)
    entries = [entry for entry in listing.entries if entry.identity not in refused]
    if not entries:
        raise EnrolmentError(
            f"all {len(refused)} identities of {listing.source} were removed from this population; --readmit enrols "
            "them again"
        )
    known = store.known(listing.source)
    news = [row for row in listing.unread if is_news(row, known) and not _would_lose(row, known)]
    news = [row for row in news if row.identity not in refused]
    if news:
        store.append(job.table(news))
    todo = to_read(entries, known, rules_of(job.several, job.settings))
    reading = {entry.photo for entry in todo}
    others = [entry for entry in entries if entry.photo not in reading]
    relabelled = any(entry.identity not in (None, known[entry.photo].identity) for entry in others)
    return Plan(todo, len(others), relabelled, sorted(refused))


def read_photos(store: Store, plan: Plan, listing: Listing, job: Job, engine: Engine, report: Report) -> None:
    """Enrols the photos of a plan, and stores their rows as it goes.

    Args:
        job: with the address of a Triton that serves its models.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures; what was enrolled until then is stored.
        EnrolmentError: rows cannot be written.
    """
    if engine.name == "ray":
        from services.population.engine import engine_for  # here: Ray takes seconds to import

        size = engine.shard_photos
        chunks = [plan.todo[start : start + size] for start in range(0, len(plan.todo), size)]
        with engine_for("ray", engine.address) as workers:
            for chunk, table in zip(chunks, workers.map(partial(enroll_chunk, job), chunks), strict=True):
                store.append(table)
                report(len(chunk))
    else:
        asyncio.run(_read_here(store, plan.todo, store.known(listing.source), job, engine.shard_photos, report))


async def _read_here(
    store: Store, todo: Sequence[Entry], known: Mapping[str, Known], job: Job, shard_photos: int, report: Report
) -> None:
    """Reads photos in this process, one pipeline over all of them."""
    waiting: list[Row] = []

    def save() -> None:
        nonlocal waiting
        rows, waiting = waiting, []  # first: what cannot be written is not tried again
        if rows:
            store.append(job.table(rows))

    async with PatientTriton(job.url, TIMEOUT_S) as triton:
        since = time.monotonic()
        try:
            async with aclosing(enroll_photos(job, todo, triton, shard_photos, partial(report, 1))) as found:
                async for rows in found:
                    waiting += [row for row in rows if is_news(row, known)]
                    if len(waiting) >= shard_photos or time.monotonic() - since > SHARD_SECONDS:
                        save()
                        since = time.monotonic()
        finally:
            save()


def store_arrays(store: Store, arrays: Arrays, file: Path, readmit: bool, everything: bool) -> tuple[int, list[str]]:
    """Stores the rows of arrays that are new or changed; all of them if `everything` is to be stored anew.

    Returns:
        How many there were, and identities that were removed, and so are not enrolled.

    Raises:
        EnrolmentError: that is everybody; or the rows cannot be written.
    """
    refused = admit(store, {told.identity for told in arrays.told if told.identity}, readmit)
    rows = [number for number, told in enumerate(arrays.told) if told.identity not in refused]
    if not rows:
        raise EnrolmentError(f"everybody in {file} was removed from this population; --readmit enrols them again")
    known = store.known(arrays.source)
    info = file.stat()
    now = [Known(info.st_size, info.st_mtime_ns, told.identity, ENROLLED, "", 1, "", "") for told in arrays.told]
    news = [number for number in rows if everything or known.get(arrays.told[number].photo) != now[number]]
    for table in as_tables(arrays, news, info):
        store.append(table)
    return len(news), sorted(refused)


def admit(store: Store, identities: Iterable[str], readmit: bool) -> set[str]:
    """Those of some identities who were removed, and stay so unless they are readmitted."""
    removed = read_removed(store.folder)[0] & set(identities)
    if removed and readmit:
        store.readmit(removed)
        return set()
    return removed


def _would_lose(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether a row would put a photo away that is enrolled, only because its file is not there any more."""
    return row.status == BAD and row.photo in known and known[row.photo].status == ENROLLED

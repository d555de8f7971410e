"""A population's folder while it is written to: by one writer at a time, and whole at every moment."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from services.errors import EnrolmentError
from services.files import locked
from services.population.enroll import reports
from services.population.enroll.about import (
    ABOUT,
    About,
    check_bound,
    read_about,
    read_removed,
    write_about,
    write_removed,
)
from services.population.enroll.rows import ENROLLED, KEY
from services.population.enroll.shards import (
    counting_shards,
    make_private,
    newest,
    read_shard,
    saying_what_to_do,
    sweep,
    write_shard,
)

COMPACT_BYTES = 16 << 20  # of rows in a compacted shard

Amend = Callable[[pa.Table], pa.Table]


class Known(NamedTuple):
    """What is stored of a photo, as far as it says whether the photo has to be read again."""

    bytes: int
    mtime_ns: int
    identity: str | None
    status: str
    reason: str
    faces: int
    several: str
    limits: str


class Store:
    """A population that is being written to. Made by `writing`."""

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about
        self.appended = 0  # rows

    def shards(self) -> list[Path]:
        """The shards that count, in the order in which they were written."""
        return counting_shards(self.folder, self.about.generation)

    def append(self, table: pa.Table) -> None:
        """Adds rows: on disk when it returns. Raises EnrolmentError if they cannot be written."""
        if self.about.finished:
            self.tell(finished=False)
        write_shard(self.folder, table, self.about.generation)
        self.appended += len(table)

    def known(self, source: str) -> dict[str, Known]:
        """The photos of a source that have rows, by name."""
        found: dict[str, Known] = {}
        for path in self.shards():
            table = read_shard(path, (*KEY, *Known._fields))
            table = table.filter(pc.equal(table["source"], source))
            columns = [table[name].to_pylist() for name in ("photo", *Known._fields)]
            found |= {photo: Known(*rest) for photo, *rest in zip(*columns, strict=True)}
        return found

    def compact(self, amend: Amend = lambda table: table, **changes: Any) -> int:
        """Writes the rows that count anew, in few shards, and only then lets go of the old ones.

        Args:
            amend: what to do to rows; it may leave some out. Those of removed identities are left out anyway.
            changes: of what population.json says.

        Returns:
            How many of the rows are enrolled.
        """
        removed, _ = read_removed(self.folder)
        old = self.shards()
        generation = self.about.generation + 1
        enrolled = 0
        waiting: list[pa.Table] = []
        try:
            for path, counts in zip(old, newest(old), strict=True):
                table = without(amend(read_shard(path).filter(pa.array(counts))), removed)
                enrolled += pc.sum(pc.equal(table["status"], ENROLLED)).as_py() or 0
                waiting.append(table)
                if sum(part.nbytes for part in waiting) > COMPACT_BYTES:
                    write_shard(self.folder, pa.concat_tables(waiting), generation)
                    waiting = []
            if sum(map(len, waiting)):
                write_shard(self.folder, pa.concat_tables(waiting), generation)
            self.tell(generation=generation, **changes)
        finally:  # the old ones if they do not count any more, else what was written in vain
            sweep(self.folder, self.about.generation)
        return enrolled

    def tell(self, **changes: Any) -> None:
        """Changes what population.json says."""
        about = replace(self.about, **changes)
        write_about(self.folder, about)
        self.about = about

    def erase(self, identities: Iterable[str] = ()) -> None:
        """Takes identities out for good: first they count no more, then their rows go, then their lines in reports."""
        removed = read_removed(self.folder)[0] | set(identities)
        write_removed(self.folder, removed, erased=False)
        self.compact()
        reports.strike(self.folder, removed)
        write_removed(self.folder, removed, erased=True)

    def readmit(self, identities: Iterable[str]) -> None:
        """Lets people who were removed be enrolled again."""
        write_removed(self.folder, read_removed(self.folder)[0] - set(identities), erased=True)

    def abandon(self) -> None:
        """Removes a population in which nobody is; what is left if that is cut short is none any more.

        If people were removed from it, it stays as it is: or nobody would know of them any more.
        """
        if not read_removed(self.folder)[0]:
            with saying_what_to_do(self.folder):
                (self.folder / ABOUT).unlink(missing_ok=True)
                shutil.rmtree(self.folder)


def without(table: pa.Table, identities: Iterable[str]) -> pa.Table:
    """Rows of others than some identities."""
    theirs = pc.is_in(table["identity"], pa.array(sorted(identities), pa.string()))
    return table.filter(pc.invert(theirs))


@contextmanager
def writing(folder: Path, about: About | None = None) -> Iterator[Store]:
    """Opens a population for writing, alone, and clears away what a killed command left.

    A new population that nothing was written to is removed again.

    Args:
        about: of what is to be added; the population is made if it is not there. None: it has to be there.

    Raises:
        PopulationBusy: another command writes to it.
        EnrolmentError: it holds rows of other models, is not there, is damaged, or cannot be written to.
    """
    if about is None:
        read_about(folder)
    with saying_what_to_do(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{folder.name}.lock", f"population {folder.name}"):
        store = _opened(folder, about)
        try:
            yield store
        finally:
            if (folder / ABOUT).exists() and not store.about.finished and not store.shards():
                store.abandon()


def _opened(folder: Path, about: About | None) -> Store:
    if about is None or (folder / ABOUT).exists():
        store = Store(folder, read_about(folder))
        if about is not None:
            check_bound(folder.name, store.about, about)
        sweep(folder, store.about.generation)
        if not read_removed(folder)[1]:
            store.erase()
        return store
    make_private(folder)
    sweep(folder, None)  # of a population whose removal was cut short
    store = Store(folder, about)
    store.tell()
    return store


def remove(folder: Path, identities: Iterable[str]) -> int:
    """Takes identities out of a population: rows, vectors and latents go for good; their names alone are kept.

    Returns:
        How many of them were still in it.

    Raises:
        EnrolmentError: one is not known; then nobody is removed.
        PopulationBusy: another command writes to the population.
    """
    wanted = set(identities)
    with writing(folder) as store:
        there: set[str] = set()
        for path in store.shards():
            there |= set(pc.unique(read_shard(path, ["identity"])["identity"]).to_pylist())
        unknown = sorted(wanted - there - read_removed(folder)[0])
        if unknown:
            raise EnrolmentError(
                f"{len(unknown)} of these are not in population {folder.name}, so nobody was removed: "
                f"{', '.join(map(repr, unknown[:5]))}"
            )
        store.erase(wanted)
        return len(wanted & there)

"""Rows of a source whose photos are not in it any more: those that were moved count once, where they are now."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.population.enroll.rows import ENROLLED, as_array
from services.population.enroll.shards import newest, read_shard
from services.population.enroll.writing import Amend, Store

Policy = Literal["keep", "drop"]
ALIKE = 1e-3  # of an embedding's length: the same file read twice, in other company, differs by less


@dataclass(frozen=True)
class Gone:
    """Enrolled photos that are not in their source any more."""

    moved: int = 0  # they are there under another name; the old row goes
    kept: int = 0  # they still count
    dropped: int = 0  # moved or not, they are taken out


def leave_out_gone(
    store: Store,
    source: str,
    there: Collection[str],
    policy: Policy,
    told_of: Collection[str] = (),
    closed: Collection[str] = (),
    amend: Amend = lambda table: table,
) -> Gone:
    """Takes the rows of photos out that were moved, and of those that are gone if they are to be dropped.

    Without it a photo that was moved to another person's folder would count for both. Of a gone photo that never
    counted, nothing is left to say.

    Args:
        source: whose rows; those of others are not looked at.
        there: names of the photos that are in the source now, readable or not.
        told_of: names that somebody gives photos, whether they are there or not.
        closed: folders that could not be looked into; photos in them are not gone.
        amend: what else to do to rows as some leave: a command that is killed then must not forget what they said.

    Raises:
        EnrolmentError: the rows cannot be written.
    """
    inside = tuple("" if folder == "." else f"{folder}/" for folder in closed)
    known = store.known(source)
    gone = {photo for photo in known.keys() - set(there) if not photo.startswith(inside)}
    enrolled = {photo for photo in gone if known[photo].status == ENROLLED}
    leaving = enrolled if policy == "drop" or not enrolled else _moved(store, source, gone)
    unsaid = gone - enrolled - set(told_of)
    if leaving or unsaid:
        leave = _without(source, leaving | unsaid)
        store.compact(lambda table: leave(amend(table)), finished=False)
    return Gone(dropped=len(enrolled)) if policy == "drop" else Gone(len(leaving), len(enrolled) - len(leaving))


def _moved(store: Store, source: str, gone: set[str]) -> set[str]:
    """Of the photos that are gone, those that another photo of the source equals: as many bytes, and the same face."""
    shards = store.shards()
    tables = []
    for path, counts in zip(shards, newest(shards), strict=True):
        table = read_shard(path, ("source", "photo", "bytes", "status", "embedding")).filter(pa.array(counts))
        ours = pc.and_(pc.equal(table["source"], source), pc.equal(table["status"], ENROLLED))
        tables.append(table.filter(ours))
    photos = pa.concat_tables(tables)
    names, embeddings = photos["photo"].to_pylist(), as_array(photos["embedding"])
    present: dict[int, list[int]] = {}
    absent: list[tuple[int, int]] = []
    for row, (name, size) in enumerate(zip(names, photos["bytes"].to_pylist(), strict=True)):
        if name in gone:
            absent.append((row, size))
        else:
            present.setdefault(size, []).append(row)
    return {names[row] for row, size in absent if _is_alike(embeddings[row], embeddings[present.get(size, [])])}


def _is_alike(embedding: np.ndarray, others: np.ndarray) -> bool:
    """Whether one of some embeddings, [n, d], is that of the same photo."""
    distances = np.linalg.norm(others - embedding, axis=1)
    return bool((distances <= ALIKE * np.linalg.norm(embedding)).any())


def _without(source: str, photos: set[str]) -> Amend:
    names = pa.array(sorted(photos), pa.string())

    def amend(table: pa.Table) -> pa.Table:
        theirs = pc.and_(pc.equal(table["source"], source), pc.is_in(table["photo"], names))
        return table.filter(pc.invert(theirs))

    return amend

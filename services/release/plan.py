"""A collection and a journal -> what is left to do."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.release.collection import Collection
from services.release.journal import Journal
from services.release.photo import sha256_of_original
from services.release.records import PASSING, Record

Target = Callable[[str], Path | None]  # where the output of a photo lies; None: it has none of its own


@dataclass(frozen=True)
class Plan:
    """What is left of a collection."""

    todo: list[str]
    kept: int  # photos that are released already, or were refused for good
    gone: list[str]  # photos of the journal that are not in the folder any more


def plan(collection: Collection, folder: Path, journal: Journal, target: Target) -> Plan:
    """Finds the photos that are new, were changed, or whose output is missing; refused ones where that may have passed.

    Args:
        folder: of the originals.
        target: where outputs lie.
    """
    changed = {path for path, proof in journal.proofs.items() if proof.found("changed")}
    todo = [
        path
        for path in collection.photos
        if path in changed or _has_to_be_done(folder / path, journal.records.get(path), target)
    ]
    there = set(collection.photos)
    gone = [path for path in journal.records if path not in there]
    return Plan(todo, len(collection.photos) - len(todo), gone)


def _has_to_be_done(photo: Path, record: Record | None, target: Target) -> bool:
    if record is None or record.code in PASSING:
        return True
    try:
        now = os.lstat(photo)
    except OSError:
        return True
    if now.st_size != record.bytes:
        return True
    if now.st_mtime_ns != record.mtime_ns and sha256_of_original(photo) != record.sha256:
        return True
    output = target(record.path) if record.released else None
    try:
        return output is not None and output.stat().st_size != record.output_bytes
    except OSError:
        return True

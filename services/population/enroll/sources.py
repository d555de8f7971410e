"""A folder -> its photos, and whose they are."""

import csv
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.errors import EnrolmentError
from services.population.enroll.rows import BAD, NO_IDENTITY, Row
from services.population.enroll.writing import Known
from services.population.faces import SUFFIXES, Tally, find_photos

UNNAMED = "nobody says whose it is"


@dataclass(frozen=True)
class Entry:
    """One photo to enrol."""

    photo: str  # its name: the path below the folder
    path: Path
    identity: str | None  # None: found by its face, later
    given: Mapping[str, str] = field(default_factory=dict)  # attributes


@dataclass(frozen=True)
class Told:
    """What a file of identities says of one photo, or of one row of an array."""

    photo: str
    identity: str | None
    given: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """What is in a folder."""

    source: str  # the folder, absolute
    entries: list[Entry]
    unread: list[Row]  # what is no photo, or nobody's, without being read
    others: Counter[str]  # pictures of formats that are not read, by suffix
    there: frozenset[str]  # names of all files that look like photos, whatever is in them


@dataclass(frozen=True)
class Rules:
    """What decides about a photo besides the photo. Under other rules it is read again."""

    several: str
    limits: str


def list_photos(folder: Path, identities: Path | None, by_face: bool) -> Listing:
    """Lists the photos of a folder with their identities.

    Args:
        identities: a file that says whose photo is whose; None: the first folder below `folder` does.
        by_face: nobody says it; identities are to be found from the faces.

    Raises:
        EnrolmentError: there are no photos, nobody says whose any of them is, or the file of identities is damaged.
    """
    tally, source = Tally(), name_of(folder.resolve())
    found: dict[str, Path] = {}
    unread = []
    for path in find_photos(folder, tally):
        name = name_of(path.relative_to(folder))
        if name in found:
            tally.bad.append((path, "its name is not UTF-8, and reads like another one's; rename it"))
        found.setdefault(name, path)
    told: dict[str, Told] = {}
    if identities is not None:
        told = {told.photo: told for told in _told_of_photos(identities, folder)}
        for name, row in told.items():
            if name not in found:
                reason = f"{identities.name} names it, but there is no such photo below the folder"
                unread.append(Row(source, name, BAD, row.identity, reason=reason))
    entries = []
    for name, path in found.items():
        whose = told[name].identity if name in told else None
        if identities is None and not by_face:
            whose = clean(name.split("/")[0]) if "/" in name else None
        if whose is None and not by_face:
            unread.append(Row(source, name, NO_IDENTITY, reason=UNNAMED))
        else:
            entries.append(Entry(name, path, whose, told[name].given if name in told else {}))
    bad = [Row(source, name_of(path.relative_to(folder)), BAD, reason=reason) for path, reason in tally.bad]
    _require_some(folder, entries, len(found), identities)
    there = frozenset([*found, *(row.photo for row in bad)])
    return Listing(source, entries, unread + bad, tally.others, there)


def name_of(path: Path) -> str:
    """A path as text: what is not UTF-8 in it is written as \\x and a number."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def clean(identity: str | None) -> str | None:
    """A name as it counts: one spelling of each letter, no space around it; None if nothing is left.

    A person whose name is spelt in two ways would be two, and break k.
    """
    return unicodedata.normalize("NFC", identity or "").strip() or None


def read_identities(file: Path, wanted: Sequence[str]) -> list[Told]:
    """Reads a CSV or Parquet file with the columns `photo` and `identity`; further columns are attributes.

    Args:
        wanted: columns that it has to have.

    Raises:
        EnrolmentError: it cannot be read, or has no such column.
    """
    try:
        lines = _parquet(file) if file.suffix == ".parquet" else _csv(file)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as damaged:
        raise EnrolmentError(f"{file} is no CSV (UTF-8) or .parquet file of identities: {damaged}") from damaged
    for name in wanted:
        if not lines or name not in lines[0]:
            columns = ", ".join(lines[0]) if lines else "nothing"
            raise EnrolmentError(f"{file} needs the columns {' and '.join(wanted)}; it has {columns}")
    rows = []
    for line in lines:
        given = {name: line[name].strip() for name in line if name not in ("photo", "identity") and line[name].strip()}
        rows.append(Told(line.get("photo", ""), clean(line.get("identity")), given))
    return rows


def to_read(entries: Iterable[Entry], known: Mapping[str, Known], rules: Rules) -> list[Entry]:
    """The photos that have to be read: new ones, changed ones, bad ones, and those judged by other rules.

    Args:
        known: what is stored, by photo.
    """
    return [entry for entry in entries if _has_to_be_read(entry, known.get(entry.photo), rules)]


def is_news(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether a row says anything else than what is stored of its photo."""
    before = known.get(row.photo)
    return before is None or any(getattr(row, name) != getattr(before, name) for name in Known._fields)


def _has_to_be_read(entry: Entry, known: Known | None, rules: Rules) -> bool:
    if known is None or known.status in (BAD, NO_IDENTITY) or known.limits != rules.limits:
        return True
    if known.faces > 1 and known.several != rules.several:
        return True
    try:
        info = entry.path.stat()
    except OSError:
        return True
    return (info.st_size, info.st_mtime_ns) != (known.bytes, known.mtime_ns)


def _told_of_photos(file: Path, folder: Path) -> list[Told]:
    """What a file of identities says, by photos' names below the folder; each photo once."""
    rows: dict[str, Told] = {}
    for row in read_identities(file, ("photo", "identity")):
        path = row.photo.strip()
        if posixpath.isabs(path):
            path = posixpath.relpath(path, folder.resolve())
        name = posixpath.normpath(path)
        before = rows.setdefault(name, Told(name, row.identity, row.given))
        if before.identity != row.identity:
            raise EnrolmentError(
                f"{file} says that {name} is of {before.identity!r} and of {row.identity!r}; a photo has one identity"
            )
    return list(rows.values())


def _csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as source:
        reader = csv.DictReader(source, restval="")
        lines = []
        for line in reader:
            if None in line:
                raise ValueError(f"line {reader.line_num} has more fields than the first")
            lines.append(line)
    return lines


def _parquet(file: Path) -> list[dict[str, str]]:
    rows = pq.read_table(file).to_pylist()
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def _require_some(folder: Path, entries: list[Entry], photos: int, identities: Path | None) -> None:
    if not photos:
        raise EnrolmentError(f"no photos in {folder}; looked for {' '.join(SUFFIXES)}")
    if not entries:
        where = f"{identities} names none of them" if identities else "they lie in no folder of a person's"
        raise EnrolmentError(
            f"nobody says whose the {photos} photos in {folder} are: {where}; sort them as identity/photo.jpg, name "
            "them with --identities, or find identities by --group-by-face"
        )

"""A folder -> its photos, and whose they are."""

import csv
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    closed: tuple[str, ...] = ()  # folders that could not be looked into: nothing in them is known to be gone


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
        told = _told_of_photos(identities, folder)
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
    closed = tuple(name_of(path.relative_to(folder)) for path in tally.closed)
    if not found and closed:
        why = dict(tally.bad)[tally.closed[0]]
        raise EnrolmentError(f"no photos in {folder}, and {closed[0]!r} in it cannot be looked into: {why}")
    _require_some(folder, entries, len(found), identities)
    there = frozenset([*found, *(row.photo for row in bad)])
    return Listing(source, entries, unread + bad, tally.others, there, closed)


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
        columns, lines = _parquet(file) if file.suffix == ".parquet" else _csv(file)
        columns = [clean(column) or "" for column in columns]
        twice = [column for column, count in Counter(filter(None, columns)).items() if count > 1]
        if twice:
            raise ValueError(f"it has two columns called {twice[0]!r}")
        rows = [[clean(text_of(value)) or "" for value in line] for line in lines]
    except (OSError, ValueError, csv.Error, pa.ArrowException) as damaged:
        raise EnrolmentError(f"{file} is no CSV (UTF-8) or .parquet file of identities: {damaged}") from damaged
    if not set(wanted) <= set(columns):
        there = ", ".join(filter(None, columns)) or "nothing"
        raise EnrolmentError(f"{file} needs the columns {' and '.join(wanted)}; it has {there}")
    if not rows:
        raise EnrolmentError(f"{file} names nobody: there is nothing below its header")
    found = []
    for line, row in zip(lines, rows, strict=True):
        said = {name: value for name, value in zip(columns, row, strict=True) if name and value}
        photo = text_of(line[columns.index("photo")]) if "photo" in columns else ""
        said.pop("photo", None)
        found.append(Told(photo, said.pop("identity", None), said))
    return found


def by_photo(rows: Iterable[Told], file: Path) -> dict[str, Told]:
    """What is said of each photo. Raises EnrolmentError if that is two things of one."""
    found: dict[str, Told] = {}
    for row in rows:
        before = found.setdefault(row.photo, row)
        if before.identity != row.identity:
            raise EnrolmentError(
                f"{file} says that {row.photo} is of {before.identity!r} and of {row.identity!r}; a photo has one "
                "identity"
            )
        for name in sorted({*before.given, *row.given}):
            values = before.given.get(name, ""), row.given.get(name, "")
            if values[0] != values[1]:
                raise EnrolmentError(f"{file} says of {row.photo} that {name} is {values[0]!r}, and {values[1]!r}")
    return found


def text_of(value: object) -> str:
    """A name or attribute as text, however a file keeps it: 7, 7.0 and "7" are one; "" where there is none.

    Raises:
        ValueError: it is no single value, or bytes that are no UTF-8.
    """
    if value is None or value != value:  # NaN, which is how tables without nulls say it
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | dict | tuple):
        raise ValueError(f"{value!r} is no single value")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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


def _told_of_photos(file: Path, folder: Path) -> dict[str, Told]:
    """What a file of identities says, by photos' names below the folder."""
    rows = read_identities(file, ("photo", "identity"))
    return by_photo((replace(row, photo=_below(folder, row.photo.strip())) for row in rows), file)


def _below(folder: Path, photo: str) -> str:
    """The path of a photo below a folder, whichever way an absolute one leads there."""
    paths = [photo]
    if posixpath.isabs(photo):
        paths = [posixpath.relpath(photo, place) for place in (folder.resolve(), folder.absolute())]
    return posixpath.normpath(next((path for path in paths if not path.startswith("../")), paths[0]))


def _csv(file: Path) -> tuple[list[str], list[list[str]]]:
    """The first line, and the others, filled up to as many fields."""
    with file.open(newline="", encoding="utf-8-sig") as source:
        reader = csv.reader(source, strict=True)
        lines: list[list[str]] = []
        for line in filter(None, reader):
            if lines and len(line) > len(lines[0]):
                raise ValueError(f"line {reader.line_num} has more fields than the first")
            lines.append(line + [""] * (len(lines[0]) - len(line) if lines else 0))
    return (lines[0], lines[1:]) if lines else ([], [])


def _parquet(file: Path) -> tuple[list[str], list[tuple[object, ...]]]:
    """Names of columns, and rows."""
    with pq.ParquetFile(file) as source:
        table = source.read()
    return table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _require_some(folder: Path, entries: list[Entry], photos: int, identities: Path | None) -> None:
    if not photos:
        raise EnrolmentError(f"no photos in {folder}; looked for {' '.join(SUFFIXES)}")
    if not entries:
        where = f"{identities} names none of them" if identities else "they lie in no folder of a person's"
        raise EnrolmentError(
            f"nobody says whose the {photos} photos in {folder} are: {where}; sort them as identity/photo.jpg, name "
            "them with --identities, or find identities by --group-by-face"
        )

"""How face data sets lie in folders: where their photos are, who is in them, and what is told of them.

`folders`: identity/photo.jpg, which enrolment reads by itself. `lfw`: Name/Name_0001.jpg. `celeba`: one folder of
numbers, with identity_CelebA.txt and list_attr_celeba.txt. `rafd`: all of it in the name,
Rafd090_01_Caucasian_female_angry_frontal.jpg.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from services.errors import EnrolmentError
from services.population.faces import Tally, find_photos

Layout = Literal["lfw", "celeba", "rafd"]
CELEBA_PHOTOS, CELEBA_WHO, CELEBA_ATTRIBUTES = "img_align_celeba", "identity_CelebA.txt", "list_attr_celeba.txt"
RAFD = re.compile(
    r"Rafd(?P<angle>\d{3})_(?P<subject>\d+)_(?P<group>[A-Za-z]+)_(?P<gender>[A-Za-z]+)"
    r"_(?P<emotion>[a-z]+)_(?P<gaze>frontal|left|right)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Labelled:
    """What a data set tells of one photo."""

    photo: str  # path below the data set's folder
    identity: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """What a data set tells of its photos, and how many it tells nothing of."""

    rows: list[Labelled]
    unlabelled: int

    def as_csv(self, attributes: Sequence[str]) -> str:
        """A table that `population enroll --identities` and `release --identities` take, with some attributes.

        Raises:
            EnrolmentError: the data set has no such attribute.
        """
        known = {name: None for row in self.rows for name in row.attributes}
        for name in attributes:
            if name not in known:
                raise EnrolmentError(f"there is no attribute {name!r}; there are {', '.join(known) or 'none'}")
        sink = io.StringIO()
        lines = csv.writer(sink)
        lines.writerow(("photo", "identity", *attributes))
        lines.writerows(
            (row.photo, row.identity, *(row.attributes.get(n, "") for n in attributes)) for row in self.rows
        )
        return sink.getvalue()


def read_labels(folder: Path, layout: Layout) -> Labels:
    """What a data set of that layout tells of its photos.

    Raises:
        EnrolmentError: it has another layout, or a file of it is damaged.
    """
    photos = {path.relative_to(folder).as_posix() for path in find_photos(folder, Tally())}
    rows = sorted(READERS[layout](folder, photos), key=lambda row: row.photo)
    if not rows:
        raise EnrolmentError(f"{folder} holds no photo that is laid out as {layout}; see `--layout`")
    twice = [photo for photo, times in Counter(row.photo for row in rows).items() if times > 1]
    if twice:
        raise EnrolmentError(f"{folder} says twice who is in {twice[0]}")
    return Labels(rows, len(photos - {row.photo for row in rows}))


def _lfw(folder: Path, photos: set[str]) -> Iterator[Labelled]:
    for photo in photos:
        parts = photo.split("/")
        if len(parts) >= 2 and re.fullmatch(rf"{re.escape(parts[-2])}_\d{{4}}\.\w+", parts[-1]):
            yield Labelled(photo, parts[-2])


def _celeba(folder: Path, photos: set[str]) -> Iterator[Labelled]:
    told = _attributes(folder / CELEBA_ATTRIBUTES) if (folder / CELEBA_ATTRIBUTES).is_file() else {}
    for number, line in enumerate(_lines(folder / CELEBA_WHO), 1):
        try:
            name, person = line.split()
        except ValueError:
            raise EnrolmentError(f"{folder / CELEBA_WHO}, line {number} is not `photo person`") from None
        photo = f"{CELEBA_PHOTOS}/{name}"
        if photo in photos:
            yield Labelled(photo, person, told.get(name, {}))


def _attributes(path: Path) -> dict[str, dict[str, str]]:
    """CelebA's attributes by photo: 1 is yes, -1 is no. The first line counts the photos, the second names them."""
    lines = _lines(path)
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise EnrolmentError(f"{path} has no line that counts its photos, or none that names their attributes")
    names, told = lines[1].split(), {}
    for number, line in enumerate(lines[2:], 3):
        photo, *values = line.split()
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise EnrolmentError(f"{path}, line {number} does not have 1 or -1 for each of {len(names)} attributes")
        told[photo] = {name: "yes" if value == "1" else "no" for name, value in zip(names, values, strict=True)}
    return told


def _rafd(folder: Path, photos: set[str]) -> Iterator[Labelled]:
    for photo in photos:
        found = RAFD.fullmatch(Path(photo).stem)
        if found:
            told = found.groupdict()
            yield Labelled(photo, f"rafd-{int(told.pop('subject')):02d}", told)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as closed:
        reason = closed.strerror if isinstance(closed, OSError) else "not text"
        raise EnrolmentError(f"{path} cannot be read ({reason})") from None


READERS: dict[Layout, Callable[[Path, set[str]], Iterator[Labelled]]] = {"lfw": _lfw, "celeba": _celeba, "rafd": _rafd}

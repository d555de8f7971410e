"""A folder -> its photos, and what of it can never be released. Nothing is opened here."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.client_cli import SUFFIXES
from services.errors import ReleaseError
from services.population.faces import OTHER_PICTURES

LINK, NOT_A_FILE, BAD_NAME, UNREADABLE, OTHER_FORMAT = "link", "not_a_file", "bad_name", "unreadable", "other_format"


@dataclass(frozen=True)
class Refusal:
    """Something that looks like a photo and is not released."""

    path: str  # below the folder
    code: str  # for programs; all that the manifest tells
    reason: str  # for the operator


@dataclass
class Collection:
    """What is in a folder. 10^6 paths take some hundred megabytes."""

    photos: list[str] = field(default_factory=list)  # paths below the folder, in order
    refused: list[Refusal] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # files that are no pictures, by suffix; never copied


def find(folder: Path) -> Collection:
    """The photos below a folder, by their suffixes.

    A link is not followed: it may lead out of the folder, or in circles. Hidden files are no photos. A name that is not
    UTF-8 cannot be written into a manifest.

    Raises:
        ReleaseError: there is no photo; perhaps the folder is not mounted.
    """
    found = Collection()
    waiting = [""]
    while waiting:
        here = waiting.pop()
        folders = []
        try:
            entries = sorted(os.scandir(folder / here), key=lambda entry: entry.name)
        except OSError as closed:
            found.refused.append(Refusal(here or ".", UNREADABLE, closed.strerror or "cannot be read"))
            continue
        for entry in entries:
            path = f"{here}/{entry.name}" if here else entry.name
            refusal = _refused(entry, path)
            if refusal is not None:
                found.refused.append(refusal)
            elif entry.name.startswith("."):
                found.others["hidden"] += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif _suffix(path) in SUFFIXES:
                found.photos.append(path)
            else:
                found.others[_suffix(path) or "none"] += 1
        waiting += reversed(folders)
    if not found.photos:
        raise ReleaseError(f"no photos in {folder}; looked for {' '.join(SUFFIXES)}")
    return found


def _refused(entry: os.DirEntry[str], path: str) -> Refusal | None:
    """Why an entry of a folder is refused by what it is called and what kind of file it is; None if it is not."""
    if entry.name.startswith("."):
        return None
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return Refusal(shown, BAD_NAME, "its name is not UTF-8; rename it")
    if entry.is_symlink():
        return Refusal(path, LINK, "a link is not followed; copy what it leads to")
    if entry.is_dir(follow_symlinks=False):
        return None
    suffix = _suffix(path)
    if suffix in OTHER_PICTURES:
        return Refusal(path, OTHER_FORMAT, f"{suffix} cannot be written; convert it to {', '.join(SUFFIXES)}")
    if suffix in SUFFIXES and not entry.is_file(follow_symlinks=False):
        return Refusal(path, NOT_A_FILE, "it is no regular file")
    return None


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - 10^6 of them


def require_apart(folder: Path, out: Path, private: Path) -> None:
    """Refuses an output that would be found as photos, or photos that would lie among the output.

    Raises:
        ReleaseError: one of the three folders is another one, or inside of it.
    """
    places = {"FOLDER": folder.resolve(), "--out": out.resolve(), "--private": private.resolve()}
    for (name, place), (other, around) in _pairs(places):
        if place == around or around in place.parents:
            raise ReleaseError(f"{name} ({place}) lies inside {other} ({around}); keep the three apart")


def _pairs(places: dict[str, Path]) -> Iterator[tuple[tuple[str, Path], tuple[str, Path]]]:
    return ((one, other) for one in places.items() for other in places.items() if one[0] != other[0])

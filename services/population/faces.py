"""A folder of photos -> what is made of the faces in each: chips, aligned pictures, latents."""

import asyncio
import os
import stat
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, misfit
from services.anonymizer.decode import decode
from services.anonymizer.detect import Face, detect
from services.anonymizer.models import Detector
from services.anonymizer.pipeline import MAX_MISFIT
from services.anonymizer.triton import Triton
from services.errors import BadPhoto, PhotoTooLarge, TooManyFaces, UnsupportedMediaType
from services.settings import Settings

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OTHER_PICTURES = (".avif", ".bmp", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jp2", ".nef", ".tif", ".tiff")
WINDOW = 4  # photos under way: some are decoded while the detector looks at others

T = TypeVar("T")
Progress = Callable[[int, int], None]  # (photos done, of how many)


@dataclass
class Tally:
    """What became of the photos and of their faces."""

    photos: int = 0  # read
    faces: int = 0  # found fit to be used
    crowded: int = 0  # photos with several faces
    faceless: int = 0  # photos without a face that is fit
    unfit: int = 0  # faces that are too small, uncertain, or turned away
    bad: list[tuple[Path, str]] = field(default_factory=list)  # what could not be read, and why
    others: Counter[str] = field(default_factory=Counter)  # pictures of formats that are not read, by suffix
    closed: list[Path] = field(default_factory=list)  # folders that were not looked into; they are bad, too

    def count(self, fit: int, unfit: int) -> None:
        """Adds one photo that was read, by how many of its faces can be used and how many cannot."""
        self.photos += 1
        self.faces += fit
        self.crowded += fit > 1
        self.faceless += fit == 0
        self.unfit += unfit


@dataclass(frozen=True)
class Looked(Generic[T]):
    """One photo when it is done with: what became of it, or why it could not be read."""

    path: Path
    result: T | None = None
    trouble: str = ""
    bytes: int = -1  # of the file that was read; -1: it could not even be found
    mtime_ns: int = -1


def find_photos(folder: Path, tally: Tally) -> list[Path]:
    """The photos below a folder, in order, by their suffixes; what is hidden is left out.

    A linked folder is not entered, since it may lead in circles; it is put on the tally, and so is a folder that cannot
    be read, and one that is called like a photo.
    """

    def unreadable(error: OSError) -> None:
        tally.bad.append((Path(error.filename), _reason(error)))
        tally.closed.append(Path(error.filename))

    photos = []
    for top, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(top)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked = [here / name for name in folders if (here / name).is_symlink()]
        tally.bad += [(path, "a linked folder is not entered; copy it, or name the one it leads to") for path in linked]
        tally.closed += linked
        called = [here / name for name in folders if _suffix(name) in SUFFIXES]
        tally.bad += [(path, "a folder, not a photo") for path in called if path not in linked]
        shown = sorted(name for name in names if not name.startswith("."))
        photos += [here / name for name in shown if _suffix(name) in SUFFIXES]
        tally.others.update(filter(OTHER_PICTURES.__contains__, map(_suffix, shown)))
    return photos


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


async def faces_of(
    photos: list[Path],
    work: Callable[[np.ndarray, np.ndarray], T],
    triton: Triton,
    detector: Detector,
    settings: Settings,
    tally: Tally,
    progress: Progress,
) -> AsyncGenerator[tuple[Path, T], None]:
    """Works on the faces of photos, several photos at a time. Close the generator if it is left early.

    A photo that cannot be read is put on the tally, and the rest go on. Faces that the service would mask (too small,
    uncertain, turned away) are passed over.

    Args:
        photos: files; which ones are too large, and which faces too small, is a matter of the settings.
        work: what to do with a photo's faces, in a thread: (pixels uint8 [H, W, 3] RGB, landmarks float32 [n, 5, 2],
            the largest face first, n > 0) -> result.
        tally: what became of the photos, up to date whenever a photo is given out.
        progress: called after each photo.

    Yields:
        The photo and what became of its faces, in the order of `photos`; nothing for photos without a face.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """

    async def work_on_fit(pixels: np.ndarray, faces: list[Face]) -> tuple[T | None, int, int]:
        fit = sorted((face for face in faces if is_fit(face, settings)), key=lambda face: -face.side)
        result = await asyncio.to_thread(work, pixels, np.array([face.landmarks for face in fit])) if fit else None
        return result, len(fit), len(faces) - len(fit)

    async with aclosing(look_at(photos, work_on_fit, triton, detector, settings)) as looked:
        done = 0
        async for photo in looked:
            done += 1
            result: T | None = None
            if photo.result is None:
                tally.bad.append((photo.path, photo.trouble))
            else:
                result, fit, unfit = photo.result
                tally.count(fit, unfit)
            progress(done, len(photos))
            if result is not None:
                yield photo.path, result


async def look_at(
    photos: Sequence[Path],
    work: Callable[[np.ndarray, list[Face]], Awaitable[T]],
    triton: Triton,
    detector: Detector,
    settings: Settings,
) -> AsyncGenerator[Looked[T], None]:
    """Works on photos, several at a time, whatever is in them. Close the generator if it is left early.

    Args:
        photos: files; which ones are too large is a matter of the settings.
        work: what to do with a photo: (pixels uint8 [H, W, 3] RGB, its faces, best first, maybe none) -> result.

    Yields:
        What became of each photo, in their order.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    ahead = iter(photos)
    under_way: deque[asyncio.Task[Looked[T]]] = deque()
    try:
        for _ in photos:
            for path in islice(ahead, WINDOW - len(under_way)):
                under_way.append(asyncio.create_task(_look_at_one(path, work, triton, detector, settings)))
            photo = await under_way[0]
            under_way.popleft()
            yield photo
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _look_at_one(
    path: Path,
    work: Callable[[np.ndarray, list[Face]], Awaitable[T]],
    triton: Triton,
    detector: Detector,
    s: Settings,
) -> Looked[T]:
    """One photo: read -> decode -> detect -> work."""
    size = mtime = -1
    try:
        info = await asyncio.to_thread(path.stat)
        size, mtime = info.st_size, info.st_mtime_ns
        data = await asyncio.to_thread(_read, path, info, s.max_body_bytes)
        photo = await asyncio.to_thread(decode, data, s.max_pixels, s.min_side_px, s.max_side_px)
        faces = await detect(photo.pixels, triton, detector, s.detect_score, s.detect_min_px)
    except (OSError, BadPhoto, PhotoTooLarge, TooManyFaces, UnsupportedMediaType) as bad:
        return Looked(path, trouble=_reason(bad), bytes=size, mtime_ns=mtime)
    return Looked(path, await work(photo.pixels, faces), bytes=size, mtime_ns=mtime)


def _read(path: Path, info: os.stat_result, most: int) -> bytes:
    if not stat.S_ISREG(info.st_mode):  # a pipe would be waited for, for ever
        raise OSError("not a file")
    if info.st_size > most:
        raise PhotoTooLarge(f"{info.st_size:,} bytes; at most {most:,} are read")
    return path.read_bytes()


def is_fit(face: Face, s: Settings) -> bool:
    """Whether the service would embed the face; others are masked there, and their chips show no frontal face."""
    large = face.side >= s.replace_min_px
    return large and is_certain(face, s) and misfit(FFHQ_LANDMARKS, face.landmarks) <= MAX_MISFIT


def is_certain(face: Face, s: Settings) -> bool:
    """Whether there is no doubt that it is a face, however small or turned away."""
    return face.score >= s.replace_score and face.confirmed


def _reason(error: Exception) -> str:
    """Why it failed; without the path, which is said anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

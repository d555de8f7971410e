"""A folder of photos -> what is made of the faces in each: chips, aligned pictures, latents."""

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

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

    def count(self, photo: "_Done[Any]") -> None:
        """Adds one photo."""
        if photo.trouble:
            self.bad.append((photo.path, photo.trouble))
            return
        self.photos += 1
        self.faces += photo.fit
        self.crowded += photo.fit > 1
        self.faceless += photo.fit == 0
        self.unfit += photo.unfit


@dataclass(frozen=True)
class _Done(Generic[T]):
    """One photo when it is done with."""

    path: Path
    result: T | None = None
    fit: int = 0
    unfit: int = 0
    trouble: str = ""


def find_photos(folder: Path, tally: Tally) -> list[Path]:
    """The photos below a folder, in order, by their suffixes; what is hidden is left out.

    A linked folder is not entered, since it may lead in circles; it is put on the tally, and so is a folder that cannot
    be read.
    """

    def unreadable(error: OSError) -> None:
        tally.bad.append((Path(error.filename), _reason(error)))

    photos = []
    for top, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(top)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked = [here / name for name in folders if (here / name).is_symlink()]
        tally.bad += [(path, "a linked folder is not entered; copy it, or name it as --photos") for path in linked]
        shown = sorted(name for name in names if not name.startswith("."))
        photos += [here / name for name in shown if Path(name).suffix.lower() in SUFFIXES]
    return photos


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
    ahead = iter(photos)
    under_way: deque[asyncio.Task[_Done[T]]] = deque()
    try:
        for done in range(1, len(photos) + 1):
            for path in islice(ahead, WINDOW - len(under_way)):
                under_way.append(asyncio.create_task(_one(path, work, triton, detector, settings)))
            photo = await under_way[0]
            under_way.popleft()
            tally.count(photo)
            progress(done, len(photos))
            if photo.result is not None:
                yield photo.path, photo.result
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _one(
    path: Path, work: Callable[[np.ndarray, np.ndarray], T], triton: Triton, detector: Detector, s: Settings
) -> _Done[T]:
    """One photo: read -> decode -> detect -> work."""
    try:
        data = await asyncio.to_thread(_read, path, s.max_body_bytes)
        photo = await asyncio.to_thread(decode, data, s.max_pixels, s.min_side_px, s.max_side_px)
        faces = await detect(photo.pixels, triton, detector, s.detect_score, s.detect_min_px)
    except (OSError, BadPhoto, PhotoTooLarge, TooManyFaces, UnsupportedMediaType) as bad:
        return _Done(path, trouble=_reason(bad))
    fit = sorted((face for face in faces if _is_fit(face, s)), key=lambda face: -face.side)
    if not fit:
        return _Done(path, unfit=len(faces))
    result = await asyncio.to_thread(work, photo.pixels, np.array([face.landmarks for face in fit]))
    return _Done(path, result, len(fit), len(faces) - len(fit))


def _read(path: Path, most: int) -> bytes:
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):  # a pipe would be waited for, for ever
        raise OSError("not a file")
    if info.st_size > most:
        raise PhotoTooLarge(f"{info.st_size:,} bytes; at most {most:,} are read")
    return path.read_bytes()


def _is_fit(face: Face, s: Settings) -> bool:
    """Whether the service would embed the face; others are masked there, and their chips show no frontal face."""
    large, certain = face.side >= s.replace_min_px, face.score >= s.replace_score and face.confirmed
    return large and certain and misfit(FFHQ_LANDMARKS, face.landmarks) <= MAX_MISFIT


def _reason(error: Exception) -> str:
    """Why it failed; without the path, which is said anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

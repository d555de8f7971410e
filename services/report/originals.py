"""The first pass: the originals of a release -> its faces, as they were. Pictures are held for one photo at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.anonymizer.decode import decode
from services.anonymizer.detect import Face
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.threads import in_thread
from services.errors import AnonFacesError, IndexRefused, ReportError
from services.release.patience import Gate
from services.release.photo import Job, read_original
from services.release.run import Where, work_through
from services.release.verify import at_place
from services.report.baselines import First, first_of
from services.report.faces import ORIGINAL, Faces, Version
from services.report.fairness import skin_tone
from services.report.gather import Gathering
from services.report.look import Eyes, Sight, faces_in, read
from services.report.shots import Known, Shot

MOST_BYTES = 1 << 40
TONE = "skin_tone"
CHANGED = "originals that cannot be read, or are other files than they were"
NOT_FOUND = "faces that were not found again in the original"

Progress = Callable[[int], None]  # (photos done)
Told = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """One original as it was seen, and whose faces those are."""

    path: str
    released: bool
    known: tuple[Known, ...]
    faces: tuple[Face, ...]  # the same, as they were found
    sight: Sight
    tones: Sequence[str]
    firsts: tuple[First, ...]


@dataclass(frozen=True)
class Placed:
    """A photo whose faces have rows."""

    path: str
    released: bool
    rows: tuple[int, ...]
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class Originals:
    """What the first pass comes to."""

    faces: Faces
    version: Version
    photos: tuple[Placed, ...]
    firsts: dict[int, First]  # by person, from their first photo
    without: Counter[str]  # what could not be looked at, by the reason


def look_at_originals(shots: Sequence[Shot], job: Job, eyes: Eyes, report: Progress, told: Told) -> Originals:
    """Looks at the originals of some photos.

    Args:
        told: hears of pauses, while models do not answer.

    Raises:
        ReportError: not one face can be looked at.
        ModelServerUnavailable, DeadlineExceeded, IndexRefused: the models stay away, or are others.
    """
    seen: list[Seen] = []
    without = Counter[str]()

    def done(one: tuple[Seen | None, str, int]) -> None:
        if one[0] is not None:
            seen.append(one[0])
        without[one[1]] += one[2]
        report(1)

    work_through(partial(_look, eyes=eyes), shots, job, Where(), done, told)
    without = +without
    if not seen:
        why = (
            "; ".join(f"{what}: {count}" for what, count in without.items())
            or "no photo has a face whose person is known"
        )
        raise ReportError(f"there is no face to report on ({why}); say where the originals are, and whose they are")
    seen.sort(key=lambda one: one.path)
    faces = _faces(seen)
    original = Gathering(ORIGINAL, "The photo as it was.", len(faces))
    photos, firsts, row = [], dict[int, First](), 0
    for one in seen:
        rows = tuple(range(row, row + len(one.known)))
        row += len(rows)
        attributes = {**one.sight.attributes, TONE: list(one.tones)}
        original.put(rows, Sight(one.sight.found, one.sight.landmarks, one.sight.embeddings, attributes))
        photos.append(Placed(one.path, one.released, rows, one.faces))
        for person, first in zip(faces.identities[list(rows)].tolist(), one.firsts, strict=True):
            firsts.setdefault(person, first)
    return Originals(faces, original.version(), tuple(photos), firsts, without)


def read_pixels(path: str, sha256: str, job: Job) -> np.ndarray:
    """The pixels of an original that is still the file it was, uint8 [H, W, 3].

    Raises:
        OSError: it cannot be read, or is another file.
        BadPhoto, PhotoTooLarge, UnsupportedMediaType: it cannot be decoded.
    """
    read = read_original(job.folder / path, MOST_BYTES)
    if read.sha256 != sha256:
        raise OSError(f"{path} is another file than it was")
    s = job.settings
    return decode(read.data, s.max_pixels, s.min_side_px, s.max_side_px).pixels


async def _look(shot: Shot, job: Job, pipeline: Pipeline, gate: Gate, eyes: Eyes) -> tuple[Seen | None, str, int]:
    """What is seen; and the reason for what is not, with how often it holds."""
    try:
        pixels = await in_thread(read_pixels, shot.path, shot.sha256, job)
        there = await gate.patiently(lambda: faces_in(pixels, eyes, pipeline.triton))
        pairs = [(known, face) for known in shot.faces if (face := _face_of(known, there)) is not None]
        if not pairs:
            return None, NOT_FOUND, len(shot.faces)
        known, faces = tuple(known for known, _ in pairs), tuple(face for _, face in pairs)
        sight = await gate.patiently(lambda: read(faces, faces, pixels, eyes, pipeline.triton))
    except (OSError, AnonFacesError) as failed:
        if gate.lost or isinstance(failed, IndexRefused):
            raise
        return None, CHANGED, len(shot.faces)
    landmarks = np.array([face.landmarks for face in faces], np.float32)
    tones = await in_thread(skin_tone, pixels, landmarks)
    firsts = await in_thread(lambda: tuple(first_of(pixels, points) for points in landmarks))
    seen = Seen(shot.path, shot.released, known, faces, sight, tones, firsts)
    return seen, NOT_FOUND, len(shot.faces) - len(known)


def _face_of(known: Known, there: Sequence[Face]) -> Face | None:
    """The face that is in its place now; where no place is known, the largest one."""
    if known.place is None:
        return max(there, key=lambda face: face.side, default=None)
    return at_place(known.place, there)


def _faces(seen: Sequence[Seen]) -> Faces:
    """A row for each face, in the order of the photos."""
    rows = [(number, known) for number, one in enumerate(seen) for known in one.known]
    people = tuple(sorted({known.person for _, known in rows}))
    number_of = {person: number for number, person in enumerate(people)}
    takes = Counter[str]()
    columns = []
    for photo, known in rows:
        columns.append((number_of[known.person], photo, takes[known.person], known.crowd))
        takes[known.person] += 1
    identities, photos, numbers, crowds = np.array(columns, np.int64).reshape(-1, 4).T
    outcomes = np.array([known.outcome for _, known in rows], "U16")
    return Faces(people, identities, tuple(one.path for one in seen), photos, numbers, crowds, outcomes)

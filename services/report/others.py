"""The second pass: every other version of each photo -> what is seen of its faces then."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, similarity, warp
from services.anonymizer.decode import decode
from services.anonymizer.detect import detect
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.threads import in_thread
from services.errors import ReportError
from services.population.portrait import MIN_FACE_PX, MIN_SCORE
from services.release.patience import Gate
from services.release.photo import Job
from services.release.run import Where, work_through
from services.report.baselines import Baseline
from services.report.faces import ORIGINAL, RELEASED, SURROGATE, Faces, Version
from services.report.gather import Gathering
from services.report.look import Eyes, Sight, look, read
from services.report.originals import Placed, Progress, Told, read_pixels
from services.report.utility.downstream import Downstream
from services.report.utility.quality import measure_quality

ABOUT = "The finished photo, as it is published."
CROP = 128  # pixels of a picture for the page


@dataclass(frozen=True)
class Asked:
    """What is made of each photo, besides looking at what was released."""

    baselines: Sequence[Baseline]
    pictures: frozenset[int]  # rows of which pictures are kept for the page
    downstream: Downstream | None  # is given pictures of every version
    hashes: Mapping[str, str]  # of the originals


@dataclass(frozen=True)
class Others:
    """What the second pass comes to."""

    versions: list[Version]
    pictures: dict[str, dict[int, np.ndarray]]  # version -> row -> uint8 [CROP, CROP, 3]


@dataclass(frozen=True)
class Made:
    """One version of one photo, as it was seen."""

    name: str
    sight: Sight | None  # None: the original, which was seen before
    quality: Mapping[str, np.ndarray]
    pictures: Mapping[int, np.ndarray]


def look_at_others(
    faces: Faces, photos: Sequence[Placed], asked: Asked, job: Job, eyes: Eyes, report: Progress, told: Told
) -> Others:
    """Makes and looks at every version of some photos; what is released is read from its file.

    Raises:
        ReportError: a file of the release, or an original, was changed meanwhile.
        ModelServerUnavailable, DeadlineExceeded, IndexRefused: the models stay away, or are others.
    """
    about = {RELEASED: ABOUT} if job.kind == "photos" else {}
    about |= {one.name: one.about for one in asked.baselines}
    gathered = {name: Gathering(name, words, len(faces)) for name, words in about.items()}
    pictures: dict[str, dict[int, np.ndarray]] = defaultdict(dict)

    def done(made: tuple[Placed, list[Made]]) -> None:
        photo, versions = made
        for one in versions:
            if one.sight is not None:
                gathered[one.name].put(photo.rows, one.sight, one.quality)
            pictures[one.name].update(one.pictures)
        report(1)

    work_through(partial(_look, asked=asked, eyes=eyes), photos, job, Where(), done, told)
    return Others([part.version() for part in gathered.values()], dict(pictures))


async def look_at_surrogates(faces: Faces, pipeline: Pipeline, eyes: Eyes) -> tuple[Version, dict[int, np.ndarray]]:
    """The surrogates alone: what every face would be if nothing of its photo were published.

    Returns:
        The version; and a picture of each crowd, uint8 [CROP, CROP, 3].

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    gathered = Gathering(SURROGATE, "The crowd's surrogate by itself, without anything of the photo.", len(faces))
    pictures = {}
    for crowd in np.unique(faces.crowds[faces.crowds >= 0]).tolist():
        (surrogate,) = await pipeline.surrogates.get([crowd])
        there = await detect(surrogate.image, pipeline.triton, eyes.models.detector, MIN_SCORE, MIN_FACE_PX)
        largest = sorted(there, key=lambda face: -face.side)[:1]
        rows = np.flatnonzero(faces.crowds == crowd)
        if largest:
            sight = await read(largest, largest, surrogate.image, eyes, pipeline.triton)
            gathered.put(rows.tolist(), _repeated(sight, len(rows)))
        pictures[crowd] = crop(surrogate.image, surrogate.landmarks)
    return gathered.version(), pictures


def crop(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face as FFHQ aligns it, uint8 [CROP, CROP, 3]."""
    return warp(pixels, similarity(landmarks, FFHQ_LANDMARKS * CROP), (CROP, CROP))


async def _look(
    photo: Placed, job: Job, pipeline: Pipeline, gate: Gate, asked: Asked, eyes: Eyes
) -> tuple[Placed, list[Made]]:
    try:
        before = await in_thread(read_pixels, photo.path, asked.hashes[photo.path], job)
        released = await in_thread(_released, photo, job)
    except OSError as gone:
        raise ReportError(f"{photo.path} was changed while it was looked at ({gone}); run the report again") from gone
    landmarks = np.array([face.landmarks for face in photo.faces], np.float32)
    made = [Made(ORIGINAL, None, {}, _crops(before, landmarks, photo, asked))]
    _give(asked, ORIGINAL, before, photo)
    if released is not None:
        made.append(await _see(RELEASED, released, before, photo, pipeline, gate, asked, eyes))
    for baseline in asked.baselines:
        hidden = await in_thread(baseline.hide, before, landmarks, np.array(photo.rows))
        made.append(await _see(baseline.name, hidden, before, photo, pipeline, gate, asked, eyes))
    return photo, made


async def _see(
    name: str,
    after: np.ndarray,
    before: np.ndarray,
    photo: Placed,
    pipeline: Pipeline,
    gate: Gate,
    asked: Asked,
    eyes: Eyes,
) -> Made:
    """Looks at one version, as an attacker who aligns by hand where nothing is found."""
    sight = await gate.patiently(lambda: look(after, photo.faces, eyes, pipeline.triton))
    landmarks = np.array([face.landmarks for face in photo.faces], np.float32)
    quality = await in_thread(measure_quality, before, after, landmarks)
    _give(asked, name, after, photo)
    return Made(name, sight, quality, _crops(after, landmarks, photo, asked))


def _released(photo: Placed, job: Job) -> np.ndarray | None:
    """The pixels of what was released; None: nothing was."""
    target = job.target(photo.path)
    if not photo.released or target is None:
        return None
    s = job.settings
    return decode(target.read_bytes(), s.max_pixels, s.min_side_px, s.max_side_px).pixels


def _crops(pixels: np.ndarray, landmarks: np.ndarray, photo: Placed, asked: Asked) -> dict[int, np.ndarray]:
    rows = enumerate(photo.rows)
    return {row: crop(pixels, landmarks[place]) for place, row in rows if row in asked.pictures}


def _give(asked: Asked, name: str, pixels: np.ndarray, photo: Placed) -> None:
    if asked.downstream is not None:
        asked.downstream.add(name, photo.path, pixels, [face.box for face in photo.faces])


def _repeated(sight: Sight, times: int) -> Sight:
    """What is seen of one face, for several rows. Its landmarks are in no photo."""
    return Sight(
        np.repeat(sight.found, times),
        np.full((times, 5, 2), np.nan, np.float32),
        {name: np.repeat(vectors, times, axis=0) for name, vectors in sight.embeddings.items()},
        {name: list(words) * times for name, words in sight.attributes.items()},
    )

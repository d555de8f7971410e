"""A photo of a release and its original -> a proof: both are looked at anew, and every face is held against its past.

The proof takes nothing from the run that made the photo but which crowd each face was given. It finds the faces of
both files again, and compares embeddings place by place.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.anonymizer.decode import decode
from services.anonymizer.detect import Face, detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Models
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.threads import in_thread
from services.errors import AnonFacesError, IndexRefused
from services.population.faces import is_certain
from services.release.journal import Journal
from services.release.patience import Gate
from services.release.photo import Job, read_original
from services.release.records import KINDS, FaceRecord, Finding, FindingKind, Proof, Record
from services.settings import Settings

NEAR = 1 / 3  # of a face's longer side: two faces whose landmarks' middles are nearer are in one place

NOWHERE = (0.0, 0.0, 0.0)
MOST_BYTES = 1 << 40


async def prove_photo(record: Record, job: Job, pipeline: Pipeline, gate: Gate) -> Proof:
    """Looks at both files anew.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton was lost for longer than the patience.
        IndexRefused: other models answer than those of the index.
    """
    told = (record.path, record.sha256, record.output_sha256)
    try:
        before, after = [await _pixels(*file, job) for file in _files(record, job)]
    except (OSError, AnonFacesError):
        return Proof(*told, findings=(Finding("changed", NOWHERE),))
    try:
        found = await gate.patiently(lambda: _compare(before, after, record.faces, job.settings, pipeline))
    except AnonFacesError as failed:
        if gate.lost or isinstance(failed, IndexRefused):
            raise
        return Proof(*told, findings=(Finding("unseen", NOWHERE),))
    return Proof(*told, *found)


def _files(record: Record, job: Job) -> list[tuple[Path, str]]:
    """The original and the output, each with the hash it had."""
    return [(job.folder / record.path, record.sha256), (job.out / record.path, record.output_sha256)]


async def _pixels(file: Path, digest: str, job: Job) -> np.ndarray:
    """The pixels of a file that has that hash. Raises OSError, AnonFacesError."""
    read = await in_thread(read_original, file, MOST_BYTES)
    if read.sha256 != digest:
        raise OSError(f"{file} is another file than it was")
    s = job.settings
    return (await in_thread(decode, read.data, s.max_pixels, s.min_side_px, s.max_side_px)).pixels


async def _compare(
    before: np.ndarray, after: np.ndarray, faces: Sequence[FaceRecord], s: Settings, pipeline: Pipeline
) -> tuple[tuple[float, ...], tuple[Finding, ...]]:
    """Distances of the original's faces to what is there now, and what is wrong with any.

    Args:
        before, after: uint8 [H, W, 3] RGB.
        faces: how the release treated them.
    """
    models, triton = pipeline.models, pipeline.triton
    was, now = [await detect(one, triton, models.detector, s.detect_score, s.detect_min_px) for one in (before, after)]
    here = [nearest(face, now) for face in was]
    new = [face for face in now if is_certain(face, s) and nearest(face, was) is None]
    at = _landmarks([*was, *new])
    at_now = _landmarks([*(found or face for face, found in zip(was, here, strict=True)), *new])
    old = await embed(before, at, triton, models.embedder)
    finished = await embed(after, at_now, triton, models.embedder)
    distances = np.linalg.norm(finished - old, axis=1)
    findings = []
    for row, face in enumerate(was):
        treated = _treated(face, faces)
        crowd = treated.crowd if treated else None
        surrogate = None if crowd is None else pipeline.index.crowds.surrogate_embeddings[crowd]
        to_surrogate = None if surrogate is None else float(np.linalg.norm(finished[row] - surrogate))
        kind = _judge(treated, float(distances[row]), to_surrogate, limit_of(pipeline.models))
        if kind:
            findings.append(_finding(kind, face, float(distances[row]), to_surrogate))
    for row, face in enumerate(new, len(was)):
        findings.append(_finding("unexplained", face, float(distances[row]), None))
    return tuple(round(float(distance), 4) for distance in distances[: len(was)]), tuple(findings)


def limit_of(models: Models) -> float:
    """How far apart a finished face and its original have to be: the recogniser's own limit, as its row records it."""
    return models.embedder.same_person


def _judge(treated: FaceRecord | None, distance: float, to_surrogate: float | None, limit: float) -> FindingKind | None:
    """What is wrong with a face of the original; None if nothing is.

    Args:
        distance: of embeddings, what is there now to what was.
        to_surrogate: what is there now to the surrogate that it should be; None: it should be masked.
        limit: the recogniser's own: at most so far apart are two photos that it takes for one person.
    """
    if treated is None:
        return "unknown"
    if to_surrogate is None:
        return "left" if distance <= limit else None
    if distance <= to_surrogate:
        return "left"
    return "recognisable" if distance <= limit else None


def nearest(face: Face, others: Sequence[Face]) -> Face | None:
    """The one of some faces that is in the same place; None: there is none."""
    return at_place((*face.centre.tolist(), face.side), others)


def at_place(place: tuple[float, float, float], others: Sequence[Face]) -> Face | None:
    """The one of some faces that is in a place, as a `FaceRecord` has it; None: there is none."""
    best = _nearest(place, [(*other.centre.tolist(), other.side) for other in others])
    return None if best is None else others[best]


def _treated(face: Face, faces: Sequence[FaceRecord]) -> FaceRecord | None:
    """What the release did to the face in that place; None: nothing."""
    best = _nearest((*face.centre.tolist(), face.side), [one.place for one in faces])
    return None if best is None else faces[best]


def _nearest(place: tuple[float, float, float], others: Sequence[tuple[float, float, float]]) -> int | None:
    """Which of some places (middle, and longer side) is the same as one; None: none is."""
    if not others:
        return None
    apart = [float(np.hypot(other[0] - place[0], other[1] - place[1])) for other in others]
    best = int(np.argmin(apart))
    return best if apart[best] < NEAR * max(place[2], others[best][2]) else None


def _landmarks(faces: Sequence[Face]) -> np.ndarray:
    return np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)


def _finding(kind: FindingKind, face: Face, distance: float, to_surrogate: float | None) -> Finding:
    x, y = (round(float(value), 1) for value in face.centre)
    near = None if to_surrogate is None else round(to_surrogate, 4)
    return Finding(kind, (x, y, round(face.side, 1)), round(distance, 4), near)


def proof_counts(journal: Journal, limit: float) -> dict[str, Any]:
    """What the proofs come to: counts alone. A distance would tell who has a candidate's original that it was one."""
    proofs = [journal.proofs[record.path] for record in journal.released() if record.path in journal.proofs]
    kinds = Counter(finding.kind for proof in proofs for finding in proof.findings)
    return {
        "photos": len(proofs),
        "faces": sum(len(proof.distances) for proof in proofs),
        "recogniser_limit": limit,
        "found": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
    }

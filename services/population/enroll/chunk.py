"""Photos -> rows, through Triton: the part of enrolment that a worker anywhere can do."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from services.anonymizer.align import cut_chips, pose_of
from services.anonymizer.detect import Face
from services.anonymizer.latents import broadcast
from services.anonymizer.models import Estimator, Inverter, Models
from services.anonymizer.triton import Triton
from services.errors import ModelServerUnavailable
from services.population.attributes import estimate
from services.population.enroll.choose import Choice, Several, choose_face, rules_of
from services.population.enroll.quality import measure
from services.population.enroll.rows import BAD, ENROLLED, Row, table_of
from services.population.enroll.sources import Entry
from services.population.faces import Looked, look_at
from services.settings import Settings

BATCH = 8  # chips embedded together
MOST_WAITING = 4 * BATCH  # photos whose rows wait for a batch
TIMEOUT_S = 120
WAITS_S = (1.0, 5.0, 15.0)  # before a request is sent again, while Triton is away


@dataclass(frozen=True)
class Job:
    """What a worker has to know to enrol photos."""

    source: str
    models: Models
    inverter: Inverter | None  # None: latents stay unknown
    estimators: Sequence[Estimator]
    several: Several
    settings: Settings
    url: str = ""  # of Triton

    @property
    def latent_dims(self) -> int:
        """Floats of a latent; 0: they stay unknown."""
        return self.models.generator.latent_dims if self.inverter else 0

    def table(self, rows: Sequence[Row]) -> pa.Table:
        """Rows as the population keeps them."""
        return table_of(rows, self.models.embedder.dims, self.latent_dims)


class PatientTriton(Triton):
    """Asks again: one full queue, or a server that is restarted, must not end an enrolment of days."""

    async def infer(self, model: str, inputs: dict[str, np.ndarray], *outputs: str) -> list[np.ndarray]:  # type: ignore[override]
        for wait in WAITS_S:
            try:
                return await super().infer(model, inputs, *outputs)
            except ModelServerUnavailable:
                await asyncio.sleep(wait)
        return await super().infer(model, inputs, *outputs)


@dataclass(frozen=True)
class _Seen:
    """What a photo shows."""

    choice: Choice
    chip: np.ndarray | None = None  # uint8 [side, side, 3]
    quality: dict[str, float] = field(default_factory=dict)
    estimated: dict[str, str] = field(default_factory=dict)


def enroll_chunk(job: Job, entries: Sequence[Entry]) -> pa.Table:
    """Enrols some photos with a connection to Triton of its own. Raises as `enroll_photos` does."""

    async def all_of_them() -> list[Row]:
        async with PatientTriton(job.url, TIMEOUT_S) as triton:
            return [row async for rows in enroll_photos(job, entries, triton) for row in rows]

    return job.table(asyncio.run(all_of_them()))


async def enroll_photos(
    job: Job,
    entries: Sequence[Entry],
    triton: Triton,
    most: int = MOST_WAITING,
    report: Callable[[], None] | None = None,
) -> AsyncGenerator[list[Row], None]:
    """Enrols photos, several at a time. Close the generator if it is left early.

    Args:
        most: photos whose rows may wait for others to be given out with.
        report: called after each photo.

    Yields:
        Rows, one a photo, in the order of `entries`; some at a time.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    waiting: list[tuple[Entry, Looked[_Seen]]] = []
    ahead = iter(entries)
    see = partial(_see, job=job, triton=triton)
    photos = look_at([entry.path for entry in entries], see, triton, job.models.detector, job.settings)
    async with aclosing(photos) as looked:
        async for photo in looked:
            waiting.append((next(ahead), photo))
            if report:
                report()
            chips = sum(seen.result is not None and seen.result.chip is not None for _, seen in waiting)
            if chips == BATCH or len(waiting) >= min(most, MOST_WAITING):
                yield await _rows(job, waiting, triton)
                waiting = []
    if waiting:
        yield await _rows(job, waiting, triton)


async def _see(pixels: np.ndarray, faces: list[Face], job: Job, triton: Triton) -> _Seen:
    choice = choose_face(faces, job.several, job.settings)
    if choice.face is None:
        return _Seen(choice)
    points = choice.face.landmarks[None]
    embedder = job.models.embedder
    (chip,) = await asyncio.to_thread(cut_chips, pixels, points, embedder.aligner, embedder.chip_px)
    quality = await asyncio.to_thread(measure, choice.face, chip)
    looks = await estimate(pixels, points, triton, job.estimators)
    return _Seen(choice, chip, quality, {name: values[0] for name, values in looks.items()})


async def _rows(job: Job, photos: Sequence[tuple[Entry, Looked[_Seen]]], triton: Triton) -> list[Row]:
    """What became of some photos, their chips embedded together."""
    with_face = [seen.result for _, seen in photos if seen.result is not None and seen.result.chip is not None]
    embeddings, latents = await _vectors(job, with_face, triton)
    vectors = iter(zip(embeddings, latents, strict=True))
    rules = rules_of(job.several, job.settings)
    rows = []
    for entry, looked in photos:
        row = partial(
            Row,
            source=job.source,
            photo=entry.photo,
            identity=entry.identity,
            bytes=looked.bytes,
            mtime_ns=looked.mtime_ns,
            several=rules.several,
            limits=rules.limits,
            given=entry.given,
        )
        seen = looked.result
        if seen is None:
            rows.append(row(status=BAD, reason=looked.trouble))
        elif seen.choice.face is None:
            rows.append(row(status=seen.choice.status, reason=seen.choice.reason, faces=seen.choice.faces))
        else:
            embedding, latent = next(vectors)
            rows.append(
                row(
                    status=ENROLLED,
                    faces=seen.choice.faces,
                    box=seen.choice.face.box.tolist(),
                    quality=seen.quality,
                    estimated=seen.estimated,
                    embedding=embedding,
                    latent=latent,
                )
            )
    return rows


async def _vectors(job: Job, seen: Sequence[_Seen], triton: Triton) -> tuple[np.ndarray, Iterable[Any]]:
    """Embeddings float32 [n, d], and latents float32 [n, l], flat, or None for each."""
    if not seen:
        return np.empty((0, job.models.embedder.dims), np.float32), []
    chips = np.stack([one.chip for one in seen if one.chip is not None])
    (embeddings,) = await triton.infer(job.models.embedder.model, {"chips": chips}, "embedding")
    if job.inverter is None:
        return embeddings, [None] * len(embeddings)
    poses = pose_of(np.stack([one.choice.face.landmarks for one in seen if one.choice.face is not None]))
    (w,) = await triton.infer(job.inverter.model, {"embedding": embeddings, "pose": poses}, "w")
    return embeddings, broadcast(w, job.models.generator).reshape(len(w), -1)

"""crowds -> files: the surrogates alone, once each, for a release without photos."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from services.anonymizer.options import SurrogateOptions
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.reload import load
from services.anonymizer.triton import Triton
from services.errors import ReleaseError
from services.population.portrait import read_portrait
from services.release.journal import Journal
from services.release.photo import Job
from services.release.run import TIMEOUT_S
from services.release.terms import SURROGATES
from services.release.write import remove, write_at_once

FORMAT = "jpeg"


@dataclass(frozen=True)
class File:
    """A surrogate as it is published."""

    crowd: int
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """Its path below the release."""
        return f"{SURROGATES}/{self.crowd:06d}.jpg"

    def told(self, sizes: np.ndarray) -> dict[str, Any]:
        """What the manifest says of it. `people`: those it stands for."""
        return {"file": self.name, "sha256": self.sha256, "bytes": self.bytes, "people": int(sizes[self.crowd])}


def write_surrogates(job: Job, out: Path, journal: Journal, url: Callable[[], str]) -> list[File]:
    """Writes the surrogate of every crowd that the photos have, and takes away those of others.

    Raises:
        ReleaseError: a picture is not the surrogate that the index holds; or cannot be written.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    crowds = sorted({crowd for record in journal.released() for crowd in record.crowds})
    wanted = {f"{crowd:06d}.jpg" for crowd in crowds}
    if (out / SURROGATES).is_dir():
        for path in (out / SURROGATES).iterdir():
            if path.name not in wanted:
                remove(path)
    return asyncio.run(_write(replace(job, url=url()), out, crowds)) if crowds else []


async def _write(job: Job, out: Path, crowds: list[int]) -> list[File]:
    options = SurrogateOptions(format=FORMAT, emotion=job.options.emotion, quality=job.options.quality)
    files = []
    async with Triton(job.url, TIMEOUT_S) as triton:
        pipeline = await asyncio.to_thread(load, job.settings, job.version, triton)
        for start in range(0, len(crowds), job.window):
            some = crowds[start : start + job.window]
            pictures = await asyncio.gather(*(_picture(crowd, options, pipeline, triton) for crowd in some))
            for crowd, data in zip(some, pictures, strict=True):
                file = File(crowd, hashlib.sha256(data).hexdigest(), len(data))
                write_at_once(out / file.name, data)
                files.append(file)
    return files


async def _picture(crowd: int, options: SurrogateOptions, pipeline: Pipeline, triton: Triton) -> bytes:
    """A surrogate's file, after it was seen to be the face that the index holds."""
    data, _ = await pipeline.surrogate(crowd, options)
    (surrogate,) = await pipeline.surrogates.get([crowd], [options.chosen])
    seen = await read_portrait(surrogate.image, triton, pipeline.models)
    held = pipeline.index.crowds.surrogate_embeddings[crowd]
    distance = np.inf if seen is None else float(np.linalg.norm(seen.embedding - held))
    if not options.chosen and distance > pipeline.index.identity_threshold:
        raise ReleaseError(f"the surrogate of crowd {crowd} is not the index's (distance {distance:.2f}); see Triton")
    return data

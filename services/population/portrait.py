"""latents -> portraits: pictures of one person each, and what the service would see in them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Embedder, Generator, Models
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton

MIN_SCORE, MIN_FACE_PX = 0.5, 64.0
BATCH = 4
WINDOW = 3  # batches under way: two render while the third is read


@dataclass(frozen=True)
class Portrait:
    """What a picture of one person gives: where the face is, and its embedding."""

    landmarks: np.ndarray  # float32 [5, 2], pixels
    embedding: np.ndarray  # float32 [d]
    others: tuple[np.ndarray, ...] = ()  # of further recognisers, which only measure


async def read_portrait(
    image: np.ndarray, triton: Triton, models: Models, others: Sequence[Embedder] = ()
) -> Portrait | None:
    """Detects the largest face of `image uint8 [S, S, 3]` and embeds it as the service would; None without a face."""
    faces = await detect(image, triton, models.detector, MIN_SCORE, MIN_FACE_PX)
    if not faces:
        return None
    largest = max(faces, key=lambda face: face.side)
    points = largest.landmarks[None]
    embeddings = [(await embed(image, points, triton, embedder))[0] for embedder in (models.embedder, *others)]
    return Portrait(largest.landmarks, embeddings[0], tuple(embeddings[1:]))


async def photograph(
    latents: np.ndarray,
    triton: Triton,
    models: Models,
    generator: Generator,
    report: Callable[[int], None],
    others: Sequence[Embedder] = (),
) -> list[Portrait | None]:
    """Renders `latents float32 [n, l]` and reads each picture. Batches overlap, so that no model waits for another."""
    window = asyncio.Semaphore(WINDOW)

    async def one(batch: np.ndarray) -> list[Portrait | None]:
        async with window:
            images = await render(batch, triton, generator)
            portraits = await asyncio.gather(*(read_portrait(image, triton, models, others) for image in images))
        report(len(batch))
        return list(portraits)

    batches = await asyncio.gather(*(one(latents[i : i + BATCH]) for i in range(0, len(latents), BATCH)))
    return [portrait for batch in batches for portrait in batch]

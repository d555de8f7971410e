"""A population of people who do not exist, sampled from the generator: something to stand among on a fresh machine."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import GENERATORS, Generator, Models
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.index import ClusterIndex, Crowds, Enrolment, write_index
from services.population.partition import information_loss, partition
from services.provenance import check_model

PSI = 0.7  # truncation: people look real, and still differ
SAMPLER = "mobile-stylegan-512"  # people are only embedded, so half the size is enough
MIN_SCORE, MIN_FACE_PX = 0.5, 64.0
BATCH = 4
WINDOW = 3  # batches under way: two render while the third is read

Progress = Callable[[str, int, int], None]  # (what, done, of how many)


@dataclass(frozen=True)
class People:
    """Synthetic people: their latents, and their embeddings as an enrolment photo of each gives them."""

    names: list[str]
    w: np.ndarray  # float32 [n, w_dims]
    embeddings: np.ndarray  # float32 [n, d]


async def sample_w(count: int, seed: int, triton: Triton, generator: Generator, w_mean: np.ndarray) -> np.ndarray:
    """Draws people: z standard normal -> w, truncated towards the mean by psi 0.7. float32 [count, w_dims].

    The first rows for a seed do not depend on `count`.
    """
    z = np.random.default_rng(seed).standard_normal((count, generator.latent_dims), dtype=np.float32)
    (w,) = await triton.infer(generator.mapping, {"z": z}, "w")
    return (w_mean + PSI * (w - w_mean)).astype(np.float32)


@dataclass(frozen=True)
class Portrait:
    """What a picture of one person gives: where the face is, and its embedding."""

    landmarks: np.ndarray  # float32 [5, 2], pixels
    embedding: np.ndarray  # float32 [d]


async def read_portrait(image: np.ndarray, triton: Triton, models: Models) -> Portrait | None:
    """Detects the largest face of `image uint8 [S, S, 3]` and embeds it as the service would; None without a face."""
    faces = await detect(image, triton, models.detector, MIN_SCORE, MIN_FACE_PX)
    if not faces:
        return None
    largest = max(faces, key=lambda face: face.side)
    (embedding,) = await embed(image, largest.landmarks[None], triton, models.embedder)
    return Portrait(largest.landmarks, embedding)


async def photograph(
    w: np.ndarray, triton: Triton, models: Models, generator: Generator, report: Callable[[int], None]
) -> list[Portrait | None]:
    """Renders `w float32 [n, w_dims]` and reads each picture. Batches overlap, so that no model waits for another."""
    window = asyncio.Semaphore(WINDOW)

    async def one(batch: np.ndarray) -> list[Portrait | None]:
        async with window:
            images = await render(batch, triton, generator)
            portraits = await asyncio.gather(*(read_portrait(image, triton, models) for image in images))
        report(len(batch))
        return list(portraits)

    batches = await asyncio.gather(*(one(w[i : i + BATCH]) for i in range(0, len(w), BATCH)))
    return [portrait for batch in batches for portrait in batch]


async def sample_people(
    count: int, seed: int, triton: Triton, models: Models, w_mean: np.ndarray, progress: Progress
) -> People:
    """Samples people until `count` of them have a face that the detector finds (nearly every one has).

    Raises:
        PartitionError: too few have one.
    """
    generator = GENERATORS[SAMPLER]
    w = await sample_w(2 * count, seed, triton, generator, w_mean)
    kept: list[int] = []
    portraits: list[Portrait] = []
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress("sampling people", min(done, count), count)

    while len(kept) < count and done < len(w):
        start, end = done, min(done + count - len(kept), len(w))
        for number, portrait in enumerate(await photograph(w[start:end], triton, models, generator, report), start):
            if portrait is not None:
                kept.append(number)
                portraits.append(portrait)
    if len(kept) < count:
        raise PartitionError(f"only {len(kept)} of {len(w)} sampled people have a face that is found; try another seed")
    return People([person_name(i) for i in kept], w[kept], np.array([p.embedding for p in portraits]))


def person_name(number: int) -> str:
    """The identity of the person sampled as row `number`."""
    return f"person-{number:05d}"


def mean_by(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Means of rows by label, float32 [labels, ...]; sums in float64 and in the order of rows."""
    sums = np.zeros((labels.max() + 1, values.shape[1]))
    np.add.at(sums, labels, values.astype(np.float64))
    return (sums / np.bincount(labels)[:, None]).astype(np.float32)


async def build_index(
    people: People,
    k: int,
    algorithm: str,
    seed: int,
    triton: Triton,
    models: Models,
    repository: Path,
    folder: Path,
    progress: Progress,
) -> ClusterIndex:
    """Partitions people, renders every crowd's surrogate once, and writes the cluster index.

    Raises:
        PartitionError: k is impossible, or a surrogate has no face that the detector finds.
        IndexRefused: the guarantee does not hold.
    """
    labels = partition(people.embeddings, k, algorithm, seed)
    surrogate_w = mean_by(people.w, labels)
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress("rendering surrogates", done, len(surrogate_w))

    portraits = await photograph(surrogate_w, triton, models, models.generator, report)
    found = [portrait for portrait in portraits if portrait is not None]
    if len(found) < len(portraits):
        raise PartitionError("a surrogate has no face that the detector finds; try another k or seed")
    crowds = Crowds(
        sizes=np.bincount(labels),
        centroids=mean_by(people.embeddings, labels),
        surrogate_w=surrogate_w,
        surrogate_landmarks=np.array([p.landmarks for p in found], np.float32) / models.generator.image_px,
        surrogate_embeddings=np.array([p.embedding for p in found], np.float32),
    )
    enrolment = Enrolment(np.array(people.names), people.embeddings, labels)
    hashes = {name: check_model(repository, name)["model_sha256"] for name in models.online()}
    provenance = {
        "population": "synthetic",
        "seed": seed,
        "psi": PSI,
        "partition": {
            "algorithm": algorithm,
            "information_loss": round(information_loss(people.embeddings, labels), 4),
        },
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
        "models_sha256": hashes,
    }
    return write_index(folder, crowds, enrolment, k, provenance)

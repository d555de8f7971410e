"""A population of people who do not exist, sampled from the generator: something to stand among on a fresh machine."""

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
BATCH = 8

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


async def photograph(images: np.ndarray, triton: Triton, models: Models) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Detects the one face of each picture `uint8 [n, S, S, 3]` and embeds it as the service would.

    Returns:
        The numbers of the pictures with a face, their landmarks float32 [m, 5, 2], their embeddings float32 [m, d].
    """
    numbers, landmarks, embeddings = [], [], []
    for number, image in enumerate(images):
        faces = await detect(image, triton, models.detector, MIN_SCORE, MIN_FACE_PX)
        if faces:
            largest = max(faces, key=lambda face: face.side)
            numbers.append(number)
            landmarks.append(largest.landmarks)
            embeddings.append(await embed(image, largest.landmarks[None], triton, models.embedder))
    return numbers, np.array(landmarks).reshape(-1, 5, 2), np.concatenate([*embeddings, np.empty((0, models.embedder.dims), np.float32)])


async def sample_people(
    count: int, seed: int, triton: Triton, models: Models, w_mean: np.ndarray, progress: Progress
) -> People:
    """Samples people until `count` of them have a face that the detector finds (nearly every one has)."""
    names: list[str] = []
    w_kept, embeddings_kept = [], []
    w_all = await sample_w(count + count // 4 + BATCH, seed, triton, GENERATORS[SAMPLER], w_mean)
    for start in range(0, len(w_all), BATCH):
        w = w_all[start : start + BATCH]
        found, _, embeddings = await photograph(await render(w, triton, GENERATORS[SAMPLER]), triton, models)
        names += [f"person-{start + i:05d}" for i in found]
        w_kept.append(w[found])
        embeddings_kept.append(embeddings)
        progress("sampling people", min(len(names), count), count)
        if len(names) >= count:
            break
    else:
        raise PartitionError(f"only {len(names)} of {count} sampled people have a face that is found; try another seed")
    return People(names[:count], np.concatenate(w_kept)[:count], np.concatenate(embeddings_kept)[:count])


def mean_by(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Means of rows by label, float32 [labels, ...]; sums in float64 and in the order of rows."""
    sums = np.zeros((labels.max() + 1, values.shape[1]))
    np.add.at(sums, labels, values.astype(np.float64))
    return (sums / np.bincount(labels)[:, None]).astype(np.float32)


async def build_index(
    people: People, k: int, algorithm: str, seed: int, triton: Triton, models: Models, repository: Path,
    folder: Path, progress: Progress,
) -> ClusterIndex:
    """Partitions people, renders every crowd's surrogate once, and writes the cluster index.

    Raises:
        PartitionError: k is impossible, or a surrogate has no face that the detector finds.
        IndexRefused: the guarantee does not hold.
    """
    labels = partition(people.embeddings, k, algorithm, seed)
    surrogate_w = mean_by(people.w, labels)
    landmarks, embeddings = [], []
    for crowd, w in enumerate(surrogate_w):
        image = await render(w[None], triton, models.generator)
        found, points, vectors = await photograph(image, triton, models)
        if not found:
            raise PartitionError(f"the surrogate of crowd {crowd} has no face that is found; try another k or seed")
        landmarks.append(points[0] / models.generator.image_px)
        embeddings.append(vectors[0])
        progress("rendering surrogates", crowd + 1, len(surrogate_w))
    crowds = Crowds(
        sizes=np.bincount(labels),
        centroids=mean_by(people.embeddings, labels),
        surrogate_w=surrogate_w,
        surrogate_landmarks=np.array(landmarks, np.float32),
        surrogate_embeddings=np.array(embeddings, np.float32),
    )
    enrolment = Enrolment(np.array(people.names), people.embeddings, labels)
    hashes = {name: check_model(repository, name)["model_sha256"] for name in models.online()}
    provenance = {
        "population": "synthetic",
        "seed": seed,
        "psi": PSI,
        "partition": {"algorithm": algorithm, "information_loss": round(information_loss(people.embeddings, labels), 4)},
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
        "models_sha256": hashes,
    }
    return write_index(folder, crowds, enrolment, k, provenance)

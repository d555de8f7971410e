"""A population of people who do not exist, sampled from the generator: something to stand among on a fresh machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.anonymizer.latents import PSI
from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.index import ClusterIndex, Crowds, Enrolment, EnrolmentStore, building, publish
from services.population.partition import information_loss, partition
from services.population.portrait import Portrait, photograph
from services.population.sample import Sampler
from services.provenance import check_model

Progress = Callable[[str, int, int], None]  # (what, done, of how many)


@dataclass(frozen=True)
class People:
    """Synthetic people: their latents, and their embeddings as an enrolment photo of each gives them."""

    names: list[str]
    latents: np.ndarray  # float32 [n, l], flat
    embeddings: np.ndarray  # float32 [n, d]


async def sample_people(
    count: int, seed: int, triton: Triton, models: Models, sampler: Sampler, progress: Progress
) -> People:
    """Samples people until `count` of them have a face that the detector finds (nearly every one has).

    Raises:
        PartitionError: too few have one.
    """
    latents = await sampler.latents(2 * count, seed, triton)
    kept: list[int] = []
    portraits: list[Portrait] = []
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress("sampling people", min(done, count), count)

    while len(kept) < count and done < len(latents):
        start, end = done, min(done + count - len(kept), len(latents))
        seen = await photograph(latents[start:end], triton, models, sampler.generator, report)
        for number, portrait in enumerate(seen, start):
            if portrait is not None:
                kept.append(number)
                portraits.append(portrait)
    if len(kept) < count:
        raise PartitionError(
            f"only {len(kept)} of {len(latents)} people have a face that is found; ask for fewer, or another seed"
        )
    return People([person_name(i) for i in kept], latents[kept], np.array([p.embedding for p in portraits]))


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
    store: EnrolmentStore,
    progress: Progress,
) -> ClusterIndex:
    """Partitions people, renders every crowd's surrogate once, and writes the cluster index.

    Raises:
        PartitionError: k is impossible, or a surrogate has no face that the detector finds.
        IndexRefused: the guarantee does not hold.
    """
    labels = partition(people.embeddings, k, algorithm, seed)
    sides = models.generator.image_size[::-1]
    latents = mean_by(people.latents, labels)
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress("rendering surrogates", done, len(latents))

    portraits = await photograph(latents, triton, models, models.generator, report)
    found = [portrait for portrait in portraits if portrait is not None]
    if len(found) < len(portraits):
        raise PartitionError("a surrogate has no face that the detector finds; try another k or seed")
    crowds = Crowds(
        sizes=np.bincount(labels),
        centroids=mean_by(people.embeddings, labels),
        surrogate_latents=latents,
        surrogate_landmarks=np.array([p.landmarks for p in found], np.float32) / np.array(sides, np.float32),
        surrogate_embeddings=np.array([p.embedding for p in found], np.float32),
    )
    enrolment = Enrolment.of(np.array(people.names), people.embeddings, labels)
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
    with building(folder):
        return publish(folder, crowds, enrolment, store, k, models.embedder.same_person, provenance)

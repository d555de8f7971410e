"""A population of people who do not exist, sampled from the generator: something to stand among on a fresh machine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from services.anonymizer.latents import PSI
from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.people import Population
from services.population.portrait import Portrait, photograph
from services.population.sample import Sampler
from services.provenance import check_model

Progress = Callable[[str, int, int], None]  # (what, done, of how many)


async def sample_people(
    count: int,
    seed: int,
    triton: Triton,
    models: Models,
    sampler: Sampler,
    repository: Path,
    progress: Progress,
    name: str = "demo",
) -> Population:
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
    return Population(
        name,
        _made_with(models, repository, seed),
        np.array([person_name(i) for i in kept]),
        np.array([p.embedding for p in portraits]),
        latents[kept],
        np.ones(count, np.int64),
        {},
    )


def _made_with(models: Models, repository: Path, seed: int) -> dict[str, object]:
    return {
        "source": "synthetic",
        "seed": seed,
        "psi": PSI,
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
        "models_sha256": {name: check_model(repository, name)["model_sha256"] for name in models.recorded()},
    }


def person_name(number: int) -> str:
    """The identity of the person sampled as row `number`."""
    return f"person-{number:05d}"

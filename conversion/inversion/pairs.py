"""Pairs of a latent and what its picture looks like to the service: sampled once, kept on disk, resumable."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from services.anonymizer.align import pose_of
from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.arrays import read_arrays
from services.errors import ConversionError
from services.files import write_durably
from services.population.portrait import photograph
from services.population.sample import Sampler
from services.provenance import weights_of

SHARD = 50  # pairs a file; a killed run loses at most so many
PSI = (0.6, 1.0)  # truncation, drawn anew for each: real faces vary more than good-looking ones
ABOUT = "pairs.json"


class Report(Protocol):
    """Told how many pairs are there, of how many."""

    def __call__(self, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Pairs:
    """n people whose face was found."""

    w: np.ndarray  # float32 [n, w], as the mapping gives it
    embeddings: np.ndarray  # float32 [n, d]
    poses: np.ndarray  # float32 [n, 10], see align.pose_of

    def __len__(self) -> int:
        return len(self.w)

    def rows(self, rows: slice) -> "Pairs":
        return Pairs(self.w[rows], self.embeddings[rows], self.poses[rows])


def describe(sampler: Sampler, models: Models, seed: int, repository: Path) -> dict[str, Any]:
    """What pairs depend on: those of other models or another seed are others."""
    used = (*sampler.models, models.detector.look, models.embedder.model)
    return {
        "generator": sampler.generator.name,
        "mapping": sampler.generator.mapping,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "seed": seed,
        "psi": list(PSI),
        "weights_sha256": {name: weights_of(name, repository) for name in used},
    }


async def sample_pairs(
    count: int, about: dict[str, Any], folder: Path, sampler: Sampler, models: Models, triton: Triton, report: Report
) -> Pairs:
    """Samples what is missing of `count` pairs, in files of 50; what is there already is kept.

    Args:
        about: see `describe`; the seed is taken from it.
        folder: where the files are; made if it is not there.

    Raises:
        ConversionError: the folder holds pairs of other models or another seed.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures; run it again to go on.
    """
    shards = _shards(count, about, folder)
    done = SHARD * sum(shard.exists() for shard in shards)
    report(min(done, count), count)
    for number, shard in enumerate(shards):
        if not shard.exists():
            await _sample_shard(number, about["seed"], shard, sampler, models, triton)
            done += SHARD
            report(min(done, count), count)
    return read_pairs(shards, count)


def _shards(count: int, about: dict[str, Any], folder: Path) -> list[Path]:
    """The files for so many pairs, in a folder that holds pairs of these models and this seed, or nothing yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        partial = folder / f".{ABOUT}.part"
        partial.unlink(missing_ok=True)
        write_durably(partial, json.dumps(about, indent=1).encode())
        partial.replace(folder / ABOUT)
    elif _read_about(folder) != about:
        raise ConversionError(
            f"{folder} holds pairs of other models or another seed; remove it, or name another folder"
        )
    return [folder / f"pairs-{number:05d}.npz" for number in range(-(-count // SHARD))]


def _read_about(folder: Path) -> Any:
    try:
        return json.loads((folder / ABOUT).read_text())
    except ValueError as broken:
        raise ConversionError(f"{folder / ABOUT} is damaged; remove the folder, or name another") from broken


async def _sample_shard(number: int, seed: int, shard: Path, sampler: Sampler, models: Models, triton: Triton) -> None:
    """Its content depends on the seed and its number alone."""
    generator = sampler.generator
    rng = np.random.default_rng([seed, number])
    z = rng.standard_normal((SHARD, generator.z_dims), dtype=np.float32)
    psi = rng.uniform(*PSI, SHARD).astype(np.float32)
    if generator.mapping is None:
        raise ConversionError(f"{generator.name} has no mapping network: it has no w to find")
    (w,) = await triton.infer(generator.mapping, {"z": z}, "w")
    mean = sampler.w_mean
    w = (mean + psi[:, None] * (w - mean)).astype(np.float32)
    portraits = await photograph(sampler.spread(w), triton, models, generator, lambda rows: None)
    missing = np.full(models.embedder.dims, np.nan, np.float32)
    size = np.array(generator.image_size[::-1], np.float32)
    partial = shard.with_suffix(".part.npz")
    np.savez(
        partial,
        w=w,
        psi=psi,
        found=np.array([p is not None for p in portraits]),
        embedding=np.array([missing if p is None else p.embedding for p in portraits], np.float32),
        landmarks=np.array(
            [np.full((5, 2), np.nan) if p is None else p.landmarks / size for p in portraits], np.float32
        ),
    )
    partial.replace(shard)


def read_pairs(shards: list[Path], count: int) -> Pairs:
    """The first `count` pairs, without those whose face was not found.

    Raises:
        ConversionError: a file is damaged.
    """
    columns: dict[str, list[np.ndarray]] = {"w": [], "embedding": [], "landmarks": [], "found": []}
    for shard in shards:
        try:
            for name, values in read_arrays(shard, *columns).items():
                columns[name].append(values)
        except ValueError as broken:
            raise ConversionError(f"{shard} is damaged; remove it, and it is sampled again") from broken
    joined = {name: np.concatenate(values)[:count] for name, values in columns.items()}
    found = joined["found"]
    return Pairs(joined["w"][found], joined["embedding"][found], pose_of(joined["landmarks"][found]))

"""Latents of photos as a file: written here, read back, and imported from what StyleGAN-encoder left."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.anonymizer.latents import broadcast
from services.anonymizer.models import Generator
from services.arrays import read_arrays
from services.errors import LatentsRefused
from services.files import fsync_directory

LARGEST = 1e4  # |value| of a latent; what is beyond is no latent


@dataclass(frozen=True)
class Latents:
    """n latents of one generator, with the name of the photo each is of."""

    generator: str
    names: list[str]  # paths below the folder they came from, without suffix
    values: np.ndarray  # float32 [n, *latent_shape]


def write_latents(latents: Latents, path: Path) -> None:
    """Writes a `.npz` (arrays `generator`, `names`, `latents`), readable by its owner only, whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
        np.savez(
            sink, generator=np.array(latents.generator), names=np.array(latents.names, np.str_), latents=latents.values
        )
        sink.flush()
        os.fsync(sink.fileno())
    partial.replace(path)
    fsync_directory(path.parent)


def read_latents(path: Path) -> Latents:
    """Reads what `write_latents` wrote.

    Raises:
        LatentsRefused: another file, or a damaged one.
    """
    try:
        generator, names, values = read_arrays(path, "generator", "names", "latents").values()
    except ValueError as broken:
        raise LatentsRefused(f"{path} is not a file of latents (`anonfaces photos invert`): {broken}") from broken
    if names.ndim != 1 or len(names) != len(values) or values.dtype != np.float32 or not np.isfinite(values).all():
        raise LatentsRefused(f"{path} does not hold one latent of finite numbers for each name")
    return Latents(str(generator), names.tolist(), values)


def import_latents(files: Iterable[Path], folder: Path, generator: Generator) -> Latents:
    """Reads `.npy` files, one a photo, as StyleGAN-encoder writes them: float [18, 512], or one w float [512].

    A single w is used in every layer. Names are the files' paths below `folder`, so `identity/photo.npy` keeps both.

    Raises:
        LatentsRefused: a file is damaged, of another shape than the generator's latents, or not of finite numbers.
    """
    names, rows = [], []
    for path in files:
        names.append(path.relative_to(folder).with_suffix("").as_posix())
        rows.append(_read_one(path, generator))
    if not rows:
        raise LatentsRefused(f"no .npy files in {folder}")
    return Latents(generator.name, names, np.stack(rows))


def _read_one(path: Path, generator: Generator) -> np.ndarray:
    shape = generator.latent_shape
    try:
        # Mapped, not read: a file that claims more than it holds fails here, whatever it claims.
        value = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as broken:
        raise LatentsRefused(f"{path} is not a whole .npy file of numbers: {broken}") from broken
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise LatentsRefused(f"{path} holds no floating-point numbers")
    if value.shape[:1] == (1,) and value.shape[1:] == shape:
        value = value[0]
    if value.shape not in (shape, shape[-1:]):
        wanted = " or ".join(str(list(s)) for s in dict.fromkeys((shape, shape[-1:])))
        raise LatentsRefused(f"{path} has shape {list(value.shape)}; latents of {generator.name} have {wanted}")
    row = np.array(value, np.float32)
    if not (np.isfinite(row).all() and np.abs(row).max() <= LARGEST):
        raise LatentsRefused(f"{path} holds values that no latent has")
    return broadcast(row[None], generator)[0] if row.shape != shape else row

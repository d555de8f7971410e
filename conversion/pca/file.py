"""The file of a fitted PCA: `.npz`, written whole, and read without trusting it."""

import io
import secrets
import stat
import zipfile
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from services.errors import ConversionError
from services.files import write_durably

SIDES = (25, 30, 50, 75)  # of a small picture, in pixels
MIN_DIMS, MAX_DIMS = 10, 256
MAX_FILE_BYTES = 8 << 20  # the largest that can be right is 75 x 75 x 256 floats
DTYPES = {
    "mean": "<f4",
    "components": "<f4",
    "explained_variance": "<f4",
    "explained_variance_ratio": "<f4",
    "whiten": "|b1",
    "normalise": "|b1",
    "side": "<i8",
    "chips": "<i8",
    "same_person": "<f8",
}


@dataclass(frozen=True)
class Pca:
    """A fitted PCA; P = side * side."""

    mean: np.ndarray  # float32 [P]
    components: np.ndarray  # float32 [d, P], orthonormal rows, the largest variance first
    explained_variance: np.ndarray  # float32 [d]
    explained_variance_ratio: np.ndarray  # float32 [d], shares of the whole variance
    whiten: bool  # each dimension of an embedding is divided by its deviation among the fitted chips
    normalise: bool  # small pictures are brought to mean 0 and variance 1
    side: int  # of a small picture, in pixels
    chips: int  # how many it was fitted to
    # No threshold for PCA is published. This is the 1st percentile of the distances from fitted chips to their nearest
    # neighbours: a cap for cluster indexes, which calibrate a threshold of their own.
    same_person: float

    @property
    def dims(self) -> int:
        """Dimensions of an embedding."""
        return len(self.components)

    def matrix(self) -> np.ndarray:
        """What a centred small picture is multiplied with, float64 [P, d]; whitening is part of it."""
        scale = np.sqrt(self.explained_variance.astype(np.float64)) if self.whiten else 1.0
        return self.components.T.astype(np.float64) / scale

    def save(self, path: Path) -> None:
        """Writes an `.npz` file, whole or not at all; replaces one that is there.

        Raises:
            ConversionError: it cannot be written.
        """
        sink = io.BytesIO()
        np.savez(sink, **{name: np.array(getattr(self, name), dtype, order="C") for name, dtype in DTYPES.items()})
        scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            write_durably(scratch, sink.getvalue())
            scratch.replace(path)
        except OSError as error:
            raise ConversionError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            with suppress(OSError):  # it has its final name, or was never made
                scratch.unlink()


def load(path: Path) -> Pca:
    """Reads what `Pca.save` wrote. No array is read before its type, shape and size are known to be right.

    Raises:
        ConversionError: the file is not there, not an `.npz`, damaged, hostile, or its values make no PCA.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE_BYTES:
            raise ValueError(f"not a file of at most {MAX_FILE_BYTES:,} bytes")
        with zipfile.ZipFile(path) as archive:
            pca = _read(archive)
        _require_sound(pca)
    except Exception as broken:  # zip, deflate and npy have many ways to fail on hostile bytes
        reason = " ".join(str(broken).split())[:200] or type(broken).__name__
        raise ConversionError(
            f"{path.name} is no PCA as `anonfaces models fit pca` writes it: {reason}; fit it again"
        ) from broken
    return pca


def _read(archive: zipfile.ZipFile) -> Pca:
    members = {info.filename: info for info in archive.infolist()}
    missing = [name for name in DTYPES if f"{name}.npy" not in members]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if len(archive.infolist()) > len(DTYPES):
        raise ValueError("it holds more than a PCA")
    components = _array(archive, members["components.npy"], "<f4", None)
    dims, pixels = components.shape
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (pixels,),
        "explained_variance": (dims,),
        "explained_variance_ratio": (dims,),
    }
    values: dict[str, Any] = {"components": components}
    for name, dtype in DTYPES.items():
        if name not in values:
            value = _array(archive, members[f"{name}.npy"], dtype, shapes.get(name, ()))
            values[name] = value if name in shapes else value.item()
    return Pca(**values)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, dtype: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """One array of the archive; `shape` None stands for that of components, [d, P] within the limits."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
        raise ValueError(f"{info.filename[:40]} is packed in a way that is not read")
    with archive.open(info) as stream:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError(f"{info.filename} has an unknown version")
        found, fortran, kind = npy.read_array_header_1_0(stream)
        if kind != np.dtype(dtype) or fortran:
            raise ValueError(f"{info.filename} is not an array of {np.dtype(dtype).name} in C order")
        if shape is None and _plausible(found):
            shape = found
        if found != shape:
            raise ValueError(f"{info.filename} has the shape {str(found)[:60]}, which does not fit")
        size = kind.itemsize * int(np.prod(found, dtype=np.int64))
        data = stream.read(size + 1)  # the byte too much also makes zipfile compare the checksum
    if len(data) != size:
        raise ValueError(f"{info.filename} is shorter or longer than its shape")
    return np.frombuffer(data, kind).reshape(found)


def _plausible(shape: tuple[int, ...]) -> bool:
    """Whether components may have that shape."""
    return len(shape) == 2 and MIN_DIMS <= shape[0] <= MAX_DIMS and shape[1] in [side * side for side in SIDES]


def _require_sound(pca: Pca) -> None:
    """Raises ValueError if the values make no PCA."""
    for field in fields(pca):
        if not np.isfinite(getattr(pca, field.name)).all():
            raise ValueError(f"{field.name} holds values that are not numbers")
    if pca.side**2 != len(pca.mean):
        raise ValueError(f"side {pca.side} does not fit {len(pca.mean)} values")
    if pca.chips <= pca.dims or pca.same_person <= 0:
        raise ValueError("chips or same_person are out of range")
    variance, ratio = pca.explained_variance, pca.explained_variance_ratio
    if not (variance > 0).all() or not (ratio > 0).all() or ratio.sum() > 1.001:
        raise ValueError("the explained variances are out of range")
    components = pca.components.astype(np.float64)
    if np.abs(components @ components.T - np.eye(pca.dims)).max() > 1e-3:
        raise ValueError("components are not orthonormal")

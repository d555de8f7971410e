"""What an index publishes of its crowds: means over at least k people, and a surrogate. Nothing of any member."""

import io
import zipfile
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import read_array

from services.errors import IndexRefused

# What `unpack` raises of bytes that are not what they should be.
UNREADABLE = (KeyError, ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, TokenError)

# name: (kind of dtype, axes)
ARRAYS = {
    "sizes": ("i", 1),
    "centroids": ("f", 2),
    "surrogate_latents": ("f", 2),
    "surrogate_landmarks": ("f", 3),
    "surrogate_embeddings": ("f", 2),
}


@dataclass(frozen=True)
class Crowds:
    """The crowds of an index, m of them. A crowd keeps its number and its rows for as long as its epoch lasts."""

    sizes: np.ndarray  # int64 [m], distinct people when the crowd was made; people removed since still count
    centroids: np.ndarray  # float32 [m, d], mean embedding
    surrogate_latents: np.ndarray  # float32 [m, l], flat
    surrogate_landmarks: np.ndarray  # float32 [m, 5, 2], in the surrogate's picture, as shares of its sides
    surrogate_embeddings: np.ndarray  # float32 [m, d], of the surrogate's picture

    def __len__(self) -> int:
        return len(self.sizes)

    def followed_by(self, new: "Crowds") -> "Crowds":
        """These crowds, and others with the numbers after them."""
        return Crowds(*(np.concatenate([getattr(self, name), getattr(new, name)]) for name in ARRAYS))

    def first(self, count: int) -> "Crowds":
        """The crowds 0..count-1."""
        return Crowds(*(getattr(self, name)[:count] for name in ARRAYS))

    def same_as(self, other: "Crowds") -> np.ndarray:
        """bool [min(m, other's m)], for each crowd number in both: are they equal to the last bit?"""
        count = min(len(self), len(other))
        same = np.ones(count, bool)
        for name in ARRAYS:
            mine, theirs = getattr(self, name)[:count], getattr(other, name)[:count]
            if mine.shape != theirs.shape:
                return np.zeros(count, bool)
            same &= (mine == theirs).reshape(count, -1).all(axis=1)
        return same


def check_crowds(crowds: Crowds, k: int) -> None:
    """The guarantee as far as the published files can show it.

    Raises:
        IndexRefused: k below 2, a crowd below k, arrays of different lengths, values that are not finite.
    """
    if k < 2:
        raise IndexRefused(f"k is {k}; a crowd of one hides nobody")
    m = len(crowds.sizes)
    if m == 0 or any(len(getattr(crowds, name)) != m for name in ARRAYS):
        raise IndexRefused("the index has no crowds, or arrays of different lengths")
    if crowds.centroids.shape[1] != crowds.surrogate_embeddings.shape[1] or crowds.surrogate_landmarks.shape[1:] != (
        5,
        2,
    ):
        raise IndexRefused("the index holds embeddings of different lengths, or landmarks that are not five points")
    if crowds.sizes.min() < k:
        raise IndexRefused(
            f"crowd {int(crowds.sizes.argmin())} holds {int(crowds.sizes.min())} distinct identities, below k = {k}; "
            "partition the population again"
        )
    if not all(np.isfinite(getattr(crowds, name)).all() for name in ARRAYS):
        raise IndexRefused("the index holds values that are not finite numbers")


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an `.npz`; the same arrays give the same bytes."""
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def unpack(data: bytes, expected: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """The arrays of an archive, each of the kind and number of axes it must have; nothing in it is executed.

    `pack` compresses nothing, and what is compressed is refused: it might unpack to more than there is memory.

    Raises:
        UNREADABLE: it holds anything else.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = sorted(info.filename for info in archive.infolist())
        if found != sorted(f"{name}.npy" for name in expected):
            raise ValueError(f"it holds {found}, not {sorted(expected)}")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("its arrays are compressed")
        for name in expected:
            with archive.open(f"{name}.npy") as stream:
                arrays[name] = read_array(stream, allow_pickle=False)
    for name, (kind, axes) in expected.items():
        if arrays[name].dtype.kind != kind or arrays[name].ndim != axes:
            raise ValueError(f"{name} is {arrays[name].dtype} with {arrays[name].ndim} axes")
    return arrays

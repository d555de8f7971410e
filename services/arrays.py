"""Arrays of `.npz` files that others wrote."""

import zipfile
from pathlib import Path

import numpy as np

from services.errors import PartitionError

MAX_BYTES = 8 << 30


def read_arrays(path: Path, *names: str, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Some arrays of a `.npz`; nothing in it is executed.

    Args:
        max_bytes: most bytes that the archive may unpack to.

    Raises:
        ValueError: not an archive, damaged, too large, or without one of the arrays; says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
        if claimed > max_bytes:
            raise ValueError(f"it claims {claimed:,} bytes; at most {max_bytes:,} are read")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays.files]
            if missing:
                raise ValueError(f"it has no array {missing[0]!r}")
            return {name: arrays[name] for name in names}
    except MemoryError as large:
        raise ValueError("it does not fit in memory") from large
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as broken:
        raise ValueError(str(broken)) from broken


def read_embeddings(path: Path) -> np.ndarray:
    """Embeddings of a `.npy`, or of the array `embedding` of a `.npz`: float [n, d], finite.

    Raises:
        PartitionError: anything else; says what.
    """
    try:
        if path.suffix == ".npy":  # mapped first: a file that claims more than it holds fails here
            found = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        else:
            found = read_arrays(path, "embedding")["embedding"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as broken:
        raise PartitionError(f"{path} is no .npz with an array `embedding`, and no .npy: {broken}") from broken
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise PartitionError(f"{path} holds {found.dtype} {list(found.shape)}; wanted are finite numbers [n, d]")
    return found

"""Arrays of `.npz` files that others wrote."""

import zipfile
from pathlib import Path

import numpy as np

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
            return {name: arrays[name] for name in names}
    except KeyError as missing:
        raise ValueError(f"it has no array {missing}") from missing
    except MemoryError as large:
        raise ValueError("it does not fit in memory") from large
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as broken:
        raise ValueError(str(broken)) from broken

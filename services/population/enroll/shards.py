"""Parquet files of a population: each is whole or not there, and a generation says which of them count."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.errors import EnrolmentError
from services.files import fsync_directory, write_durably
from services.population.enroll.rows import KEY, NAMES

PHOTOS = "photos"
PATTERN = "[0-9]" * 6 + "*.parquet"
GENERATION = b"generation"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file that its owner alone can read: whole, on disk, and then in its place.

    Raises:
        EnrolmentError: the disk is full, or the folder cannot be written to; what was there stays.
    """
    partial = path.with_name(f".{path.name}.part")
    with saying_what_to_do(path.parent):
        try:
            partial.unlink(missing_ok=True)
            write_durably(partial, data, 0o600)
            partial.replace(path)
            fsync_directory(path.parent)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def saying_what_to_do(folder: Path) -> Iterator[None]:
    """Turns the system's errors of writing into one that says what to do."""
    try:
        yield
    except OSError as refused:
        if refused.errno in FULL:
            raise EnrolmentError(
                f"the disk of {folder} is full; make room and run the same command again, it goes on where it stopped"
            ) from refused
        raise EnrolmentError(f"{folder} cannot be written to: {refused.strerror or refused}") from refused


def write_shard(folder: Path, table: pa.Table, generation: int) -> None:
    """Writes a table as the next shard of a population's folder."""
    table = table.replace_schema_metadata({GENERATION: str(generation)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=list(NAMES), write_page_checksum=True)
    number = max((number_of(path) for path in shard_files(folder)), default=0) + 1
    replace_file(folder / PHOTOS / f"{number:06d}.parquet", sink.getvalue().to_pybytes())


def shard_files(folder: Path) -> list[Path]:
    """The shards, of whatever generation, in the order in which they were written."""
    return sorted((folder / PHOTOS).glob(PATTERN), key=number_of)


def number_of(path: Path) -> int:
    return int(path.stem)


def counting_shards(folder: Path, generation: int) -> list[Path]:
    """The shards of a generation."""
    return [path for path in shard_files(folder) if _generation_of(path) == generation]


def sweep(folder: Path, generation: int | None) -> None:
    """Removes what a killed command left: half-written files, and shards of another generation (None: of any)."""
    with saying_what_to_do(folder):
        for place in (folder, folder / PHOTOS):
            for partial in place.glob(".*.part"):
                partial.unlink()
        for path in shard_files(folder):
            if generation is None or _generation_of(path) != generation:
                path.unlink()


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a shard, those it has.

    Raises:
        EnrolmentError: it is damaged.
        FileNotFoundError: somebody has compacted the population in the meantime.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            wanted = None if columns is None else [name for name in columns if name in shard.schema_arrow.names]
            return shard.read(wanted)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as damaged:
        raise EnrolmentError(_damaged(path)) from damaged


def newest(shards: Sequence[Path]) -> list[np.ndarray]:
    """Which rows of each shard count, bool: of a photo's rows the last one written."""
    keys = [read_shard(path, KEY) for path in shards]
    sizes = [len(table) for table in keys]
    if not sum(sizes):
        return [np.zeros(size, bool) for size in sizes]
    together = pa.concat_tables(keys).append_column("at", pa.array(np.arange(sum(sizes))))
    last = together.group_by(list(KEY)).aggregate([("at", "max")])["at_max"].to_numpy()
    counts = np.zeros(sum(sizes), bool)
    counts[last] = True
    return np.split(counts, np.cumsum(sizes)[:-1])


def _generation_of(path: Path) -> int:
    try:
        return int(pq.read_schema(path).metadata[GENERATION])
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as damaged:
        raise EnrolmentError(_damaged(path)) from damaged


def _damaged(path: Path) -> str:
    return f"{path} is damaged; put it back from a copy, or delete it and enrol the photos again"


def make_private(folder: Path) -> None:
    """Makes a population's folders, for their owner alone."""
    with saying_what_to_do(folder):
        for place in (folder, folder / PHOTOS):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o700)
        fsync_directory(folder.parent)

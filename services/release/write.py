"""bytes -> a file of the release: whole and on disk under its own name, or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.errors import ReleaseError
from services.files import fsync_directory, write_durably
from services.population.enroll.shards import FULL

PARTIAL, PART = ".anonfaces-", ".part"  # start and end the name of a file that is being written


@contextmanager
def saying_what_to_do(folder: Path) -> Iterator[None]:
    """Turns the system's errors of writing into one that ends the run and says what to do."""
    try:
        yield
    except OSError as refused:
        if refused.errno in FULL:
            raise ReleaseError(
                f"the disk of {folder} is full; make room and run the same command again, it goes on where it stopped"
            ) from refused
        raise ReleaseError(f"{folder} cannot be written to: {refused.strerror or refused}") from refused


def write_file(target: Path, data: bytes, mode: int = 0o666) -> None:
    """Writes a file, making its folders; one that was there is replaced in one step.

    The folder's own entry is on disk only after `fsync_directory`, which the journal does for many files at once.

    Args:
        mode: less the umask.

    Raises:
        ReleaseError: no room, or no permission.
    """
    scratch = target.parent / f"{PARTIAL}{secrets.token_hex(8)}{PART}"
    with saying_what_to_do(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_durably(scratch, data, mode)
            scratch.replace(target)
        finally:
            with suppress(OSError):  # it has its final name, or was never made
                scratch.unlink()


def write_at_once(target: Path, data: bytes, mode: int = 0o666) -> None:
    """As `write_file`, and the folder's entry is on disk as well."""
    write_file(target, data, mode)
    with saying_what_to_do(target.parent):
        fsync_directory(target.parent)


def remove(target: Path) -> None:
    """Removes a file, if it is there, for good. Raises ReleaseError."""
    with saying_what_to_do(target.parent):
        try:
            target.unlink()
        except FileNotFoundError:
            return
        fsync_directory(target.parent)


def sweep(folder: Path) -> None:
    """Removes the half-written files that a killed run left anywhere below a folder. Raises ReleaseError."""
    with saying_what_to_do(folder):
        for top, _, names in os.walk(folder):
            for name in names:
                if name.startswith(PARTIAL) and name.endswith(PART):
                    (Path(top) / name).unlink()


def files_below(folder: Path) -> Iterator[str]:
    """Paths below a folder of everything that is no folder, in no order."""
    for top, folders, names in os.walk(folder):
        linked = [name for name in folders if (Path(top) / name).is_symlink()]
        for name in (*names, *linked):
            yield (Path(top) / name).relative_to(folder).as_posix()

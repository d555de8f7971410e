"""Files that are whole or not there: atomic writes, and hashes of what is on disk."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from services.errors import ConfigurationError, PopulationBusy

FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"  # of a population or an index, which folders and files are called by


def read_regular(path: Path) -> bytes:
    """A file's bytes. Raises OSError if it is none: a pipe would be waited for, for ever."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return stream.read()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fsync_directory(folder: Path) -> None:
    """Makes renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_parent(file: Path | None) -> None:
    """Raises ConfigurationError if a file cannot be written for want of its folder; asked before long work."""
    if file is not None and not (file.parent.is_dir() and os.access(file.parent, os.W_OK | os.X_OK)):
        raise ConfigurationError(f"{file} cannot be written: {file.parent} is no folder that can be written to")


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes a new file and waits until it is on disk; the caller gives it its final name."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _swap(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Moves each fresh folder to its target, all or none; what was there comes back if one fails, else it goes."""
    moved: list[tuple[Path, Path, Path | None]] = []
    try:
        for fresh, target in pairs:
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-old-")) if target.exists() else None
            moved.append((fresh, target, old))
            if old:
                target.rename(old / target.name)
            fresh.rename(target)
    except BaseException:
        for fresh, target, old in reversed(moved):
            with suppress(OSError):  # one that cannot be put back must not keep the others away
                if not fresh.exists():
                    target.rename(fresh)
                if old and (old / target.name).exists():
                    (old / target.name).rename(target)
        raise
    finally:
        for _, target, old in moved:
            if old and target.exists():  # else what was there is in `old`, and stays
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replacing_directories(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Temporary folders that take the targets' places, all of them, when the block ends well; else all vanish."""
    scratches: list[Path] = []
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratches.append(Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-")))
        yield scratches
        for scratch in scratches:
            scratch.chmod(0o755)
            fsync_directory(scratch)
        _swap(list(zip(scratches, targets, strict=True)))
        for parent in {target.parent for target in targets}:
            fsync_directory(parent)
    finally:
        for scratch in scratches:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_directory(target: Path) -> Iterator[Path]:
    """A temporary folder that takes `target`'s place when the block ends well, and vanishes when it does not."""
    with replacing_directories([target]) as (scratch,):
        yield scratch


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds a lock file while the block runs; a process that dies lets go of it.

    Args:
        path: of the lock file; made if it is not there, and left.
        what: what it guards, for the message.

    Raises:
        PopulationBusy: another process holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            if held.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise PopulationBusy(f"another command is writing to {what}; wait until it is done") from None
        yield
    finally:
        os.close(handle)

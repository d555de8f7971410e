"""One photo of a collection -> one of the release, or the reason why there is none. A refused photo is never copied."""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.anonymizer.options import Options
from services.anonymizer.pipeline import Pipeline, Seen
from services.anonymizer.threads import in_thread
from services.client_cli import SUFFIXES
from services.errors import (
    AnonFacesError,
    IndexRefused,
    PhotoTooLarge,
    UnknownIdentity,
)
from services.release.collection import NOT_A_FILE, UNREADABLE
from services.release.patience import Gate
from services.release.records import FaceRecord, Record
from services.release.terms import Kind
from services.release.write import remove, write_file
from services.settings import Settings


@dataclass(frozen=True)
class Job:
    """What a worker anywhere has to know. All its paths lead to the same files on every machine."""

    folder: Path  # the originals
    out: Path  # the outputs, under the same names
    version: Path  # folder of the index version
    settings: Settings
    options: Options
    kind: Kind
    url: str  # of Triton
    window: int  # photos under way at a time
    patience_s: float  # for how long a lost Triton is waited for

    def target(self, path: str) -> Path | None:
        """Where the output of a photo goes; None where only surrogates are released."""
        return self.out / path if self.kind == "photos" else None


@dataclass(frozen=True)
class Entry:
    """One photo to work on."""

    path: str
    identities: tuple[str, ...] = ()  # who somebody says is in it; others are recognised


@dataclass(frozen=True)
class Original:
    """A photo's file as it was read."""

    data: bytes
    mtime_ns: int
    sha256: str


def read_original(photo: Path, most: int) -> Original:
    """Reads a regular file of at most `most` bytes; follows no link, and waits for no pipe.

    Raises:
        OSError: it cannot be read, is a link, or is no file.
        PhotoTooLarge: more bytes.
    """
    handle = os.open(photo, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(22, "it is no regular file", str(photo))
        data = stream.read(min(most, info.st_size) + 1)
    if len(data) > most:
        raise PhotoTooLarge(f"more than {most:,} bytes")
    return Original(data, info.st_mtime_ns, hashlib.sha256(data).hexdigest())


def sha256_of_original(photo: Path) -> str:
    """SHA-256 of a photo's bytes, in hex; "" if it cannot be read."""
    with suppress(OSError, PhotoTooLarge):
        return read_original(photo, 1 << 40).sha256
    return ""


async def release_photo(entry: Entry, job: Job, pipeline: Pipeline, gate: Gate) -> Record:
    """Reads a photo, replaces its faces, and writes it; an output that was there before is replaced, or goes.

    Raises:
        ReleaseError: the output cannot be written.
        ModelServerUnavailable, DeadlineExceeded: Triton was lost for longer than the patience.
        IndexRefused: other models answer than those of the index.
    """
    target = job.target(entry.path)
    try:
        original = await in_thread(read_original, job.folder / entry.path, job.settings.max_body_bytes)
    except (OSError, PhotoTooLarge) as closed:
        _forget(target)
        return _unread(entry.path, job.folder, closed)
    told = (entry.path, len(original.data), original.mtime_ns, original.sha256)
    try:
        data, seen = await gate.patiently(lambda: _work(entry, original.data, job, pipeline))
    except AnonFacesError as refused:
        if gate.lost or isinstance(refused, IndexRefused):
            raise
        _forget(target)
        return Record(*told, code=refused.code, reason=str(refused))
    if target is None:
        return Record(*told, faces=tuple(map(_face, seen)))
    await in_thread(write_file, target, data)
    digest = hashlib.sha256(data).hexdigest()
    return Record(*told, output_sha256=digest, output_bytes=len(data), faces=tuple(map(_face, seen)))


async def _work(entry: Entry, data: bytes, job: Job, pipeline: Pipeline) -> tuple[bytes, list[Seen]]:
    """The finished bytes (none where only surrogates are released), and the faces."""
    form = SUFFIXES[os.path.splitext(entry.path)[1].lower()]  # noqa: PTH122 - a string
    options = job.options.model_copy(update={"format": form, "identity": _names(entry, pipeline)})
    try:
        return await _once(data, options, job.kind, pipeline)
    except UnknownIdentity:  # more people than faces that can be replaced: these are recognised, as usual
        return await _once(data, options.model_copy(update={"identity": ()}), job.kind, pipeline)


async def _once(data: bytes, options: Options, kind: Kind, pipeline: Pipeline) -> tuple[bytes, list[Seen]]:
    if kind == "surrogates":
        return b"", await pipeline.look(data, options)
    done = await pipeline.anonymise(data, options)
    return done.data, done.faces


def _names(entry: Entry, pipeline: Pipeline) -> tuple[str, ...]:
    """Who is in the photo, of those who are enrolled."""
    known = []
    for name in entry.identities:
        with suppress(UnknownIdentity):
            pipeline.look_up.rows_of([name])
            known.append(name)
    return tuple(known)


def _face(seen: Seen) -> FaceRecord:
    x, y = (float(value) for value in seen.face.centre)
    place = (round(x, 1), round(y, 1), round(seen.face.side, 1))
    known = None if seen.masked else seen.assignment
    return FaceRecord(seen.outcome, known and known.crowd, known and known.person, place)  # type: ignore[arg-type]


def _unread(path: str, folder: Path, closed: OSError | PhotoTooLarge) -> Record:
    if isinstance(closed, PhotoTooLarge):
        info = os.lstat(folder / path)
        return Record(path, info.st_size, info.st_mtime_ns, "", closed.code, str(closed))
    code = NOT_A_FILE if closed.errno in (22, 40) else UNREADABLE
    return Record(path, -1, -1, "", code, closed.strerror or "it cannot be read")


def _forget(target: Path | None) -> None:
    if target is not None:
        remove(target)

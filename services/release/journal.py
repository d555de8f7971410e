"""The journal of a release: append-only lines of JSON, on disk before they count. The last line of a photo counts.

A photo is written first and its line after it, so that a line never tells of a photo that is not there; a photo whose
line was lost with a crash is made once more, and is the same.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import astuple, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from services.errors import ReleaseError
from services.files import fsync_directory
from services.release.records import Proof, Record, proof_of, record_of
from services.release.write import saying_what_to_do

JOURNAL = "journal.jsonl"
MOST_LINES, MOST_S = 64, 1.0  # lines that wait for the disk together, and for how long; more could be lost with power


class Journal:
    """Reads a journal, and appends to it. One process at a time; use it as a context manager.

    Raises:
        ReleaseError: it is damaged, or the disk is full.
    """

    def __init__(self, folder: Path):
        self.path = folder / JOURNAL
        self.records: dict[str, Record] = {}
        self.proofs: dict[str, Proof] = {}
        self._lines: list[bytes] = []
        self._touched: set[Path] = set()
        self._since = time.monotonic()
        with saying_what_to_do(folder):
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._read()
            with saying_what_to_do(folder):
                fsync_directory(folder)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
        except ReleaseError:  # the disk is full: what failed first is the better message
            if error is None:
                raise
        finally:
            os.close(self._handle)

    def record(self, record: Record, folder: Path | None = None) -> None:
        """Notes what became of a photo, for the next flush.

        Args:
            folder: into which its output was renamed; None: there is none.
        """
        self.records[record.path] = record
        self.proofs.pop(record.path, None)
        self._append({"photo": _plain(record)}, folder)

    def prove(self, proof: Proof) -> None:
        """Notes what a photo's proof found, for the next flush."""
        self.proofs[proof.path] = proof
        self._append({"proof": _plain(proof)}, None)

    def forget(self, path: str) -> None:
        """Notes that a photo is not in the collection any more."""
        self.records.pop(path, None)
        self.proofs.pop(path, None)
        self._append({"gone": path}, None)

    def released(self) -> Iterator[Record]:
        """The photos that are in the release."""
        return (record for record in self.records.values() if record.released)

    def flush(self) -> None:
        """Puts the lines on disk, after the renames that they tell of. Raises ReleaseError."""
        lines, self._lines = b"".join(self._lines), []
        touched, self._touched = self._touched, set()
        self._since = time.monotonic()
        if not lines:
            return
        with saying_what_to_do(self.path.parent):
            for folder in touched:
                fsync_directory(folder)
            before = os.fstat(self._handle).st_size
            try:
                if os.write(self._handle, lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, before)  # no half line, behind which others would come
                raise

    def _append(self, told: dict[str, Any], folder: Path | None) -> None:
        self._lines.append(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        if folder is not None:
            self._touched.add(folder)
        if len(self._lines) >= MOST_LINES or time.monotonic() - self._since > MOST_S:
            self.flush()

    def _read(self) -> None:
        """Reads all lines; cuts off a last one that is not whole, which a killed run left."""
        whole = 0
        with os.fdopen(os.dup(self._handle), "rb") as stream:
            stream.seek(0)
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError) as damaged:
                    raise ReleaseError(
                        f"{self.path}, line {number} is damaged ({type(damaged).__name__}); put the file back from a "
                        "copy, or make the release anew with another --out"
                    ) from None
        os.ftruncate(self._handle, whole)

    def _take(self, told: dict[str, Any]) -> None:
        ((kind, value),) = told.items()
        if kind == "photo":
            record = record_of(value)
            self.records[record.path] = record
            self.proofs.pop(record.path, None)
        elif kind == "proof":
            proof = proof_of(value)
            self.proofs[proof.path] = _sharing(proof, self.records.get(proof.path))
        elif kind == "gone":
            self.records.pop(value, None)
            self.proofs.pop(value, None)
        else:
            raise ValueError(kind)


def _sharing(proof: Proof, record: Record | None) -> Proof:
    """The same, with the strings of the record that it is of: of 10^6 of them one copy is enough."""
    if record is None or not proof.holds_for(record):
        return proof
    return replace(proof, path=record.path, sha256=record.sha256, output_sha256=record.output_sha256)


def _plain(row: Record | Proof) -> dict[str, Any]:
    """A row as JSON has it: what is within it as lists, without names."""
    told = {field.name: getattr(row, field.name) for field in fields(row)}
    for name in {"faces", "findings"} & set(told):
        told[name] = [astuple(part) for part in told[name]]
    return told

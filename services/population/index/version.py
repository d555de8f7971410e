"""One version of a cluster index: a folder of two files, refused below k or changed by a byte, at write and at load.

`manifest.json` says what it is, hashes the rest, and carries the ledger of all versions before it; `crowds.npz` holds
crowds. Who is in which crowd is elsewhere, see enrolment.py.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.errors import IndexRefused
from services.files import FILE_NAME, read_regular, write_durably
from services.population.index.crowds import ARRAYS, UNREADABLE, Crowds, check_crowds, pack, unpack
from services.population.index.enrolment import Enrolment

FORMAT = 3
MANIFEST, CROWDS = "manifest.json", "crowds.npz"
NAME = FILE_NAME  # of an index: names the folders of its versions, its maps and its key

Count = Annotated[int, Field(ge=0)]


class Entry(BaseModel):
    """One line of the ledger: how a version came about. Counts, never names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    number: Annotated[int, Field(ge=1)]
    version: str
    epoch: Annotated[int, Field(ge=1)]
    step: Literal["built", "grown", "refreshed", "rebuilt"]
    crowds_added: Count
    people_added: Count
    people_removed: Count
    waiting: Count  # newcomers who are too few for a crowd of their own, and are served as strangers
    withdraws: list[str]  # versions whose outputs are to be withdrawn: together with this one they single people out


class Manifest(BaseModel):
    """What `manifest.json` says; it says all of this and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int
    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    version: str
    created: str
    k: int
    crowds: int
    people: int
    sizes: list[int]
    identity_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    files: dict[str, str]
    provenance: dict[str, Any]
    ledger: Annotated[list[Entry], Field(min_length=1)]
    checksum: str


@dataclass(frozen=True)
class ClusterIndex:
    """A version of a cluster index that adds up; with its enrolment where that is deployed."""

    manifest: dict[str, Any]
    crowds: Crowds
    enrolment: Enrolment | None = None

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def k(self) -> int:
        return int(self.manifest["k"])

    @property
    def identity_threshold(self) -> float:
        """A face nearer than this to an enrolled embedding is taken for that person."""
        return float(self.manifest["identity_threshold"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def ledger(self) -> list[Entry]:
        """How this version came about, from the first one on; the last line is this version's own."""
        return [Entry.model_validate(line) for line in self.manifest["ledger"]]

    @property
    def enrolled(self) -> Enrolment:
        """The enrolment. Raises IndexRefused where it is not deployed."""
        if self.enrolment is None:
            raise IndexRefused(f"the enrolment map of index {self.name} version {self.version} is not here")
        return self.enrolment


def _seal(manifest: dict[str, Any]) -> bytes:
    """The manifest's only spelling, its checksum over everything else it says."""
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "checksum": digest}, sort_keys=True, indent=1).encode() + b"\n"


def _version_of(manifest: dict[str, Any]) -> str:
    """A version's name: its number, and the hash of what it holds and follows; the time does not count.

    The enrolment map is sealed for this name. So whoever changes a version and makes its checksums right, or names it
    anew, has no map that opens for it.
    """
    *before, own = manifest["ledger"]
    step = {key: value for key, value in own.items() if key not in ("number", "version")}
    content = [*(manifest[part] for part in ("name", "k", "identity_threshold", "files", "provenance")), before, step]
    return f"{len(before) + 1:04d}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Drafted:
    """A version that is ready to be written."""

    version: str
    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Writes the files into a new folder, and waits until they are on disk."""
        for name, data in self.files.items():
            write_durably(folder / name, data)


def draft(
    name: str,
    crowds: Crowds,
    k: int,
    identity_threshold: float,
    provenance: dict[str, Any],
    ledger: list[Entry],
    step: dict[str, Any],
) -> Drafted:
    """Puts a version together.

    Args:
        ledger: of the version before; empty for the first.
        step: the new line of the ledger, but for its number and version.

    Raises:
        IndexRefused: the guarantee does not hold, or that is no name.
    """
    check_crowds(crowds, k)
    if not re.fullmatch(NAME, name):
        raise IndexRefused(f"{name!r} cannot name an index; take letters, digits, '-', '_' and '.'")
    data = pack({name: getattr(crowds, name) for name in ARRAYS})
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "k": k,
        "crowds": len(crowds),
        "people": int(crowds.sizes.sum()),
        "sizes": crowds.sizes.tolist(),
        "identity_threshold": identity_threshold,
        "files": {CROWDS: hashlib.sha256(data).hexdigest()},
        "provenance": provenance,
        "ledger": [*(line.model_dump() for line in ledger), step],
    }
    version = _version_of(manifest)
    own = Entry(number=len(ledger) + 1, version=version, **step).model_dump()
    manifest |= {"version": version, "ledger": [*manifest["ledger"][:-1], own]}
    return Drafted(version, {CROWDS: data, MANIFEST: _seal(manifest)})


def read_version(folder: Path) -> ClusterIndex:
    """Reads a version and checks all of it: checksums of every byte, then the guarantee as its files can show it.

    Raises:
        IndexRefused: there is none, a byte differs, another format, or the guarantee does not hold.
    """
    try:
        raw = {name: read_regular(folder / name) for name in (MANIFEST, CROWDS)}
    except OSError as missing:
        raise IndexRefused(
            f"no cluster index at {folder} ({missing.strerror}: {Path(missing.filename or '').name}); "
            "make one with `anonfaces population build`, or `anonfaces population demo`"
        ) from missing
    manifest = _read_manifest(folder, raw[MANIFEST])
    found = hashlib.sha256(raw[CROWDS]).hexdigest()
    if found != manifest["files"].get(CROWDS):
        raise IndexRefused(
            f"{folder / CROWDS} has SHA-256 {found}, its manifest says {manifest['files'].get(CROWDS)}: "
            "the file was changed; restore it or build the index again"
        )
    try:
        crowds = Crowds(**unpack(raw[CROWDS], ARRAYS))
    except UNREADABLE as broken:
        raise IndexRefused(f"{folder} does not hold the arrays of a cluster index: {broken}") from broken
    check_crowds(crowds, int(manifest["k"]))
    told = (manifest["sizes"], manifest["crowds"], manifest["people"], manifest["ledger"][-1]["version"])
    if told != (crowds.sizes.tolist(), len(crowds), int(np.sum(crowds.sizes)), manifest["version"]):
        raise IndexRefused(f"{folder / MANIFEST} does not describe the crowds beside it; build the index again")
    if _version_of(manifest) != manifest["version"]:
        raise IndexRefused(
            f"{folder} holds other crowds, another k or another history than version {manifest['version']} was built "
            "with; restore it or build the index again"
        )
    return ClusterIndex(manifest, crowds)


def _read_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        intact = _seal(manifest) == data
    except (ValueError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise IndexRefused(f"{folder / MANIFEST} was changed or is not whole; restore it or build the index again")
    if manifest.get("format") != FORMAT:
        raise IndexRefused(
            f"{folder} has format {manifest.get('format')}; this version reads {FORMAT}: build the index again"
        )
    try:
        Manifest.model_validate(manifest)
    except ValidationError as broken:
        first = broken.errors()[0]
        raise IndexRefused(f"{folder / MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return dict(manifest)  # as it is spelled: its hash is over that

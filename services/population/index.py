"""The cluster index: what is published of a population. Refused below k, or changed by a byte, at write and at load.

A folder of three files. `manifest.json` says what it is and hashes the rest; `crowds.npz` holds crowds and nothing of
any member; `enrolment.npz` resolves an enrolled person to their crowd: it is personal data, and stays with the
operator.
"""

import hashlib
import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.errors import IndexRefused
from services.files import replacing_directory, write_durably

FORMAT = 2
MANIFEST, CROWDS, ENROLMENT = "manifest.json", "crowds.npz", "enrolment.npz"


# name: (kind of dtype, axes)
CROWD_ARRAYS = {
    "sizes": ("i", 1),
    "centroids": ("f", 2),
    "surrogate_latents": ("f", 2),
    "surrogate_landmarks": ("f", 3),
    "surrogate_embeddings": ("f", 2),
}
ENROLMENT_ARRAYS = {"identities": ("U", 1), "embeddings": ("f", 2), "crowd": ("i", 1)}


class Manifest(BaseModel):
    """What `manifest.json` says; it says all of this and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int
    name: str
    version: str
    created: str
    k: int
    crowds: int
    identities: int
    sizes: list[int]
    identity_threshold: Annotated[float, Field(gt=0)]
    files: dict[str, str]
    provenance: dict[str, Any]
    checksum: str


@dataclass(frozen=True)
class Crowds:
    """The crowds of an index, m of them."""

    sizes: np.ndarray  # int64 [m], distinct identities
    centroids: np.ndarray  # float32 [m, d], mean embedding
    surrogate_latents: np.ndarray  # float32 [m, l], mean latent, flat
    surrogate_landmarks: np.ndarray  # float32 [m, 5, 2], in the surrogate's picture, as shares of its sides
    surrogate_embeddings: np.ndarray  # float32 [m, d], of the surrogate's picture


@dataclass(frozen=True)
class Enrolment:
    """Enrolled identities, n of them, each with one vector and one crowd."""

    identities: np.ndarray  # str [n]
    embeddings: np.ndarray  # float32 [n, d]
    crowd: np.ndarray  # int64 [n]


@dataclass(frozen=True)
class ClusterIndex:
    """A cluster index that adds up."""

    manifest: dict[str, Any]
    crowds: Crowds
    enrolment: Enrolment

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


def check_k(crowds: Crowds, enrolment: Enrolment, k: int) -> None:
    """The guarantee, counted in distinct identities.

    Raises:
        IndexRefused: k below 2, a crowd below k, an identity in two crowds, sizes that do not match the people, or
            arrays of different lengths.
    """
    m = len(crowds.sizes)
    if k < 2:
        raise IndexRefused(f"k is {k}; a crowd of one hides nobody")
    if m == 0 or any(len(getattr(crowds, name)) != m for name in crowds.__dataclass_fields__):
        raise IndexRefused("the index has no crowds, or arrays of different lengths")
    if not len(enrolment.identities) == len(enrolment.embeddings) == len(enrolment.crowd):
        raise IndexRefused("the enrolment has arrays of different lengths")
    dims = {values.shape[1] for values in (crowds.centroids, crowds.surrogate_embeddings, enrolment.embeddings)}
    if len(dims) != 1 or crowds.surrogate_landmarks.shape[1:] != (5, 2):
        raise IndexRefused("the index holds embeddings of different lengths, or landmarks that are not five points")
    if len(enrolment.crowd) and not 0 <= enrolment.crowd.min() <= enrolment.crowd.max() < m:
        raise IndexRefused("the enrolment names a crowd that is not in the index")
    repeated = [name for name, times in Counter(enrolment.identities.tolist()).items() if times > 1]
    if repeated:
        raise IndexRefused(f"{len(repeated)} identities are enrolled more than once; one vector and one crowd each")
    counted = np.bincount(enrolment.crowd, minlength=m)
    if (counted < k).any():
        raise IndexRefused(
            f"crowd {int(counted.argmin())} holds {int(counted.min())} distinct identities, below k = {k}; "
            "partition the population again"
        )
    if (counted != crowds.sizes).any():
        raise IndexRefused("the sizes of the crowds are not those of the enrolled people")
    arrays = [getattr(crowds, name) for name in crowds.__dataclass_fields__]
    if not all(np.isfinite(values).all() for values in (*arrays, enrolment.embeddings)):
        raise IndexRefused("the index holds values that are not finite numbers")


def calibrate_threshold(embeddings: np.ndarray, same_person: float) -> float:
    """From how near on a face is taken for an enrolled person: so near that 99 % of enrolled people have nobody nearer.

    Args:
        embeddings: float [n, d], one row per identity, n >= 2.
        same_person: the most it may be, of the embedder's row: in a small population even strangers are far apart.
    """
    embeddings = embeddings.astype(np.float64)
    squares = (embeddings**2).sum(axis=1)
    nearest = np.full(len(embeddings), np.inf)
    for start in range(0, len(embeddings), 1024):
        rows = slice(start, start + 1024)
        distance = squares[rows, None] + squares - 2 * embeddings[rows] @ embeddings.T
        distance[np.arange(len(distance)), start + np.arange(len(distance))] = np.inf
        nearest[rows] = distance.min(axis=1)
    return round(min(same_person, float(np.sqrt(max(0.0, np.percentile(nearest, 1))))), 4)


def _pack(arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **vars(arrays))
    return sink.getvalue()


def _seal(manifest: dict[str, Any]) -> bytes:
    """The manifest's only spelling, its checksum over everything else it says."""
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "checksum": digest}, sort_keys=True, indent=1).encode() + b"\n"


def write_index(
    folder: Path, crowds: Crowds, enrolment: Enrolment, k: int, same_person: float, provenance: dict[str, Any]
) -> ClusterIndex:
    """Writes an index whole or not at all; the folder's earlier content is replaced.

    Args:
        folder: where; its name is the index's name.
        k: fewest distinct identities of a crowd.
        same_person: the embedder's cap on the distance at which a face is taken for an enrolled person.
        provenance: models with their hashes, aligner, partition, seed: kept in the manifest as given.

    Raises:
        IndexRefused: the guarantee does not hold.
        OSError: no room or no permission; nothing is left behind.
    """
    check_k(crowds, enrolment, k)
    threshold = calibrate_threshold(enrolment.embeddings, same_person)
    if threshold <= 0:
        raise IndexRefused("identities share one embedding: are they one person? A face could not be told apart")
    files = {CROWDS: _pack(crowds), ENROLMENT: _pack(enrolment)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    version = hashlib.sha256(json.dumps([k, hashes, provenance], sort_keys=True).encode()).hexdigest()[:12]
    manifest = {
        "format": FORMAT,
        "name": folder.name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "k": k,
        "crowds": len(crowds.sizes),
        "identities": len(enrolment.identities),
        "sizes": crowds.sizes.tolist(),
        "identity_threshold": threshold,
        "files": hashes,
        "provenance": provenance,
    }
    with replacing_directory(folder) as scratch:
        write_durably(scratch / CROWDS, files[CROWDS])
        write_durably(scratch / ENROLMENT, files[ENROLMENT], mode=0o600)
        write_durably(scratch / MANIFEST, _seal(manifest))
    return read_index(folder)


def read_index(folder: Path) -> ClusterIndex:
    """Reads an index and checks all of it: checksums of every byte, then the guarantee.

    Raises:
        IndexRefused: there is none, a byte differs, another format, or the guarantee does not hold.
    """
    try:
        raw = {name: (folder / name).read_bytes() for name in (MANIFEST, CROWDS, ENROLMENT)}
    except OSError as missing:
        raise IndexRefused(
            f"no cluster index at {folder} ({missing.strerror}: {Path(missing.filename or '').name}); "
            "make one with `anonfaces population demo`"
        ) from missing
    manifest = _read_manifest(folder, raw[MANIFEST])
    for name in (CROWDS, ENROLMENT):
        found = hashlib.sha256(raw[name]).hexdigest()
        if found != manifest["files"].get(name):
            raise IndexRefused(
                f"{folder / name} has SHA-256 {found}, its manifest says {manifest['files'].get(name)}: "
                "the file was changed; restore it or build the index again"
            )
    try:
        crowds = Crowds(**_unpack(raw[CROWDS], CROWD_ARRAYS))
        enrolment = Enrolment(**_unpack(raw[ENROLMENT], ENROLMENT_ARRAYS))
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as broken:
        raise IndexRefused(f"{folder} does not hold the arrays of a cluster index: {broken}") from broken
    check_k(crowds, enrolment, int(manifest["k"]))
    if manifest["sizes"] != crowds.sizes.tolist() or manifest["identities"] != len(enrolment.identities):
        raise IndexRefused(f"{folder / MANIFEST} does not describe the crowds beside it; build the index again")
    return ClusterIndex(manifest, crowds, enrolment)


def _read_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        intact = _seal(manifest) == data
    except (ValueError, AttributeError):
        intact = False
    if not intact:
        raise IndexRefused(f"{folder / MANIFEST} was changed or is not whole; restore it or build the index again")
    if manifest.get("format") != FORMAT:
        raise IndexRefused(f"{folder} has format {manifest.get('format')}; this version reads {FORMAT}")
    try:
        return Manifest.model_validate(manifest).model_dump()
    except ValidationError as broken:
        first = broken.errors()[0]
        raise IndexRefused(f"{folder / MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _unpack(data: bytes, expected: dict[str, tuple[str, int]]) -> dict[str, np.ndarray]:
    """The arrays of an archive, each of the kind and number of axes it must have; nothing in it is executed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, (kind, axes) in expected.items():
        if arrays[name].dtype.kind != kind or arrays[name].ndim != axes:
            raise ValueError(f"{name} is {arrays[name].dtype} with {arrays[name].ndim} axes")
    return arrays

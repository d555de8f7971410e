"""What must hold of the readers of indexes and maps, whatever their files hold, forged ones with right hashes too."""

import io
import json
import random
import shutil
import tempfile
import zipfile
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from services.errors import ConfigurationError, IndexRefused
from services.population.index import (
    CROWDS,
    MANIFEST,
    ClusterIndex,
    Crowds,
    Enrolment,
    building,
    check_enrolment,
    publish,
    read_index,
)
from services.population.index import version as versions
from services.population.index.enrolment import EnrolmentStore
from services.population.index.seal import read_key, seal, unseal
from tests.fuzz.mutate import NUMBERS, _raw

K = 3
STRANGE = (None, True, -1, 0, 1, 10**30, 0.5, "", "x" * 1000, "../../x", "\ud800", [], [[]], {}, {"a": {}}, [1] * 50)
VALUES = (np.nan, np.inf, -np.inf, 0, -1, 1, 2, 2**31 - 1, -(2**63), 2**63 - 1)


@lru_cache(maxsize=1)
def pristine() -> Path:
    """A folder with an index of three crowds, its map and its key."""
    home = Path(tempfile.mkdtemp(prefix="anonfaces-fuzz-"))
    rng = np.random.default_rng(0)
    crowd = np.repeat(np.arange(3), (3, 4, 5))
    people = (rng.normal(size=(3, 8))[crowd] * 3 + rng.normal(size=(12, 8)) / 5).astype(np.float32)
    crowds = Crowds(
        sizes=np.bincount(crowd),
        centroids=np.array([people[crowd == c].mean(axis=0) for c in range(3)], np.float32),
        surrogate_latents=rng.normal(size=(3, 6)).astype(np.float32),
        surrogate_landmarks=rng.uniform(0.3, 0.7, size=(3, 5, 2)).astype(np.float32),
        surrogate_embeddings=rng.normal(size=(3, 8)).astype(np.float32),
    )
    enrolment = Enrolment.of(np.array([f"person-{i}" for i in range(12)]), people, crowd)
    with building(home / "town"):
        publish(home / "town", crowds, enrolment, store_of(home), K, 0.5, {"detector": "centerface"})
    return home


def store_of(home: Path) -> EnrolmentStore:
    """The maps beside the index."""
    return EnrolmentStore(home / "maps", home / "key")


def check_index(number: int) -> str:
    """Reads a mutant of the index and of its map.

    Returns:
        `unchanged`, `forged` (it adds up all the same: nothing but a key tells it from a true one), or the code of the
        refusal.

    Raises:
        AssertionError: what was read does not hold the guarantee.
        Exception: a reader let something else out than its refusals.
    """
    rng = random.Random(f"index/{number}")
    with tempfile.TemporaryDirectory() as made:
        home = Path(made) / "home"
        shutil.copytree(pristine(), home, symlinks=True)
        folder = (home / "town" / "current").resolve()
        before = _bytes_of(home)
        _break(rng, home, folder)
        try:
            index = read_index(home / "town")
            enrolment = store_of(home).read(index.version)
            check_enrolment(index.crowds, enrolment, index.k)
        except (IndexRefused, ConfigurationError) as refusal:
            return refusal.code
        _check_guarantee(index, enrolment)
        return "unchanged" if _bytes_of(home) == before else "forged"


def _bytes_of(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def _check_guarantee(index: ClusterIndex, enrolment: Enrolment) -> None:
    """Counted anew, without the code that is tried."""
    assert index.k >= 2
    assert min(index.crowds.sizes.tolist()) >= index.k
    people: dict[int, set[int]] = {}
    for crowd, person in zip(enrolment.crowd.tolist(), enrolment.person.tolist(), strict=True):
        people.setdefault(crowd, set()).add(person)
    for crowd, person in zip(enrolment.removed_crowd.tolist(), enrolment.removed_person.tolist(), strict=True):
        people.setdefault(crowd, set()).add(person)
    assert set(people) == set(range(len(index.crowds)))
    assert all(len(members) >= index.k for members in people.values())
    assert sum(map(len, people.values())) == len(set().union(*people.values())), "a person is in two crowds"
    assert np.isfinite(enrolment.embeddings).all()


# --- mutations --------------------------------------------------------------------------------------------------
def _break(rng: random.Random, home: Path, folder: Path) -> None:
    """Changes one file; half the time everything that hashes it is made right again."""
    (sealed,) = (home / "maps").glob("*.map")
    what = rng.randrange(6)
    if what == 0:
        path = rng.choice([folder / MANIFEST, folder / CROWDS, sealed, home / "key"])
        path.write_bytes(_raw(rng, path.read_bytes()))
    elif what == 1:
        manifest = _mangled(rng, json.loads((folder / MANIFEST).read_bytes()))
        _write_manifest(folder, manifest)
    elif what in (2, 3):
        (folder / CROWDS).write_bytes(_archive(rng, (folder / CROWDS).read_bytes()))
        _reseal(folder)
    else:
        key, version = read_key(home / "key"), sealed.stem
        sealed.write_bytes(seal(_archive(rng, unseal(sealed.read_bytes(), key, version)), key, version))


def _reseal(folder: Path) -> None:
    """All hashes made right, the version's name too, as who knows the format does."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][CROWDS] = sha256((folder / CROWDS).read_bytes()).hexdigest()
    manifest["version"] = manifest["ledger"][-1]["version"] = versions._version_of(manifest)
    _write_manifest(folder, manifest)
    if folder.name != manifest["version"]:
        moved = folder.rename(folder.with_name(manifest["version"]))
        current = folder.parent / "current"
        current.unlink()
        current.symlink_to(moved.name)


def _write_manifest(folder: Path, manifest: object) -> None:
    try:
        data = versions._seal(manifest)  # type: ignore[arg-type]
    except (AttributeError, UnicodeEncodeError, ValueError):
        data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)


def _mangled(rng: random.Random, value: object, depth: int = 0) -> object:
    """A JSON value with something strange somewhere in it."""
    if isinstance(value, dict) and value and (depth == 0 or rng.random() < 0.7):
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {other: value[other] for other in value if other != key}
        return {**value, key: _mangled(rng, value[key], depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], _mangled(rng, value[at], depth + 1), *value[at + 1 :]]
    return rng.choice(STRANGE)


def _archive(rng: random.Random, data: bytes) -> bytes:
    """An .npz with other arrays, with a broken array, or broken itself."""
    if rng.random() < 0.25:
        return _raw(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if rng.random() < 0.4:
        members[name] = _raw(rng, members[name])
    else:
        sink = io.BytesIO()
        np.save(sink, _other(rng, np.load(io.BytesIO(members[name]))))
        members[name] = sink.getvalue()
    if rng.random() < 0.05:
        members["extra.npy"] = members[name]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))) as archive:
        for member, body in members.items():
            archive.writestr(member, body)
    return sink.getvalue()


def _other(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """An array with other values, another shape, or another type."""
    what = rng.randrange(5)
    if what == 0 and array.ndim:
        return array[: rng.randrange(len(array) + 1)]
    if what == 1:
        return np.concatenate([array, array]) if array.ndim else array
    if what == 2:
        return array[..., None] if rng.random() < 0.5 else array.ravel()
    if what == 3:
        return (
            array.astype(rng.choice(["f8", "i1", "u8", "U4", "S3", "c8", "?", ">i4", "f2"]), casting="unsafe")
            if (array.dtype.kind != "U")
            else array.astype("S64")
        )
    changed = array.copy()
    if changed.size:
        at = rng.randrange(changed.size)
        if changed.dtype.kind == "U":
            changed.flat[at] = rng.choice(["", "person-1", "\0", "x" * 100])
        elif changed.dtype.kind == "f":
            changed.flat[at] = rng.choice(VALUES)
        else:
            changed.flat[at] = rng.choice([int(v) for v in NUMBERS[:14]] + [-1, -(2**62)])
    return changed

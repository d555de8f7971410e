"""The versions of a cluster index: a folder each, never changed, and a link to the one that is served.

    indexes/NAME/0001-4f0c.../    indexes/NAME/0002-9a1b.../    indexes/NAME/current -> 0002-9a1b...

The enrolment map of a version lies elsewhere (enrolment.py), so that a folder of an index can be given away whole.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.errors import ConfigurationError, IndexRefused
from services.files import fsync_directory, locked
from services.population.index.crowds import Crowds, check_crowds
from services.population.index.enrolment import Enrolment, EnrolmentStore, calibrate_threshold, check_enrolment
from services.population.index.version import CROWDS, MANIFEST, NAME, ClusterIndex, draft, read_version
from services.settings import Settings

CURRENT = "current"
SCRATCH = ".new-"  # starts the name of a version that is being written
FIRST = {"epoch": 1, "step": "built", "people_removed": 0, "waiting": 0, "withdraws": []}


def index_folder(name: str, home: Path) -> Path:
    """The folder of the index of that name, to build it in.

    Raises:
        ConfigurationError: that is no name for one. A path might lead anywhere.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigurationError(f"{name!r} cannot name an index; take letters, digits, '-', '_' and '.'")
    return home / "indexes" / name


def read_index(folder: Path) -> ClusterIndex:
    """Reads the current version of an index, or the one version that a folder holds; without its enrolment.

    Raises:
        IndexRefused: there is none, or it does not add up.
    """
    return read_version(folder / CURRENT if (folder / CURRENT).exists() else folder)


def open_index(settings: Settings) -> ClusterIndex:
    """The index that the settings name, with its enrolment map where the settings want it; all of it checked.

    Raises:
        IndexRefused: the index or its map does not add up, or a map that is required is not there.
        ConfigurationError: the map is there and its key is not.
    """
    return with_enrolment(read_index(settings.index_path), settings)


def with_enrolment(index: ClusterIndex, settings: Settings) -> ClusterIndex:
    """Adds the enrolment to an index, as `ANONFACES_ENROLMENT` says. Raises as `open_index` does."""
    if settings.enrolment == "off":
        return index
    store = EnrolmentStore.of(settings, index.name)
    if settings.enrolment == "auto" and not store.has(index.version):
        return index
    enrolment = store.read(index.version)
    check_enrolment(index.crowds, enrolment, index.k)
    return replace(index, enrolment=enrolment)


def version_folder(folder: Path, version: str | None) -> Path:
    """The folder of a version, by the start of its name or its bare number; of the current one if None is asked for.

    Raises:
        IndexRefused: there is no such version, or several start like that.
    """
    if version is None:
        return folder / CURRENT
    names = [path.name for path in versions_of(folder)]
    wanted = f"{int(version):04d}-" if version.isdecimal() and len(version) <= 4 else version
    found = [name for name in names if name.startswith(wanted)]
    if len(found) != 1:
        raise IndexRefused(
            f"{len(found)} versions of {folder.name} start with {version!r}; there are: {', '.join(names)}"
        )
    return folder / found[0]


def versions_of(folder: Path) -> list[Path]:
    """The version folders of an index, oldest first."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*-*/{MANIFEST}"))


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Nobody else builds this index within the block, and what a killed builder left is gone.

    Raises:
        PopulationBusy: somebody else does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", f"index {folder.name}"):
        _clean(folder)
        try:
            yield
        finally:
            with suppress(OSError):  # an index that was never published leaves no folder
                if not versions_of(folder):
                    (folder / ".lock").unlink(missing_ok=True)
                    folder.rmdir()


def _clean(folder: Path) -> None:
    """Removes what builders left behind, and nothing else."""
    for left in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(left)
    for left in folder.glob(f".{CURRENT}-*"):
        left.unlink()


def publish(
    folder: Path,
    crowds: Crowds,
    enrolment: Enrolment,
    store: EnrolmentStore,
    k: int,
    same_person: float,
    provenance: dict[str, Any],
    before: ClusterIndex | None = None,
    step: dict[str, Any] | None = None,
) -> ClusterIndex:
    """Writes a new version and its map, whole or not at all, and makes it the current one. Call it within `building`.

    No step in which a process dies leaves a map without its version's folder, by which maps are found to be redacted.
    A version that is there already, since its builder died or somebody went back from it, has the same content.

    Args:
        folder: of the index; its name is the index's name.
        k: fewest distinct people of a crowd.
        same_person: the embedder's cap on the distance at which a face is taken for an enrolled person.
        provenance: models with their hashes, aligner, partition, seed: kept in the manifest as given.
        before: the version that this one follows.
        step: the ledger's line, but for its number and version; None: a first version.

    Returns:
        The new version, read back from disk.

    Raises:
        IndexRefused: the guarantee does not hold.
        OSError: no room or no permission; the current version stays as it was.
    """
    check_crowds(crowds, k)
    check_enrolment(crowds, enrolment, k)
    threshold = calibrate_threshold(enrolment.embeddings, same_person, enrolment.person)
    if threshold <= 0:
        raise IndexRefused("identities share one embedding: are they one person? A face could not be told apart")
    added = len(crowds) - (len(before.crowds) if before else 0)
    step = step or {**FIRST, "crowds_added": added, "people_added": int(crowds.sizes.sum())}
    ledger = before.ledger if before else []
    drafted = draft(folder.name, crowds, k, threshold, provenance, ledger, step)
    target = folder / drafted.version
    was_there = target.exists()
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=SCRATCH))
    try:
        drafted.write(scratch)
        scratch.chmod(0o755)
        fsync_directory(scratch)
        if was_there:
            target.rename(Path(tempfile.mkdtemp(dir=folder, prefix=SCRATCH)) / "replaced")
        scratch.rename(target)
        store.write(enrolment, drafted.version)
        _point(folder, drafted.version)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        pointed = (folder / CURRENT).is_symlink() and (folder / CURRENT).readlink().name == drafted.version
        if not pointed and not was_there:
            shutil.rmtree(target, ignore_errors=True)
            store.path(drafted.version).unlink(missing_ok=True)
        raise
    _clean(folder)
    for name in (MANIFEST, CROWDS, "enrolment.npz"):  # of a format-2 index: one folder, its enrolment in the clear
        (folder / name).unlink(missing_ok=True)
    return replace(read_version(target), enrolment=store.read(drafted.version))


def _point(folder: Path, version: str) -> None:
    """Makes a version the current one, in one step."""
    link = folder / f".{CURRENT}-{os.getpid()}"
    link.symlink_to(version)
    try:
        link.replace(folder / CURRENT)
    except BaseException:
        link.unlink(missing_ok=True)
        raise
    fsync_directory(folder)

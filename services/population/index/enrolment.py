"""Who is in which crowd: the enrolment of an index version. Personal data, kept apart from the index and encrypted."""

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from services.errors import IndexRefused
from services.files import fsync_directory, read_regular
from services.population.index.crowds import UNREADABLE, Crowds, pack, unpack
from services.population.index.seal import make_key, read_key, seal, tags, unseal
from services.settings import Settings

ARRAYS = {
    "identities": ("U", 1),
    "embeddings": ("f", 2),
    "crowd": ("i", 1),
    "person": ("i", 1),
    "removed_tags": ("U", 1),
    "removed_crowd": ("i", 1),
    "removed_person": ("i", 1),
}
SAMPLED = 20_000  # from this many identities on the threshold is calibrated on a sample
ROWS = 1024


def _none() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Enrolment:
    """Enrolled identities, n of them, each with one vector and one crowd; and r that were removed since.

    Identities that are taken for one person under several names share a number in `person`, and count once.
    """

    identities: np.ndarray  # str [n]
    embeddings: np.ndarray  # float32 [n, d]
    crowd: np.ndarray  # int64 [n]
    person: np.ndarray  # int64 [n]
    removed_tags: np.ndarray = field(default_factory=lambda: np.empty(0, "U64"))  # str [r]: of whom, unreadable
    removed_crowd: np.ndarray = field(default_factory=_none)  # int64 [r]
    removed_person: np.ndarray = field(default_factory=_none)  # int64 [r]

    @staticmethod
    def of(identities: np.ndarray, embeddings: np.ndarray, crowd: np.ndarray) -> "Enrolment":
        """An enrolment in which every identity is a person of their own, and nobody was removed."""
        return Enrolment(identities, embeddings, crowd, np.arange(len(identities)))

    def people_per_crowd(self, crowds: int) -> np.ndarray:
        """int64 [crowds], distinct people of each crowd, those removed since included; each is in one crowd only."""
        where = np.concatenate([self.crowd, self.removed_crowd])
        _, first = np.unique(np.concatenate([self.person, self.removed_person]), return_index=True)
        return np.bincount(where[first], minlength=crowds)

    def without(self, names: Collection[str], key: bytes) -> "Enrolment":
        """The enrolment after people were removed: their name and vector are gone, that they count is not.

        Args:
            key: the operator's; with it, a name that comes back is known to have been here.
        """
        gone = np.isin(self.identities, np.array(sorted(names), np.str_)) if names else np.zeros(len(self.crowd), bool)
        tagged = np.array(tags(self.identities[gone].tolist(), key), "U64")
        return Enrolment(
            self.identities[~gone],
            self.embeddings[~gone],
            self.crowd[~gone],
            self.person[~gone],
            np.concatenate([self.removed_tags, tagged]),
            np.concatenate([self.removed_crowd, self.crowd[gone]]),
            np.concatenate([self.removed_person, self.person[gone]]),
        )


def check_enrolment(crowds: Crowds, enrolment: Enrolment, k: int) -> None:
    """The guarantee, counted in distinct people.

    Raises:
        IndexRefused: a crowd below k, an identity or a person in two crowds, sizes that do not match the people, or
            arrays of different lengths.
    """
    m = len(crowds)
    if not (
        len(enrolment.identities) == len(enrolment.embeddings) == len(enrolment.crowd) == len(enrolment.person)
        and len(enrolment.removed_tags) == len(enrolment.removed_crowd) == len(enrolment.removed_person)
    ):
        raise IndexRefused("the enrolment has arrays of different lengths")
    if enrolment.embeddings.shape[1] != crowds.centroids.shape[1]:
        raise IndexRefused("the enrolment holds embeddings of another length than the index")
    where = np.concatenate([enrolment.crowd, enrolment.removed_crowd])
    if len(where) and not 0 <= where.min() <= where.max() < m:
        raise IndexRefused("the enrolment names a crowd that is not in the index")
    repeated = len(enrolment.identities) - len(set(enrolment.identities.tolist()))
    if repeated:
        raise IndexRefused(f"{repeated} identities are enrolled more than once; one vector and one crowd each")
    people = np.concatenate([enrolment.person, enrolment.removed_person])
    _, first, of = np.unique(people, return_index=True, return_inverse=True)
    if (where[first][of] != where).any():
        raise IndexRefused("a person is in two crowds; all identities of a person go to one")
    counted = enrolment.people_per_crowd(m)
    if counted.min() < k:
        raise IndexRefused(
            f"crowd {int(counted.argmin())} holds {int(counted.min())} distinct identities, below k = {k}; "
            "partition the population again"
        )
    if (counted != crowds.sizes).any():
        raise IndexRefused("the sizes of the crowds are not those of the enrolled people")
    if not np.isfinite(enrolment.embeddings).all():
        raise IndexRefused("the enrolment holds values that are not finite numbers")


def calibrate_threshold(embeddings: np.ndarray, same_person: float, person: np.ndarray | None = None) -> float:
    """From how near on a face is taken for an enrolled person: so near that 99 % of enrolled people have nobody nearer.

    Args:
        embeddings: float [n, d], one row per identity, n >= 2.
        same_person: the most it may be, of the embedder's row: in a small population even strangers are far apart.
        person: int64 [n], who each identity is; None: everybody is somebody else.
    """
    rows = np.arange(len(embeddings))
    person = rows if person is None else person
    if len(rows) > SAMPLED:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), SAMPLED // 4, replace=False))
    centred = np.asarray(embeddings - embeddings.mean(axis=0, dtype=np.float64), np.float32)
    squares = np.einsum("nd,nd->n", centred, centred)
    nearest = np.full(len(rows), np.inf)
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        distance = squares[some, None] + squares - 2 * centred[some] @ centred.T
        distance[person[some, None] == person] = np.inf
        nearest[start : start + ROWS] = distance.min(axis=1)
    squared = float(np.percentile(nearest, 1))
    # What float32 cannot tell from nothing is nothing.
    return round(min(same_person, np.sqrt(squared) if squared > 1e-6 * float(squares.max()) else 0.0), 4)


@dataclass(frozen=True)
class EnrolmentStore:
    """The encrypted enrolment maps of an index: one file a version, and the operator's key."""

    folder: Path
    key_file: Path

    @staticmethod
    def of(settings: Settings, name: str) -> "EnrolmentStore":
        """Where the settings keep the maps of the index of that name."""
        return EnrolmentStore(
            settings.enrolment_maps or settings.home / "maps" / name,
            settings.enrolment_key or settings.home / "keys" / f"{name}.key",
        )

    def path(self, version: str) -> Path:
        """The file of a version's map."""
        return self.folder / f"{version}.map"

    def has(self, version: str) -> bool:
        """Is the map of that version here?"""
        return self.path(version).is_file()

    def key(self) -> bytes:
        """The key; made if there is none and nothing was sealed with one yet. Raises ConfigurationError, OSError."""
        if not self.key_file.exists() and not any(self.folder.glob("*.map")):
            with suppress(FileExistsError):
                return make_key(self.key_file)
        return read_key(self.key_file)

    def write(self, enrolment: Enrolment, version: str) -> None:
        """Seals the enrolment of a version, whole or not at all; an earlier map of it is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealed = seal(pack({name: getattr(enrolment, name) for name in ARRAYS}), self.key(), version)
        handle, partial = tempfile.mkstemp(dir=self.folder, prefix=f".{version}-")  # readable by its owner only
        try:
            with os.fdopen(handle, "wb") as sink:
                sink.write(sealed)
                sink.flush()
                os.fsync(sink.fileno())
            Path(partial).replace(self.path(version))
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        fsync_directory(self.folder)

    def clear(self, version: str) -> None:
        """Removes what a killed `write` of that version left. Call it within `building`."""
        for left in self.folder.glob(f".{version}-*"):
            left.unlink()

    def read(self, version: str) -> Enrolment:
        """Opens the map of a version.

        Raises:
            IndexRefused: there is none, it was changed, or sealed with another key.
            ConfigurationError: the key cannot be read.
        """
        key = read_key(self.key_file)
        try:
            data = unseal(read_regular(self.path(version)), key, version)
            return Enrolment(**unpack(data, ARRAYS))
        except OSError as missing:
            raise IndexRefused(f"no enrolment map at {self.path(version)} ({missing.strerror})") from missing
        except UNREADABLE as broken:
            raise IndexRefused(f"{self.path(version)} does not hold an enrolment: {broken}") from broken

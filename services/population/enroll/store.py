"""A population's folder -> one vector an identity, or its photos; a command that compacts it meanwhile is no harm."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.errors import EnrolmentError, NobodyEnrolled
from services.population.enroll.about import About, read_about, read_removed
from services.population.enroll.rows import ENROLLED, as_array
from services.population.enroll.shards import counting_shards, newest, read_shard
from services.population.enroll.writing import without
from services.population.people import Population

TRIES = 5  # a population is compacted once in a while

T = TypeVar("T")


def read_population(folder: Path) -> Population:
    """Reads a population: one vector an identity, the mean over the embeddings of its enrolled photos.

    Vectors are added up shard by shard, so that memory is a matter of how many identities there are, not photos.

    Raises:
        EnrolmentError: there is none, nobody is enrolled, its enrolment was not finished, or it is damaged.
    """
    return _undisturbed(folder, partial(_read_population, folder.name))


def read_photos(folder: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of the rows that count, one a photo, whatever became of it; those of rows.py.

    Raises:
        EnrolmentError: there is no population, or it is damaged.
    """

    def read(_: About, shards: list[Path], removed: set[str]) -> pa.Table:
        tables = []
        for path, counts in zip(shards, newest(shards), strict=True):
            table = read_shard(path, list(dict.fromkeys((*columns, "identity"))))
            tables.append(without(table.filter(pa.array(counts)), removed).select(columns))
        if not tables:
            raise EnrolmentError(f"population {folder.name} holds no photos; enrol some")
        return pa.concat_tables(tables)

    return _undisturbed(folder, read)


def _undisturbed(folder: Path, read: Callable[[About, list[Path], set[str]], T]) -> T:
    """Reads again if shards vanish on the way, since they were compacted."""
    for _ in range(TRIES):
        try:
            about = read_about(folder)
            return read(about, counting_shards(folder, about.generation), read_removed(folder)[0])
        except FileNotFoundError:
            continue
    raise EnrolmentError(f"population {folder.name} is being written to all the time; try again later")


def _read_population(name: str, about: About, shards: list[Path], removed: set[str]) -> Population:
    if not about.finished:
        raise EnrolmentError(
            f"the enrolment of population {name} did not come to its end; run the same `anonfaces population enroll` "
            "again, it goes on where it stopped"
        )
    counting, told = [], []
    for path, counts in zip(shards, newest(shards), strict=True):
        table = read_shard(path, ("identity", "status", "given", "estimated"))
        here = pc.and_(pc.equal(table["status"], ENROLLED), pc.is_valid(table["identity"]))
        here = pc.and_(here, pc.invert(pc.is_in(table["identity"], pa.array(sorted(removed), pa.string()))))
        counting.append(counts & here.to_numpy())
        told.append(table.filter(pa.array(counting[-1])))
    if not sum(map(len, told)):
        raise NobodyEnrolled(f"nobody is enrolled in population {name}; `anonfaces population enroll` enrols people")
    people = pa.concat_tables(told)
    identities, owner = np.unique(people["identity"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    photos = np.bincount(owner)
    owners = np.split(owner, np.cumsum([counts.sum() for counts in counting])[:-1])
    means = {
        column: _means(column, shards, counting, owners, photos)
        for column in ("embedding", "latent")[: 2 if about.latent_dims else 1]
    }
    return Population(
        name=name,
        made_with=about.made_with,
        identities=identities,
        embeddings=means["embedding"],
        latents=means.get("latent"),
        photos=photos,
        attributes=_attributes(people, owner, len(identities)),
    )


def _means(
    column: str, shards: list[Path], counting: list[np.ndarray], owners: list[np.ndarray], photos: np.ndarray
) -> np.ndarray:
    """Means of a column of vectors by identity, float32 [n, length]; sums in float64, in the order of rows."""
    sums: np.ndarray | None = None
    for path, counts, owner in zip(shards, counting, owners, strict=True):
        values = as_array(read_shard(path, [column])[column])[counts].astype(np.float64)
        sums = np.zeros((len(photos), values.shape[1])) if sums is None else sums
        np.add.at(sums, owner, values)
    assert sums is not None  # there is a shard
    if not np.isfinite(sums).all():
        raise EnrolmentError(f"{shards[0].parent} holds an enrolled photo without its {column}; enrol the photos again")
    return (sums / photos[:, None]).astype(np.float32)


def _attributes(people: pa.Table, owner: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Attributes by name, str [n]: what was given for most of an identity's photos, else what was seen in most."""
    given, estimated = (_majorities(people[column].to_pylist(), owner) for column in ("given", "estimated"))
    found = {}
    for name in sorted({*given, *estimated}):
        values = {**estimated.get(name, {}), **given.get(name, {})}
        found[name] = np.array([values.get(i, "") for i in range(n)], np.str_)
    return found


def _majorities(rows: Iterable[list[tuple[str, str]] | None], owner: np.ndarray) -> dict[str, dict[int, str]]:
    """name -> identity -> its most frequent value; of several as frequent ones the first in the alphabet."""
    votes: dict[str, dict[int, Counter[str]]] = {}
    for person, row in zip(owner.tolist(), rows, strict=True):
        for name, value in row or ():
            if value:
                votes.setdefault(name, {}).setdefault(person, Counter())[value] += 1
    return {
        name: {i: min(counted, key=lambda value: (-counted[value], value)) for i, counted in people.items()}
        for name, people in votes.items()
    }

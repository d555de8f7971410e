"""An enrolment, or a removal, that dies at any step goes on where it was: nothing is lost, doubled or half there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from services.errors import AnonFacesError
from services.population.enroll import arrays as arrays_
from services.population.enroll.about import read_removed
from services.population.enroll.arrays import read_rows
from services.population.enroll.flow import Options, enroll_arrays
from services.population.enroll.shards import read_shard, shard_files
from services.population.enroll.store import read_photos, read_population
from services.population.enroll.writing import remove

MADE = {"embedder": "e", "models_sha256": {}}
OPERATIONS = ("open", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "chmod")  # what changes a disk
PEOPLE = ("ann", "bea", "cid", "dee", "eve")


class Died(BaseException):
    """The process is gone: from here on nothing it would do to the disk is done."""


@contextmanager
def dying(after: int) -> Iterator[list[int]]:
    """Lets so many operations pass, and none after them. Yields how many there were."""
    real, count = {name: getattr(os, name) for name in OPERATIONS}, [0]

    def counted(name: str) -> Callable[..., object]:
        def operation(*arguments, **options):
            count[0] += 1
            if count[0] > after:
                raise Died
            return real[name](*arguments, **options)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(name))
    try:
        yield count
    finally:
        for name, operation in real.items():
            setattr(os, name, operation)


def deaths(work: Callable[[], None], check: Callable[[], None], fresh: Callable[[], None]) -> int:
    """Lets `work` die before each of its operations in turn, each time on a fresh folder. Returns how many it has."""
    for after in range(1000):
        fresh()
        with dying(after) as count:
            try:
                work()
            except Died:
                pass
            else:
                return count[0]
        check()
    raise AssertionError("it does not end")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(arrays_, "SHARD_ROWS", 3)  # several shards for few rows
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # processes die here, machines do not
    return tmp_path / "populations" / "town"


def write_file(path: Path, photos: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    names = np.array([f"{PEOPLE[i % len(PEOPLE)]}/{i}" for i in range(photos)])
    np.savez(path, embedding=rng.normal(size=(photos, 4)).astype(np.float32), names=names)
    os.utime(path, ns=(0, seed))
    return path


def enrol(folder: Path, file: Path) -> None:
    options = Options(duplicate_threshold=0.1)
    enroll_arrays(read_rows(file, None, None), file, folder, MADE, options, {})


def state(folder: Path) -> tuple[object, ...]:
    """All that a population says, in an order of its own."""
    people = read_population(folder)
    columns = ("source", "photo", "status", "identity", "bytes", "mtime_ns", "embedding")
    rows = sorted(read_photos(folder, columns).to_pylist(), key=lambda row: row["photo"])
    reports = [(folder / name).read_text() for name in ("bad.csv", "duplicates.csv")]
    return people.identities.tolist(), people.embeddings.tobytes(), people.photos.tolist(), str(rows), reports


def nothing_is_left_over(folder: Path) -> None:
    names = {path.name for path in folder.rglob("*")} - {path.name for path in shard_files(folder)}
    assert names <= {"photos", "population.json", "removed.json", "bad.csv", "duplicates.csv"}
    stored = sum(len(read_shard(path, ["photo"])) for path in shard_files(folder))
    assert stored == len(read_photos(folder, ("photo",)))


def is_one_of(folder: Path, *allowed: tuple[object, ...] | None) -> None:
    """The population is readable, and then as it was or as it will be; or an error says that it is not done."""
    try:
        people = read_population(folder)
    except AnonFacesError:
        return
    seen = people.identities.tolist(), people.embeddings.tobytes(), people.photos.tolist()
    assert seen in [state[:3] for state in allowed if state]


def test_first_enrolment_survives_death_at_every_step(folder, tmp_path):
    file = write_file(tmp_path / "people.npz", 8)
    enrol(folder, file)
    wanted = state(folder)

    def check() -> None:
        is_one_of(folder, wanted)
        enrol(folder, file)
        assert state(folder) == wanted
        nothing_is_left_over(folder)

    assert deaths(lambda: enrol(folder, file), check, lambda: clear(folder)) > 40


def test_adding_photos_survives_death_at_every_step(folder, tmp_path):
    """Some rows are new and some have changed; what was enrolled before is never lost."""
    before = write_file(tmp_path / "people.npz", 4)
    enrol(folder, before)
    first = state(folder)
    after = write_file(tmp_path / "people.npz", 7, seed=1)
    enrol(folder, after)
    wanted = state(folder)
    assert wanted[1] != first[1]

    def fresh() -> None:
        clear(folder)
        enrol(folder, write_file(tmp_path / "people.npz", 4))
        write_file(tmp_path / "people.npz", 7, seed=1)

    def check() -> None:
        is_one_of(folder, first, wanted)
        enrol(folder, after)
        assert state(folder) == wanted
        nothing_is_left_over(folder)

    assert deaths(lambda: enrol(folder, after), check, fresh) > 40


def test_removal_survives_death_at_every_step(folder, tmp_path):
    file = write_file(tmp_path / "people.npz", 7)
    enrol(folder, file)
    first = state(folder)
    remove(folder, ["bea"])
    wanted = state(folder)

    def fresh() -> None:
        clear(folder)
        enrol(folder, file)

    def check() -> None:
        is_one_of(folder, first, wanted)
        remove(folder, ["bea"])
        assert state(folder) == wanted
        assert read_removed(folder) == ({"bea"}, True)
        nothing_is_left_over(folder)

    assert deaths(lambda: remove(folder, ["bea"]), check, fresh) > 20


def test_enrolment_that_dies_again_and_again_comes_to_the_same_end(folder, tmp_path):
    """Each time it gets one operation further than the last time, on what the last time left."""
    file = write_file(tmp_path / "people.npz", 8)
    enrol(folder, file)
    wanted = state(folder)
    clear(folder)
    for after in range(1000):
        with dying(after):
            try:
                enrol(folder, file)
            except Died:
                continue
        break
    assert state(folder) == wanted
    nothing_is_left_over(folder)


def clear(folder: Path) -> None:
    for path in sorted(folder.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

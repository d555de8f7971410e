"""A real Ray of two workers: the same labels as on this machine, also when a worker is killed half-way."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from services.errors import ConfigurationError, PartitionError, WorkersLost
from services.population.engine import Engine, engine_for
from services.population.partition import partition
from services.population.partition.swap import WHOLE

pytest.importorskip("ray", reason="needs the extra `ray`")


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    with engine_for("ray", workers=2) as engine:
        yield engine
    left = [p for p in psutil.Process().children(recursive=True) if "ray" in p.name() and p.status() != "zombie"]
    psutil.wait_procs(left, timeout=30)
    assert not [p for p in left if p.is_running() and p.status() != "zombie"]


def people(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n // 10, 8))[rng.integers(n // 10, size=n)] + rng.normal(size=(n, 8)) / 3


def note_and_wait(number: int, folder: Path) -> int:
    """Leaves the worker's pid behind; the first time item 1 is worked on, it takes for ever."""
    marks = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{os.getpid()}").touch()
    if number == 1 and marks == 0:
        time.sleep(600)
    return number * number


def refuse(number: int) -> int:
    raise PartitionError(f"not {number}")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_labels_are_those_of_this_machine(ray_engine):
    points = people(WHOLE + 300)
    there = partition(points, 10, "swap", 3, "quick", ray_engine)
    np.testing.assert_array_equal(there, partition(points, 10, "swap", 3, "quick"))


def test_killed_worker_loses_nothing(ray_engine, tmp_path):
    results = ray_engine.map(partial(note_and_wait, folder=tmp_path), range(6))
    assert next(results) == 0
    deadline = time.monotonic() + 60
    while not (found := list(tmp_path.glob("1-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(int(found[0].name.split("-")[1]), signal.SIGKILL)
    assert list(results) == [1, 4, 9, 16, 25]


def test_error_of_a_worker_is_raised_as_itself(ray_engine):
    with pytest.raises(PartitionError, match="not 7"):
        list(ray_engine.map(refuse, [7]))


def test_work_that_kills_every_worker_ends_in_an_error_that_says_so(ray_engine):
    with pytest.raises(WorkersLost, match="WorkerCrashedError"):
        list(ray_engine.map(die, [1]))


def test_address_where_no_cluster_answers_is_named():
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1"), engine_for("ray", "127.0.0.1:1"):
        pass

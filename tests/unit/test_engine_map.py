"""Engines give the results in the order of the items, few at a time, and pass on what goes wrong."""

import threading
from functools import partial

import numpy as np
import pytest

from services.errors import ConfigurationError
from services.population.engine import AHEAD, LocalEngine, engine_for
from services.population.partition import partition
from services.population.partition.swap import WHOLE


def people(n: int, dims: int = 6) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n // 10, dims))[rng.integers(n // 10, size=n)] + rng.normal(size=(n, dims)) / 3


def add(number: int, to: int) -> int:
    if number == 13:
        raise ValueError("thirteen")
    return number + to


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_in_the_order_of_the_items(workers):
    assert list(LocalEngine(workers).map(partial(add, to=5), range(12))) == list(range(5, 17))


def test_error_of_an_item_is_raised_as_it_is_when_its_turn_comes():
    results = LocalEngine(2).map(partial(add, to=0), range(10, 20))
    assert [next(results) for _ in range(3)] == [10, 11, 12]
    with pytest.raises(ValueError, match="thirteen"):
        next(results)


def test_few_items_are_cut_out_before_their_results_are_taken():
    """A large population must not be in memory twice."""
    asked = []

    class Items(list):
        def __iter__(self):
            for item in range(100):
                asked.append(item)
                yield item

    results = LocalEngine(2).map(partial(add, to=100), Items())
    next(results)
    assert len(asked) <= AHEAD * 2 + 1
    results.close()


def test_items_are_worked_on_side_by_side():
    both = threading.Barrier(2, timeout=30)
    assert sorted(LocalEngine(2).map(lambda _: both.wait(), range(2))) == [0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_labels_do_not_depend_on_the_number_of_workers(workers):
    points = people(WHOLE + 700)
    one = partition(points, 10, "swap", 5, "quick", LocalEngine(2))
    np.testing.assert_array_equal(partition(points, 10, "swap", 5, "quick", LocalEngine(workers)), one)


def test_unknown_engine_is_refused():
    with pytest.raises(ConfigurationError, match="local, ray"), engine_for("spark"):
        pass


def test_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"anonfaces\[ray\]"), engine_for("ray"):
        pass

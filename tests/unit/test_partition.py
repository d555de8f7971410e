"""Whatever the people look like: everyone is in one crowd, and no crowd is below k."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import PartitionError
from services.population.partition import ALGORITHMS, information_loss, partition


@st.composite
def populations(draw) -> tuple[np.ndarray, int]:
    """Embeddings [n, d], some of them repeated so that distances tie, and a possible k."""
    k = draw(st.integers(2, 12))
    n = draw(st.integers(k, 90))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    points = rng.normal(size=(n, draw(st.integers(1, 16))))
    return points[rng.integers(0, n, n)] if draw(st.booleans()) else points, k


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(populations())
def test_everyone_is_in_one_of_consecutive_crowds(algorithm, population):
    points, k = population
    labels = partition(points, k, algorithm)
    assert labels.shape == (len(points),)
    assert set(labels) == set(range(labels.max() + 1))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(populations())
def test_crowds_hold_k_to_2k_minus_1_people(algorithm, population):
    points, k = population
    sizes = np.bincount(partition(points, k, algorithm))
    assert sizes.min() >= k
    assert sizes.max() <= 2 * k - 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=30)
@given(populations(), st.integers(0, 5))
def test_same_seed_gives_the_same_labels(algorithm, population, seed):
    points, k = population
    first, second = (partition(points.copy(), k, algorithm, seed) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_people_who_look_alike_share_a_crowd():
    """Four tight groups of five far from one another: with k = 5 the groups are the crowds."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 5)
    points = rng.normal(size=(4, 8))[groups] * 100 + rng.normal(size=(20, 8))
    labels = partition(points, 5)
    assert all(len(set(labels[groups == g])) == 1 for g in range(4))


def test_people_handed_in_are_not_modified():
    points = np.random.default_rng(1).normal(size=(20, 3))
    before = points.copy()
    partition(points, 3)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("k", [1, 0, -2])
def test_k_below_two_is_refused(k):
    with pytest.raises(PartitionError, match="at least 2"):
        partition(np.zeros((10, 3)), k)


def test_k_above_the_number_of_people_is_refused():
    with pytest.raises(PartitionError, match="4 identities cannot form a crowd of 5"):
        partition(np.zeros((4, 3)), 5)


def test_k_equal_to_the_number_of_people_is_one_crowd():
    assert partition(np.random.default_rng(2).normal(size=(5, 3)), 5).tolist() == [0] * 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_embeddings_that_are_not_finite_are_refused(bad):
    points = np.zeros((10, 3))
    points[7, 1] = bad
    with pytest.raises(PartitionError, match="finite"):
        partition(points, 3)


@pytest.mark.parametrize(
    "points",
    [np.zeros(10), np.zeros((10, 0)), np.full((10, 2), "a"), np.full((10, 2), None), np.zeros((10, 2), complex)],
)
def test_embeddings_that_are_no_table_of_numbers_are_refused(points):
    with pytest.raises(PartitionError, match=r"\[n, d\]"):
        partition(points, 3)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int8, np.uint8, bool])
def test_numbers_of_any_kind_are_partitioned(kind):
    points = (np.random.default_rng(4).normal(size=(30, 3)) * 3 + 9).astype(kind)
    assert np.bincount(partition(points, 4)).min() >= 4


def test_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(PartitionError, match="no algorithm named 'k-means'; there are swap, mdav"):
        partition(np.zeros((10, 3)), 3, "k-means")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([0, 0, 0, 0, 1, 1], "below k = 3"),
        ([0, 0, 0, 2, 2, 2], "below k = 3"),  # crowd 1 is empty
        ([0, 0, 0, 0, 0, -1], "not assign all"),
        ([0, 0, 0, 0, 0], "not assign all"),
        ([[0], [0], [0], [0], [0], [0]], "not assign all"),
    ],
    ids=["small crowd", "gap", "left out", "too short", "shape"],
)
def test_invalid_answer_of_an_algorithm_is_refused(monkeypatch, answer, says):
    monkeypatch.setitem(ALGORITHMS, "careless", lambda points, k, seed, effort: np.array(answer))
    with pytest.raises(PartitionError, match=says):
        partition(np.arange(12.0).reshape(6, 2), 3, "careless")


@given(populations())
def test_information_loss_is_within_over_total_sum_of_squares(population):
    points, k = population
    labels = partition(points, k)
    within = sum(((points[labels == c] - points[labels == c].mean(axis=0)) ** 2).sum() for c in set(labels))
    total = len(points) * points.var(axis=0).sum()
    assert information_loss(points, labels) == pytest.approx(within / max(total, 1e-30), rel=1e-6, abs=1e-9)


def test_one_crowd_of_all_loses_everything():
    assert information_loss(np.random.default_rng(3).normal(size=(9, 2)), np.zeros(9, int)) == pytest.approx(1)


def test_crowds_of_equals_lose_nothing():
    assert information_loss(np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4)) == 0

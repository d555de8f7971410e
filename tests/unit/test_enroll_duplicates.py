"""Identities nearer than people are: all of them are found, in blocks, and in bounded memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from services.errors import EnrolmentError
from services.population.enroll import duplicates
from services.population.enroll.duplicates import likely_duplicates


def by_hand(embeddings: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    near = np.triu(squareform(pdist(embeddings.astype(np.float64))) < threshold, 1)
    return set(zip(*(axis.tolist() for axis in np.nonzero(near)), strict=True))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.floats(0.05, 3))
def test_every_pair_nearer_than_the_threshold_is_found_whatever_the_blocks(seed, n, dims, block, threshold):
    rng = np.random.default_rng(seed)
    embeddings = (rng.normal(size=(n, dims)) + rng.normal(size=dims) * 10).astype(np.float32)
    kept = duplicates.BLOCK
    duplicates.BLOCK = block
    try:
        pairs, distances = likely_duplicates(embeddings, threshold)
    finally:
        duplicates.BLOCK = kept
    assert set(map(tuple, pairs.tolist())) == by_hand(embeddings, threshold)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (np.diff(distances) >= 0).all()
    i, j = pairs.T
    np.testing.assert_allclose(
        distances, np.linalg.norm((embeddings[i] - embeddings[j]).astype(np.float64), axis=1), atol=1e-5
    )


def test_pairs_at_the_threshold_are_none_and_equal_rows_are(monkeypatch):
    line = np.array([[0.0], [1.0], [3.0], [3.0]])
    assert likely_duplicates(line, 1.0)[0].tolist() == [[2, 3]]
    assert likely_duplicates(line, 1.0)[1].tolist() == [0]
    assert likely_duplicates(line, 1.0 + 1e-9)[0].tolist() == [[2, 3], [0, 1]]


def test_rows_far_from_the_origin_are_told_apart():
    """float32 alone could not tell them: their squares have no digits left for so small a distance."""
    near = np.array([[1000.0, 0], [1000.0, 0.01], [1000.0, 0.03], [-1000.0, 0]])
    assert likely_duplicates(near, 0.015)[0].tolist() == [[0, 1]]


def test_nearest_are_kept_of_more_pairs_than_can_be(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 100)
    monkeypatch.setattr(duplicates, "BLOCK", 16)
    embeddings = np.random.default_rng(0).normal(size=(200, 2))
    pairs, distances = likely_duplicates(embeddings, 5.0)
    assert len(pairs) == 100
    np.testing.assert_allclose(distances, np.sort(pdist(embeddings))[:100], atol=1e-9)


def test_population_of_equals_ends_with_as_many_pairs_as_are_kept(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1000)
    pairs, distances = likely_duplicates(np.ones((3000, 8), np.float32), 0.1)
    assert len(pairs) == 1000
    assert not distances.any()


def test_nobody_and_one_person_have_no_duplicates():
    for n in (0, 1):
        pairs, distances = likely_duplicates(np.ones((n, 4), np.float32), 0.5)
        assert (pairs.shape, distances.shape) == ((0, 2), (0,))


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_thresholds_that_are_none_are_refused(threshold):
    with pytest.raises(EnrolmentError):
        likely_duplicates(np.ones((2, 2)), threshold)


def test_embeddings_that_are_not_finite_are_refused():
    with pytest.raises(EnrolmentError):
        likely_duplicates(np.array([[np.nan, 0.0]]), 1.0)

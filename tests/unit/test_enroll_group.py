"""Photos grouped by face: average linkage as the textbook has it, deterministic, and honest about what is near."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from services.errors import EnrolmentError
from services.population.enroll import group
from services.population.enroll.group import group_by_face


def partition_of(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def drawn(seed: int, n: int, dims: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, n // 4), dims))
    return centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, dims)) * noise


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 60),
    st.integers(1, 6),
    st.sampled_from([0.02, 0.1, 0.3, 1.0]),
    st.floats(0.05, 2),
    st.sampled_from([3, 7, 2048]),
)
def test_groups_are_those_of_average_linkage_over_squared_distances(seed, n, dims, noise, threshold, block):
    points = drawn(seed, n, dims, noise)
    kept = group.BLOCK
    group.BLOCK = block
    try:
        found = group_by_face(points, threshold)
    finally:
        group.BLOCK = kept
    wanted = fcluster(linkage(points, "average", metric="sqeuclidean"), threshold**2 * (1 - 1e-12), "distance")
    assert partition_of(found.labels) == partition_of(wanted)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.booleans())
def test_photos_all_equally_far_from_each_other_end_in_one_group_or_alone(seed, n, together):
    """Rounding makes each one's nearest neighbour another at random, which must not go round in circles."""
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(n, n)))
    points = turned + rng.normal(size=n) * 3  # the corners of a simplex, sqrt(2) apart
    labels = group_by_face(points, 1.5 if together else 1.4).labels
    assert len(np.unique(labels)) == (1 if together else n)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.2, 1.5))
def test_same_photos_in_another_order_make_the_same_groups(seed, n, threshold):
    points = drawn(seed, n, 4, 0.2)
    order = np.random.default_rng(seed).permutation(n)
    first, second = group_by_face(points, threshold), group_by_face(points[order], threshold)
    back = np.empty(n, np.int64)
    back[order] = second.labels
    assert partition_of(first.labels) == partition_of(back)
    assert (first.pairs_near, first.photos_near) == (second.pairs_near, second.photos_near)
    assert first.labels.tolist() == group_by_face(points, threshold).labels.tolist()


def test_groups_are_numbered_by_their_first_photos():
    line = np.array([[9.0], [0.0], [9.1], [5.0], [0.1]])
    assert group_by_face(line, 1.0).labels.tolist() == [0, 1, 0, 2, 1]


def test_known_people_stay_who_they_are_and_new_photos_join_the_nearest():
    line = np.array([[0.0], [0.1], [5.0], [0.3], [5.1], [20.0], [20.1], [5.2]])
    fixed = np.array([1, 1, 0, -1, -1, -1, -1, 2])
    grouping = group_by_face(line, 1.0, fixed)
    assert grouping.labels.tolist() == [1, 1, 0, 1, 0, 3, 3, 2]  # 0 and 2 are near, and stay two people
    assert len(grouping.margins) == 4


def test_known_people_are_never_merged_even_if_they_are_one():
    same = np.zeros((4, 3))
    assert group_by_face(same, 1.0, np.array([0, 1, 1, 0])).labels.tolist() == [0, 1, 1, 0]


def test_what_lies_near_the_threshold_is_counted():
    clear = np.array([[0.0], [0.2], [9.0], [9.2]])
    assert (group_by_face(clear, 1.0).pairs_near, group_by_face(clear, 1.0).photos_near) == (0, 0)
    assert (group_by_face(clear, 1.0).margins > 0.9).all()
    near = np.array([[0.0], [1.05], [9.0]])  # a threshold larger by a tenth would join the first two
    grouping = group_by_face(near, 1.0)
    assert (grouping.pairs_near, grouping.photos_near) == (1, 2)
    loose = np.array([[0.0], [0.95], [9.0]])  # and one smaller by a tenth would part these
    grouping = group_by_face(loose, 1.0)
    assert grouping.labels.tolist() == [0, 0, 1]
    assert (grouping.pairs_near, grouping.photos_near) == (0, 2)


def test_margin_is_small_where_groups_are_no_farther_apart_than_their_own_photos():
    apart = np.array([[0.0], [0.9], [2.2], [3.1]])
    margins = group_by_face(apart, 1.0).margins
    assert len(margins) == 2
    assert (margins < 0.65).all()
    assert (margins > 0).all()


def test_nobody_one_photo_and_equal_photos():
    assert group_by_face(np.empty((0, 4)), 1.0).labels.shape == (0,)
    assert group_by_face(np.ones((1, 4)), 1.0).labels.tolist() == [0]
    alike = group_by_face(np.ones((50, 4)), 1.0)
    assert not alike.labels.any()
    assert (alike.pairs_near, alike.photos_near, alike.margins.tolist()) == (0, 0, [1.0])


@pytest.mark.parametrize(("points", "threshold"), [(np.ones((2, 2)), 0.0), (np.array([[np.inf, 0]]), 1.0)])
def test_what_cannot_be_grouped_is_refused(points, threshold):
    with pytest.raises(EnrolmentError):
        group_by_face(points, threshold)

"""An enrolled person gets the crowd stored for them; only a stranger gets the nearest one."""

import numpy as np
import pytest

from services.anonymizer.lookup import look_up
from services.population.index import ClusterIndex, Crowds, Enrolment

# On a line: crowd 0 is centred at 0 but its third member stands at 9, next to crowd 1's centre at 10.
PLACES = np.array([-5.0, -4.0, 9.0, 9.5, 10.0, 10.5, 11.0], np.float32)
CROWD = np.array([0, 0, 0, 1, 1, 1, 1])


def index(places: np.ndarray = PLACES, crowd: np.ndarray = CROWD) -> ClusterIndex:
    centroids = np.array([(0.0, 0.0), (10.25, 0.0)], np.float32)
    crowds = Crowds(np.array([3, 4]), centroids, np.zeros((2, 4)), np.zeros((2, 5, 2)), centroids)
    people = np.column_stack([places, np.zeros_like(places)]).reshape(-1, 2)
    return ClusterIndex({}, crowds, Enrolment(np.arange(len(places)).astype(str), people, crowd))


def at(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([(x, y)], np.float32)


def test_enrolled_person_gets_the_stored_crowd_though_another_centroid_is_nearer():
    (found,) = look_up(at(9.0625), index(), threshold=0.25)
    assert (found.crowd, found.enrolled) == (0, True)


def test_distance_of_an_enrolled_person_is_to_the_crowd_and_tells_nothing_of_their_vector():
    (found,) = look_up(at(9.0625), index(), threshold=0.25)
    assert found.distance == pytest.approx(9.0625)


def test_stranger_gets_the_nearest_centroid():
    (found,) = look_up(at(9.0, 3.0), index(), threshold=0.25)
    assert (found.crowd, found.enrolled) == (1, False)


def test_distance_of_a_stranger_is_to_the_centroid():
    (found,) = look_up(at(0.0, 3.0), index(), threshold=0.25)
    assert found.distance == pytest.approx(3.0)


@pytest.mark.parametrize(("y", "enrolled"), [(0.25, True), (0.2501, False)])
def test_threshold_is_inclusive(y, enrolled):
    """0.25 and its square are exact in binary, so the edge is a sharp one."""
    (found,) = look_up(at(-5.0, y), index(), threshold=0.25)
    assert found.enrolled is enrolled


def test_size_of_the_crowd_is_reported():
    assert [a.crowd_size for a in look_up(np.vstack([at(-5), at(11)]), index(), 0.25)] == [3, 4]


def test_answers_keep_the_order_of_the_faces():
    faces = np.vstack([at(11), at(-4), at(9), at(-40)])
    assert [(a.crowd, a.enrolled) for a in look_up(faces, index(), 0.25)] == [(1, 1), (0, 1), (0, 1), (0, 0)]


def test_no_faces_give_no_assignments():
    assert look_up(np.empty((0, 2), np.float32), index(), 0.25) == []


def test_everyone_is_a_stranger_where_nobody_is_enrolled():
    (found,) = look_up(at(9.0), index(PLACES[:0], CROWD[:0]), threshold=0.25)
    assert (found.crowd, found.enrolled) == (1, False)

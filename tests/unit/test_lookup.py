"""An enrolled person gets the crowd stored for them; everybody else the nearest one, and no word of k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.anonymizer.lookup import Assignment, LookUp
from services.anonymizer.options import Options
from services.anonymizer.pipeline import Pipeline, Seen
from services.errors import StrangerRefused, UnknownIdentity
from services.population.index import ClusterIndex, Crowds, Enrolment
from services.settings import Settings
from tests.unit.conftest import MODELS

# On a line: crowd 0 is centred at 0 but its third member stands at 9, next to crowd 1's centre at 10.
PLACES = np.array([-5.0, -4.0, 9.0, 9.5, 10.0, 10.5, 11.0], np.float32)
CROWD = np.array([0, 0, 0, 1, 1, 1, 1])


def index(places: np.ndarray = PLACES, crowd: np.ndarray = CROWD, enrolled: bool = True) -> ClusterIndex:
    centroids = np.array([(0.0, 0.0), (10.25, 0.0)], np.float32)
    crowds = Crowds(np.array([3, 4]), centroids, np.zeros((2, 4)), np.zeros((2, 5, 2)), centroids)
    people = np.column_stack([places, np.zeros_like(places)]).reshape(-1, 2)
    enrolment = Enrolment.of(np.arange(len(places)).astype(str), people, crowd)
    return ClusterIndex({"identity_threshold": 0.25}, crowds, enrolment if enrolled else None)


def look_up(faces: np.ndarray, index: ClusterIndex, threshold: float = 0.25) -> list[Assignment]:
    return LookUp(index, threshold)(faces)


def at(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([(x, y)], np.float32)


def test_enrolled_person_gets_the_stored_crowd_though_another_centroid_is_nearer():
    (found,) = look_up(at(9.0625), index())
    assert (found.crowd, found.enrolled) == (0, True)


def test_distance_of_an_enrolled_person_is_to_the_crowd_and_tells_nothing_of_their_vector():
    (found,) = look_up(at(9.0625), index())
    assert found.distance == pytest.approx(9.0625)


def test_stranger_gets_the_nearest_centroid():
    (found,) = look_up(at(9.0, 3.0), index())
    assert (found.crowd, found.enrolled) == (1, False)


def test_distance_of_a_stranger_is_to_the_centroid():
    (found,) = look_up(at(0.0, 3.0), index())
    assert found.distance == pytest.approx(3.0)


@pytest.mark.parametrize(("y", "enrolled"), [(0.25, True), (0.2501, False)])
def test_threshold_is_inclusive(y, enrolled):
    """0.25 and its square are exact in binary, so the edge is a sharp one."""
    (found,) = look_up(at(-5.0, y), index())
    assert found.enrolled is enrolled


def test_size_of_the_crowd_is_reported():
    assert [a.crowd_size for a in look_up(np.vstack([at(-5), at(11)]), index())] == [3, 4]


def test_answers_keep_the_order_of_the_faces():
    faces = np.vstack([at(11), at(-4), at(9), at(-40)])
    assert [(a.crowd, a.enrolled) for a in look_up(faces, index())] == [(1, 1), (0, 1), (0, 1), (0, 0)]


def test_no_faces_give_no_assignments():
    assert look_up(np.empty((0, 2), np.float32), index()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("enrolled", [True, False])
def test_face_that_is_near_nobody_gets_no_crowd(value, enrolled):
    with pytest.raises(ValueError, match="not finite"):
        look_up(np.vstack([at(9.0), at(value)]), index(enrolled=enrolled))


def test_everyone_is_a_stranger_where_nobody_is_enrolled():
    (found,) = look_up(at(9.0), index(PLACES[:0], CROWD[:0]))
    assert (found.crowd, found.enrolled) == (1, False)


@given(st.lists(st.tuples(st.floats(-20, 20, width=32), st.floats(-20, 20, width=32)), min_size=1, max_size=8))
def test_without_the_map_nobody_is_recognised_and_the_nearest_centroid_serves(places):
    faces = np.array(places, np.float32)
    squared = ((faces[:, None].astype(float) - index().crowds.centroids) ** 2).sum(axis=2)
    for found, to_crowds in zip(look_up(faces, index(enrolled=False)), squared, strict=True):
        assert found.enrolled is None
        assert found.crowd == to_crowds.argmin()
        assert found.distance == pytest.approx(np.sqrt(to_crowds.min()), abs=1e-12)


def test_member_who_is_not_recognised_gets_the_crowd_of_others():
    """What the map is for."""
    assert [look_up(at(9.0), index(enrolled=known))[0].crowd for known in (True, False)] == [0, 1]


@pytest.mark.parametrize(("enrolled", "told"), [(True, "enrolled-first"), (False, "nearest-only")])
def test_resolution_says_whether_people_can_be_recognised(enrolled, told):
    assert LookUp(index(enrolled=enrolled), 0.25).resolution == told


def test_large_index_is_not_quick_to_look_up():
    assert LookUp(index(), 0.25).is_quick(faces=64)
    places = np.linspace(0, 1e6, 10_000, dtype=np.float32)
    large = LookUp(index(places, np.zeros(10_000, int)), 0.25)
    assert large.is_quick(faces=1)
    assert not large.is_quick(faces=64)


# --- what a stranger is, by policy ----------------------------------------------------------------------------------


def policy(known: bool, face: np.ndarray, stranger: str) -> str | None:
    """Why the pipeline masks a face under a policy; None if it replaces it."""
    pipeline = Pipeline(Settings(), MODELS, index(enrolled=known), triton=None)
    (assignment,) = pipeline.look_up(face)
    options = Options(stranger=stranger)
    masked = "stranger" if pipeline._is_masked_stranger(assignment, options) else None
    pipeline._refuse([Seen(None, assignment, masked)], options)
    return masked


@pytest.mark.parametrize("stranger", ["assign", "mask", "refuse"])
def test_policies_for_strangers_do_not_touch_enrolled_people(stranger):
    assert policy(True, at(9.0), stranger) is None


@pytest.mark.parametrize("known", [True, False])
def test_stranger_is_masked_or_refused_by_policy_whether_recognised_as_one_or_not_known_at_all(known):
    face = at(9.0, 3.0)
    assert policy(known, face, "assign") is None
    assert policy(known, face, "mask") == "stranger"
    with pytest.raises(StrangerRefused):
        policy(known, face, "refuse")


def test_without_the_map_even_a_member_is_masked_or_refused_as_a_stranger():
    assert policy(False, at(9.0), "mask") == "stranger"
    with pytest.raises(StrangerRefused, match="map is not loaded"):
        policy(False, at(9.0), "refuse")


# --- people who are named -------------------------------------------------------------------------------------------


def test_named_person_gets_their_crowd_however_far_the_face_is():
    look_up = LookUp(index(), 0.25)
    (recognised,) = look_up(at(0.0))
    name = str(look_up_names(look_up)[0])
    (named,) = look_up(at(9.0, 3.0), [name])
    assert (named.crowd, named.enrolled) == (recognised.crowd, True)


def test_each_of_several_named_people_gets_the_face_that_fits():
    look_up = LookUp(index(), 0.01)
    names, vectors = look_up_names(look_up), look_up._vectors
    faces = np.concatenate([vectors[[2]], vectors[[0]]]) + np.float32(0.05)
    expected = [look_up._stored[2], look_up._stored[0]]
    assert [a.crowd for a in look_up(faces, [str(names[0]), str(names[2])])] == expected


def test_somebody_who_is_not_enrolled_cannot_be_named_and_is_not_repeated():
    with pytest.raises(UnknownIdentity, match="not enrolled") as refused:
        LookUp(index(), 0.25)(at(0.0), ["MARKER"])
    assert "MARKER" not in str(refused.value)


def test_nobody_can_be_named_without_the_map():
    with pytest.raises(UnknownIdentity, match="enrolment map"):
        LookUp(index(enrolled=False), 0.25).rows_of(["anybody"])


def test_more_names_than_faces_are_refused():
    look_up = LookUp(index(), 0.25)
    with pytest.raises(UnknownIdentity, match="1 faces"):
        look_up(at(0.0), [str(name) for name in look_up_names(look_up)[:2]])


def look_up_names(look_up: LookUp) -> list[str]:
    return list(look_up._rows)

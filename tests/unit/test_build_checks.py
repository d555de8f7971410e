"""What a build refuses beside bad input: versions that tell people apart together, and means that are a person."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.errors import IndexRefused
from services.population.build.checks import check_branches, check_means
from services.population.build.options import Place
from services.population.index import ClusterIndex, building, publish
from tests.unit.conftest import MODELS, store_beside, write_index


def grown(town: Path, first: ClusterIndex, names: list[str], make_population, removed: tuple[str, ...] = ()):
    """A version after the first one, with a crowd of newcomers if there are any; published."""
    people, crowds = first.enrolled.without(removed, store_beside(town).key()), first.crowds
    if names:
        new, some = make_population(len(names), seed=ord(names[-1]))
        crowds = crowds.followed_by(new)
        people = replace(
            people,
            identities=np.append(people.identities, names),
            embeddings=np.vstack([people.embeddings, some.embeddings]),
            crowd=np.append(people.crowd, np.full(len(names), len(first.crowds))),
            person=np.append(people.person, np.arange(len(names)) + 100),
        )
    step = {"epoch": 1, "step": "grown", "crowds_added": 0, "people_added": len(names), "people_removed": 0}
    with building(town):
        told = {**step, "waiting": 0, "withdraws": []}
        return publish(town, crowds, people, store_beside(town), 3, 0.5, {}, first, told)


@pytest.fixture
def first(tmp_path, make_population) -> ClusterIndex:
    index = write_index(tmp_path / "town", *make_population(3, 3, 4))
    return replace(index, enrolment=store_beside(tmp_path / "town").read(index.version))


def check(town: Path, before: ClusterIndex, draft: ClusterIndex) -> None:
    store = store_beside(town)
    check_branches(before, draft, Place(town, store, town, MODELS), store.key())


NEW, OTHERS = ["u", "v", "w"], ["u", "v", "x"]


def test_version_that_goes_on_from_an_older_one_than_was_served_is_refused(tmp_path, first, make_population):
    """Newcomers u and v are in a crowd with w, and then in one with x: whoever holds both singles w and x out."""
    town = tmp_path / "town"
    served = grown(town, first, NEW, make_population)
    draft = grown(town, first, OTHERS, make_population)
    with pytest.raises(IndexRefused, match=f"{served.version}.*make {served.version} the current version"):
        check(town, first, draft)


def test_version_that_is_the_same_again_is_accepted(tmp_path, first, make_population):
    """As after a builder that was killed just before it made its version the current one."""
    draft = grown(tmp_path / "town", first, NEW, make_population)
    check(tmp_path / "town", first, draft)
    check(tmp_path / "town", draft, draft)  # one that follows it


def test_version_beside_that_holds_the_same_crowds_is_accepted(tmp_path, first, make_population):
    town = tmp_path / "town"
    without = grown(town, first, [], make_population, removed=("person-1",))
    check(town, first, replace(without, enrolment=store_beside(town).read(without.version)))
    check(town, first, replace(first, enrolment=first.enrolled))


def test_version_beside_that_cannot_be_read_is_named(tmp_path, first, make_population):
    town = tmp_path / "town"
    served = grown(town, first, NEW, make_population)
    (town / served.version / "crowds.npz").write_bytes(b"")
    with pytest.raises(IndexRefused, match=f"does not follow {served.version}.*remove its folder"):
        check(town, first, first)


def test_map_of_a_version_beside_that_is_not_here_leaves_only_the_crowds_to_compare(tmp_path, first, make_population):
    town = tmp_path / "town"
    served = grown(town, first, NEW, make_population)
    store_beside(town).path(served.version).unlink()
    check(town, first, served)
    with pytest.raises(IndexRefused, match="does not follow"):
        check(town, first, first)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_crowd_whose_mean_is_a_member_is_refused(scale):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(6, 8)) * scale).astype(np.float32)
    labels = np.repeat([0, 1], 3)
    means = np.array([vectors[labels == crowd].mean(axis=0) for crowd in (0, 1)])
    check_means(vectors, labels, means, "centre")
    vectors[3:] = vectors[3]
    means[1] = vectors[3:].mean(axis=0)
    with pytest.raises(IndexRefused, match="centre of 1 crowds would be the very vector"):
        check_means(vectors, labels, means, "centre")


def test_crowd_of_one_whom_others_surround_evenly_is_refused():
    vectors = np.array([(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0)])
    with pytest.raises(IndexRefused, match="count-once"):
        check_means(vectors, np.zeros(3, np.int64), vectors.mean(axis=0)[None], "centre")


def test_members_who_are_only_near_to_their_mean_are_no_reason():
    vectors = np.array([(0.0, 1.0), (-1.0, 1.0), (1.0, 1.001)])
    check_means(vectors, np.zeros(3, np.int64), vectors.mean(axis=0)[None], "centre")

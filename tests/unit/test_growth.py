"""Crowds are frozen: however a population grows and shrinks, nobody can be told apart by two versions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.population.build.growth import Plan, first_plan, next_plan, people_of
from services.population.index import Crowds, Enrolment, check_enrolment
from services.population.index.diff import expose
from services.population.partition import partition
from services.population.people import Population

KEY = bytes(32)
NOBODY = np.empty((0, 2), np.int64)


def population(names: list[str], **changes: object) -> Population:
    """People whose vectors depend on their names alone."""
    ordered = sorted(names)
    seeds = [int.from_bytes(name.encode()[-6:], "big") for name in ordered]
    vectors = np.array([np.random.default_rng(seed).normal(size=6) for seed in seeds], np.float32).reshape(-1, 6)
    whole = Population("town", {}, np.array(ordered, np.str_), vectors, None, np.ones(len(ordered), np.int64), {})
    return replace(whole, **changes)


def grow(names: list[str], k: int, before: Enrolment | None = None, crowds: int = 0, pairs=NOBODY) -> Plan:
    people = population(names)
    persons = people_of(people, pairs)

    def by_mdav(rows: np.ndarray) -> np.ndarray:
        return partition(persons.embeddings[rows], k, "mdav")

    if before is None:
        return first_plan(people, persons, by_mdav)
    return next_plan(people, persons, before, crowds, KEY, lambda rows: rows[: len(rows) * (len(rows) >= k)], by_mdav)


def count(plan: Plan) -> int:
    return int(max(plan.enrolment.crowd.max(), plan.enrolment.removed_crowd.max(initial=-1))) + 1


def crowds_of(plan: Plan, number: int) -> dict[str, int]:
    return dict(zip(plan.enrolment.identities.tolist(), plan.enrolment.crowd.tolist(), strict=True))


def fits(plan: Plan, crowds: int, k: int) -> None:
    """The enrolment holds the guarantee for crowds of the sizes it counts."""
    sizes = plan.enrolment.people_per_crowd(crowds)
    ones = np.ones((crowds, 6), np.float32)
    check_enrolment(Crowds(sizes, ones, ones, np.ones((crowds, 5, 2), np.float32), ones), plan.enrolment, k)


def names(count: int, start: int = 0) -> list[str]:
    return [f"p{i:04d}" for i in range(start, start + count)]


@given(data=st.data())
def test_no_sequence_of_steps_tells_anybody_apart(data):
    """Newcomers, removals and returns at random: each version, with any version before it, leaves groups of k."""
    k = data.draw(st.integers(2, 4))
    here = set(names(data.draw(st.integers(k, 12))))
    plan = grow(sorted(here), k)
    history, crowds = [plan.enrolment], count(plan)
    for _ in range(data.draw(st.integers(1, 4))):
        here |= set(data.draw(st.lists(st.sampled_from(names(24)), max_size=10)))
        here -= set(data.draw(st.lists(st.sampled_from(names(24)), max_size=4)))
        if not here:
            break
        plan = grow(sorted(here), k, history[-1], crowds)
        crowds += int(plan.labels.max()) + 1 if len(plan.labels) else 0
        fits(plan, crowds, k)
        for before in history:
            exposure = expose(before, plan.enrolment, k, KEY)
            assert exposure.below_k == 0, (before, plan)
        history.append(plan.enrolment)


def test_nobody_changes_crowd():
    first = grow(names(12), 3)
    then = grow(names(20), 3, first.enrolment, count(first))
    before, after = crowds_of(first, 0), crowds_of(then, 0)
    assert all(after[name] == crowd for name, crowd in before.items())


def test_newcomers_make_crowds_of_their_own():
    first = grow(names(12), 3)
    then = grow(names(16), 3, first.enrolment, count(first))
    after = crowds_of(then, 0)
    assert then.step == "grown"
    assert {after[name] for name in names(4, 12)} == {count(first)}


def test_too_few_newcomers_wait_and_are_strangers():
    first = grow(names(12), 3)
    then = grow(names(14), 3, first.enrolment, count(first))
    assert (then.step, then.waiting) == (None, 2)
    assert not set(names(2, 12)) & set(then.enrolment.identities.tolist())


def test_newcomers_of_whom_no_crowd_can_be_made_wait_and_do_not_keep_others_waiting():
    first = grow(names(12), 3)
    people = population(names(17))
    persons = people_of(people, NOBODY)
    young = np.arange(17) < 14  # of the newcomers two, too few for a crowd of their own

    def old(rows: np.ndarray) -> np.ndarray:
        return rows[~young[rows]]

    def one_crowd(rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), np.int64)

    then = next_plan(people, persons, first.enrolment, count(first), KEY, old, one_crowd)
    assert (then.step, then.waiting) == ("grown", 2)
    assert set(names(17)) - set(then.enrolment.identities.tolist()) == set(names(2, 12))


def test_those_who_wait_are_served_once_there_are_k():
    first = grow(names(12), 3)
    second = grow(names(14), 3, first.enrolment, count(first))
    third = grow(names(15), 3, second.enrolment, count(first))
    assert set(names(3, 12)) <= set(third.enrolment.identities.tolist())


def test_removed_person_still_counts_in_their_crowd_and_is_gone_from_it():
    first = grow(names(9), 3)
    then = grow(names(8), 3, first.enrolment, count(first))
    assert (then.step, then.people_removed) == ("refreshed", 1)
    assert "p0008" not in then.enrolment.identities
    fits(then, count(first), 3)
    assert then.enrolment.people_per_crowd(count(first)).tolist() == [3, 3, 3]


def test_removed_name_is_kept_as_a_tag_only():
    first = grow(names(9), 3)
    then = grow(names(8), 3, first.enrolment, count(first))
    assert all("p0008" not in str(vars(then.enrolment)[name].tolist()) for name in vars(then.enrolment))
    assert len(then.enrolment.removed_tags) == 1


def test_person_who_comes_back_gets_the_crowd_they_had():
    """A new crowd would single them out: nobody else is in both."""
    first = grow(names(9), 3)
    away = grow(names(8), 3, first.enrolment, count(first))
    back = grow(names(9), 3, away.enrolment, count(first))
    assert crowds_of(back, 0) == crowds_of(first, 0)
    assert len(back.enrolment.removed_tags) == 0


def test_two_names_of_one_person_count_once():
    people = population(names(7))
    persons = people_of(people, np.array([(0, 1), (1, 2)]))
    assert len(persons) == 5
    np.testing.assert_allclose(persons.embeddings[0], people.embeddings[:3].mean(axis=0), rtol=1e-6)
    plan = first_plan(people, persons, lambda rows: np.array([0, 0, 0, 1, 1]))
    assert plan.enrolment.people_per_crowd(2).tolist() == [3, 2]
    assert plan.enrolment.crowd.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_new_name_of_an_enrolled_person_joins_their_crowd_without_counting():
    first = grow(names(9), 3)
    row_of_new = 9
    then = grow(names(10), 3, first.enrolment, count(first), np.array([(0, row_of_new)]))
    after = crowds_of(then, 0)
    assert after["p0009"] == after["p0000"]
    fits(then, count(first), 3)
    assert then.enrolment.people_per_crowd(count(first)).sum() == 9


def test_vectors_follow_the_population_while_crowds_stay():
    first = grow(names(9), 3)
    moved = population(names(9))
    moved = replace(moved, embeddings=moved.embeddings + np.float32(0.01))
    then = next_plan(moved, people_of(moved, NOBODY), first.enrolment, 3, KEY, lambda rows: rows, lambda rows: rows)
    assert then.step == "refreshed"
    np.testing.assert_array_equal(then.enrolment.embeddings, moved.embeddings)


def test_unchanged_population_needs_no_version():
    first = grow(names(9), 3)
    assert grow(names(9), 3, first.enrolment, count(first)).step is None


@pytest.mark.parametrize("attribute", ["adult", ""])
def test_attribute_of_a_person_is_that_of_any_of_their_names(attribute):
    people = population(names(3), attributes={"age": np.array(["", attribute, "child"])})
    assert people_of(people, np.array([(0, 1)])).attributes["age"].tolist() == [attribute, "child"]


# --- what two versions give away --------------------------------------------------------------------------------


def enrolment(**crowd: int) -> Enrolment:
    people = np.array(sorted(crowd), np.str_)
    return Enrolment.of(people, np.zeros((len(people), 2), np.float32), np.array([crowd[name] for name in people]))


def test_rebuild_that_separates_one_person_singles_them_out():
    old = enrolment(a=0, b=0, c=0, d=1, e=1, f=1)
    new = enrolment(a=0, b=0, c=1, d=0, e=1, f=1)
    exposure = expose(old, new, 3, KEY)
    assert (exposure.singled_out, exposure.below_k, exposure.smallest_group) == (2, 6, 1)


def test_newcomer_in_an_old_crowd_is_singled_out():
    exposure = expose(enrolment(a=0, b=0), enrolment(a=0, b=0, c=0), 2, KEY)
    assert (exposure.newcomers, exposure.singled_out) == (1, 1)


def test_same_crowds_under_other_numbers_expose_nobody():
    exposure = expose(enrolment(a=0, b=0, c=1, d=1), enrolment(a=1, b=1, c=0, d=0), 2, KEY)
    assert exposure.below_k == 0


def test_person_left_out_without_a_mark_is_singled_out():
    exposure = expose(enrolment(a=0, b=0, c=0), enrolment(a=0, b=0), 2, KEY)
    assert (exposure.gone, exposure.singled_out) == (1, 1)


def test_person_marked_as_removed_exposes_nobody():
    old = enrolment(a=0, b=0, c=0)
    assert expose(old, old.without(["c"], KEY), 3, KEY).below_k == 0


@given(seed=st.integers(0, 999), k=st.integers(2, 5))
def test_exposure_agrees_with_intersecting_crowds_one_by_one(seed, k):
    rng = np.random.default_rng(seed)
    everybody = names(12)
    old = enrolment(**{name: int(rng.integers(3)) for name in everybody if rng.random() < 0.9})
    new = enrolment(**{name: int(rng.integers(3)) for name in everybody if rng.random() < 0.9})
    was = dict(zip(old.identities.tolist(), old.crowd.tolist(), strict=True))
    is_now = dict(zip(new.identities.tolist(), new.crowd.tolist(), strict=True))
    seen = set(was) | set(is_now)
    like = [sum((was.get(a), is_now.get(a)) == (was.get(b), is_now.get(b)) for b in seen) for a in seen]
    exposure = expose(old, new, k, KEY)
    assert exposure.below_k == sum(size < k for size in like)
    assert exposure.singled_out == sum(size == 1 for size in like)

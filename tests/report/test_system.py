"""Attacks on the system, on people made of numbers, where the answers are known."""

import numpy as np
import pytest

from services.report.loss import OWN, losses
from services.report.system.composition import composition
from services.report.system.difference import SURROGATE, differencing
from services.report.system.inversion import learned_inversion
from services.report.system.membership import crowd_membership
from services.report.system.oracle import look_up_oracle

SEED = 3


def people(n: int, d: int = 16, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def alike(crowds: int, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """People of crowds that lie apart, and their crowds."""
    crowd = np.repeat(np.arange(crowds), size)
    return 3 * people(crowds, seed=6)[crowd] + people(len(crowd)), crowd


def figures_of(attack):
    return {figure.name: figure for figure in attack.figures}


def oracle_of(strangers: int, threshold: float):
    everybody = people(20 + strangers)
    enrolled, crowd = everybody[:20], np.repeat(np.arange(4), 5)
    owners = np.repeat(np.arange(len(everybody)), 2)
    photos = everybody[owners] + 0.01 * people(len(owners), seed=2)
    crowds = np.append(crowd, np.full(strangers, -1))[owners]
    return look_up_oracle(photos, owners, owners < 20, enrolled, crowd, crowds, np.full(4, 3), threshold, SEED)


def test_oracle_tells_people_apart_who_are_far_apart():
    attack = oracle_of(strangers=8, threshold=1.0)
    found = figures_of(attack)
    assert found["enrolled people who are told to be"].value == 1
    assert found["strangers who are taken for enrolled"].value == 0
    assert found["enrolled people whose crowd is told"].value == 1
    assert not attack.claimed
    assert found["fewest enrolled people of a crowd"].value == 3  # of five names, some are of one person
    assert "at least 2 others" in attack.verdict


def test_oracle_says_what_a_lax_threshold_does_and_that_there_are_no_strangers():
    assert figures_of(oracle_of(8, threshold=100.0))["strangers who are taken for enrolled"].value == 1
    alone = oracle_of(0, threshold=1.0)
    assert figures_of(alone)["strangers who are taken for enrolled"].value is None
    assert "strangers" not in alone.verdict


def test_membership_is_told_by_surrogates_that_are_means_and_not_by_others():
    points, crowd = alike(24)
    means = {number: points[crowd == number].mean(axis=0) for number in range(24)}
    near = crowd_membership(points, np.arange(120), crowd, means, "other", SEED)
    found = figures_of(near)["AUC, member against not"]
    assert found.interval.low > 0.6
    assert "looks like its crowd" in near.verdict
    elsewhere = dict(enumerate(people(24, 16, seed=10)))
    told = crowd_membership(points, np.arange(120), crowd, elsewhere, "other", SEED)
    assert figures_of(told)["AUC, member against not"].interval.low < 0.5
    assert "guessing" in told.verdict


def test_learned_inversion_names_one_of_a_crowd_and_no_more():
    points, crowd = alike(40)
    behind = np.array([points[crowd == number].mean(axis=0) for number in crowd])
    attack = learned_inversion(points, crowd, behind, "other", SEED)
    found = figures_of(attack)
    assert found["chance within the crowd"].value == pytest.approx(0.2)
    assert found["named right"].interval.low <= 0.2
    assert found["somebody of the crowd named"].value > 0.5
    assert found["somebody of the crowd named"].interval.people == 40  # crowds were drawn: a crowd has one guess
    assert found["chance of somebody of the crowd"].value == pytest.approx(5 / 200)
    assert attack.claimed
    assert "no more than one" in attack.verdict


def test_learned_inversion_finds_people_who_have_a_face_each():
    """The check can fail: a surrogate for every person, with crowds only on paper."""
    points, crowd = people(60), np.repeat(np.arange(12), 5)
    attack = learned_inversion(points, crowd, points @ np.diag(np.linspace(1, 2, 16)), "other", SEED)
    assert figures_of(attack)["named right"].value > 0.9
    assert "look into it" in attack.verdict


def test_learned_inversion_is_not_tried_on_few_crowds():
    attack = learned_inversion(people(6), np.repeat([0, 1], 3), people(6, seed=4), "other", SEED)
    assert attack.figures[0].value is None
    assert "Not tried" in attack.verdict


def test_differencing_finds_everybody_whose_crowd_is_known_but_for_them():
    points, crowd = people(30), np.repeat(np.arange(6), 5)
    means = {number: points[crowd == number].mean(axis=0) for number in range(6)}
    found = figures_of(differencing(points, crowd, means, np.full(6, 5), "own", SEED))
    assert found["named right"].value == 1
    assert found["median distance"].value == pytest.approx(0, abs=1e-9)


def test_differencing_fails_where_the_index_holds_something_else():
    points, crowd = people(30), np.repeat(np.arange(6), 5)
    found = figures_of(differencing(points, crowd, dict(enumerate(people(6, seed=8))), np.full(6, 5), "own", SEED))
    assert found["named right"].value < 0.5


def test_differencing_does_without_the_index_where_surrogates_are_means_of_another_length():
    points, crowd = people(30), np.repeat(np.arange(6), 5)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    means = {number: points[crowd == number].mean(axis=0) for number in range(6)}
    shown = {number: mean / np.linalg.norm(mean) for number, mean in means.items()}
    plain = figures_of(differencing(points, crowd, shown, np.full(6, 5), "own", SEED))
    found = figures_of(differencing(points, crowd, shown, np.full(6, 5), "own", SEED, SURROGATE))
    assert found["named right"].value > max(0.9, plain["named right"].value - 1e-9)
    assert "looks like the mean" in differencing(points, crowd, shown, np.full(6, 5), "own", SEED, SURROGATE).verdict
    others = dict(enumerate(people(6, seed=8)))
    assert "by guessing (3.8%)" in differencing(points, crowd, others, np.full(6, 5), "own", SEED, SURROGATE).verdict
    assert found["median distance"].value < plain["median distance"].value
    assert found["chance"].value == pytest.approx(1 / 26)


def test_differencing_asks_only_for_crowds_whose_surrogate_was_seen():
    points, crowd = people(30), np.repeat(np.arange(6), 5)
    seen = {0: points[crowd == 0].mean(axis=0)}
    assert figures_of(differencing(points, crowd, seen, np.full(6, 5), "own", SEED))["named right"].interval.trials == 5


def test_differencing_asks_only_for_people_of_crowds_that_are_all_here():
    points, crowd = people(30), np.repeat(np.arange(6), 5)
    means = {number: points[crowd == number].mean(axis=0) for number in range(6)}
    some, sizes = np.arange(30) > 1, np.full(6, 5)
    share = figures_of(differencing(points[some], crowd[some], means, sizes, "own", SEED))["named right"]
    assert share.value == 1
    assert share.interval.trials == 25
    few = differencing(points[::5], crowd[::5], means, sizes, "own", SEED)
    assert few.figures[0].value is None
    assert "Not tried" in few.verdict


def named(crowds) -> dict[str, int]:
    return {f"person {number}": int(crowd) for number, crowd in enumerate(crowds)}


def test_same_crowds_compose_to_themselves_and_crossed_ones_single_out():
    rows = np.repeat(np.arange(5), 5)
    same = composition(named(rows), named(rows), 5, "other", SEED)
    assert figures_of(same)["singled out"].value == figures_of(same)["left with fewer than k"].value == 0
    assert same.verdict.startswith("Nobody")
    crossed = composition(named(rows), named(np.tile(np.arange(5), 5)), 5, "other", SEED)
    assert figures_of(crossed)["singled out"].value == 1
    assert "withdraw" in crossed.verdict


def test_composition_of_releases_without_common_people_is_not_tried():
    attack = composition({"a": 0}, {"b": 0}, 2, "other", SEED)
    assert attack.figures[0].value is None


def test_losses_are_ordered_as_partitioners_are():
    points = people(60, 4)
    own = np.repeat(np.arange(12), 5)
    rows = losses(points, own, points + 0.5, (2, 5, 40), SEED)
    at = {(row.algorithm, row.k): row for row in rows}
    assert at[OWN, 5].to_surrogate == pytest.approx(1.0)  # 0.5 in each of four directions
    assert at["swap", 5].loss < at["mdav", 5].loss < at["random", 5].loss
    assert at["swap", 2].loss < at["swap", 5].loss
    assert 40 not in {row.k for row in rows}
    assert {row.people for row in rows} == {60}

"""Intervals: people are drawn again, not photos, and few people are never made out to be many."""

import numpy as np
import pytest

from services.errors import ReportError
from services.report.attacks.interval import effective_trials, estimate_mean, wilson


def test_interval_covers_the_truth_in_95_of_100_cases_although_photos_of_a_person_are_alike() -> None:
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(40), 4)
    covered = 0
    for case in range(400):
        chance = np.repeat(rng.beta(1.5, 1.5, 40), 4)  # of a hit, each person's own; 0.5 on average
        found = estimate_mean((rng.random(160) < chance).astype(float), owners, case)
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_photos_of_one_person_do_not_narrow_the_interval_when_they_say_the_same() -> None:
    values = np.random.default_rng(2).integers(2, size=50).astype(float)
    once = estimate_mean(values, np.arange(50), 0)
    often = estimate_mean(np.repeat(values, 10), np.repeat(np.arange(50), 10), 0)
    assert (often.low, often.high) == (once.low, once.high)
    assert (often.trials, often.people) == (500, 50)


@pytest.mark.parametrize(("value", "end"), [(0.0, "high"), (1.0, "low")])
def test_nothing_or_everything_hit_has_wilsons_interval_over_people_not_photos(value: float, end: str) -> None:
    found = estimate_mean(np.full(60, value), np.repeat(np.arange(20), 3), 0)
    far = found.high if end == "high" else 1 - found.low
    assert far == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)  # Wilson at 0 of 20 comes to z2 / (n + z2)
    assert found.low <= value <= found.high


def test_one_hit_more_never_lowers_the_upper_end() -> None:
    ends = [estimate_mean((np.arange(30) < hits).astype(float), np.arange(30), 0).high for hits in range(31)]
    assert ends == sorted(ends)


def test_wilson_at_a_known_value() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_equal_credits_of_one_in_k_are_certain() -> None:
    found = estimate_mean(np.full(40, 0.2), np.repeat(np.arange(20), 2), 0)
    assert (found.low, found.value, found.high) == pytest.approx((0.2, 0.2, 0.2))


def test_effective_trials_are_those_a_share_would_vary_as_much_with() -> None:
    assert effective_trials(0.3, 0.3 * 0.7 / 50, people=20) == pytest.approx(50)
    assert effective_trials(0.0, 0.0, people=20) == effective_trials(1.0, 0.0, people=20) == 20
    assert effective_trials(0.2, 0.0, people=20) == np.inf
    assert effective_trials(0.2, 0.0, people=1) == 1


def test_the_interval_of_one_person_is_as_wide_as_one_trial_leaves_it() -> None:
    found = estimate_mean(np.array([1.0, 0.0, 1.0, 0.0]), np.zeros(4), 0)
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 1))


def test_a_measure_that_is_no_share_is_neither_widened_nor_clipped() -> None:
    found = estimate_mean(np.full(10, 37.5), np.arange(10), 0, share=False)
    assert (found.low, found.value, found.high) == (37.5, 37.5, 37.5)
    spread = estimate_mean(np.random.default_rng(4).normal(5, 2, 400), np.arange(400), 0, share=False)
    assert spread.high - spread.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)


def test_missing_values_are_left_out_and_nothing_left_is_an_error() -> None:
    found = estimate_mean(np.array([1.0, np.nan, 0.0]), np.array([7, 8, 9]), 0)
    assert (found.value, found.trials, found.people) == (0.5, 2, 2)
    with pytest.raises(ReportError, match="leave out"):
        estimate_mean(np.array([np.nan]), np.array([0]), 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, owners = np.random.default_rng(5).random(50), np.arange(50)
    assert estimate_mean(values, owners, 3) == estimate_mean(values, owners, 3)
    assert estimate_mean(values, owners, 3) != estimate_mean(values, owners, 4)

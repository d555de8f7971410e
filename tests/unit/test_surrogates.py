"""Surrogates, as far as no picture is needed: mixtures, the choice among candidates, moves by slopes, the report."""

import io
import json
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.errors import PartitionError
from services.population.portrait import Portrait
from services.population.surrogates.choose import Crowded
from services.population.surrogates.frontier import cheapest, choose_within, pareto, price_of
from services.population.surrogates.plain import mean_by
from services.population.surrogates.report import Report, View, Way, centre_loss, see, show_report
from services.population.surrogates.risk import RiskOptions, Search
from services.population.surrogates.slopes import corrected, fit_slopes, promising
from services.population.surrogates.weights import LEAST, MOST, members_of, random_mixtures, random_weights
from tests.unit.conftest import MODELS

SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=5)
COSTS = st.integers(0, 20).map(float)  # whole numbers: ties are common, sums are exact
CROWDS = st.lists(st.lists(st.tuples(COSTS, st.integers(0, 5)), min_size=1, max_size=5), min_size=1, max_size=4)


def crowds_of(sizes: list[int], seed: int, dims: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Latents float32 [n, dims], and labels in mixed order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return rng.normal(size=(len(labels), dims)).astype(np.float32), labels


# --- mixtures ----------------------------------------------------------------------------------------------------


@given(SIZES, st.integers(0, 99))
def test_mean_is_that_of_the_members(sizes, seed):
    latents, labels = crowds_of(sizes, seed)
    for crowd, mean in enumerate(mean_by(latents, labels)):
        np.testing.assert_allclose(mean, latents[labels == crowd].mean(axis=0), atol=1e-6)


@given(SIZES, st.integers(0, 99))
def test_random_weights_are_a_mixture_in_which_nobody_outweighs_the_rest(sizes, seed):
    latents, labels = crowds_of(sizes, seed)
    for members in members_of(labels):
        weights = random_weights(latents[members], seed)
        assert weights.min() > 0
        assert weights.sum() == pytest.approx(1)
        assert weights.max() / weights.min() <= MOST / LEAST
    mixtures = random_mixtures(latents, labels, seed)
    for crowd, members in enumerate(members_of(labels)):
        expected = random_weights(latents[members], seed) @ latents[members]
        np.testing.assert_allclose(mixtures[crowd], expected, atol=1e-6)


@given(SIZES, st.integers(0, 99), st.integers(0, 99))
def test_random_mixture_does_not_depend_on_the_order_of_people(sizes, seed, shuffle):
    latents, labels = crowds_of(sizes, seed)
    order = np.random.default_rng(shuffle).permutation(len(labels))
    assert (random_mixtures(latents, labels, 3) == random_mixtures(latents[order], labels[order], 3)).all()


@given(SIZES, st.integers(0, 99))
def test_random_mixture_does_not_depend_on_other_crowds_or_numbers(sizes, seed):
    latents, labels = crowds_of(sizes, seed)
    mixtures = random_mixtures(latents, labels, 3)
    for crowd in range(len(sizes)):
        alone = labels == crowd
        assert (random_mixtures(latents[alone], np.zeros(alone.sum(), np.int64), 3)[0] == mixtures[crowd]).all()


def test_random_mixture_depends_on_the_seed_and_on_the_members():
    latents, labels = crowds_of([4], 0)
    mixture = random_mixtures(latents, labels, 1)
    assert (mixture == random_mixtures(latents, labels, 1)).all()
    assert not np.allclose(mixture, random_mixtures(latents, labels, 2))
    assert not np.allclose(mixture, random_mixtures(latents, labels, -1))
    other = latents.copy()
    other[0, 0] += 1e-6  # another person, nearly the same latent: other weights
    assert np.abs(mixture - random_mixtures(other, labels, 1)).max() > 1e-3
    assert not np.allclose(mixture, mean_by(latents, labels))


# --- the choice among candidates ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(COSTS, st.integers(0, 5)), min_size=1, max_size=8))
def test_front_is_what_nothing_beats(candidates):
    kept = {candidates[i] for i in pareto(candidates)}
    beaten = {a for a in candidates if any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in candidates)}
    assert kept == set(candidates) - beaten
    belows = [candidates[i][1] for i in pareto(candidates)]
    assert belows == sorted(set(belows), reverse=True)


def brute(crowds, budget: int) -> tuple[float, int]:
    """(cost, recognised) of the best choice, by trying all of them."""
    totals = [(sum(c for c, _ in choice), sum(b for _, b in choice)) for choice in product(*crowds)]
    within = [total for total in totals if total[1] <= budget]
    if within:
        return min(within)
    fewest = min(b for _, b in totals)
    return min(total for total in totals if total[1] == fewest)


def total(crowds, picks: list[int]) -> tuple[float, int]:
    chosen = [candidates[i] for candidates, i in zip(crowds, picks, strict=True)]
    return sum(cost for cost, _ in chosen), sum(below for _, below in chosen)


@given(CROWDS, st.integers(0, 20))
def test_choice_costs_least_of_all_within_the_budget(crowds, budget):
    cost, below = total(crowds, choose_within(crowds, budget))
    best = brute(crowds, budget)
    assert cost == best[0]
    assert below <= max(budget, best[1])


@given(CROWDS, st.integers(0, 20))
def test_choice_for_very_many_crowds_keeps_the_budget_and_is_one_step_from_the_best(crowds, budget):
    cost, below = total(crowds, choose_within(crowds, budget, most_cells=0))
    best = brute(crowds, budget)
    assert below <= max(budget, best[1])
    price = price_of(crowds, budget, 0.1, 1000.0)
    alone = total(crowds, [cheapest(candidates, price) for candidates in crowds])
    assert cost <= alone[0] or alone[1] > budget
    step = max(max(c for c, _ in candidates) - min(c for c, _ in candidates) for candidates in crowds)
    assert best[0] <= cost <= best[0] + step


def test_choice_for_very_many_crowds_is_within_a_thousandth_of_the_best():
    rng = np.random.default_rng(0)
    crowds = [
        [(float(c), int(b)) for c, b in zip(rng.uniform(1, 9, 8), rng.integers(0, 9, 8), strict=True)]
        for _ in range(300)
    ]
    for budget in (300, 500, 800):
        exact, quick = (total(crowds, choose_within(crowds, budget, cells)) for cells in (10**9, 0))
        assert exact[0] <= quick[0] <= 1.001 * exact[0]
        assert quick[1] <= budget


@given(CROWDS, st.integers(0, 20))
def test_going_price_makes_crowds_keep_the_budget_on_their_own(crowds, budget):
    price = price_of(crowds, budget, 0.1, 1000.0)
    below = sum(candidates[cheapest(candidates, price)][1] for candidates in crowds)
    assert below <= max(budget, brute(crowds, 0)[1])


# --- moves -------------------------------------------------------------------------------------------------------


class World:
    """A generator and embedder that are linear: what slopes can know exactly."""

    def __init__(self, sizes: list[int], latent_dims: int = 20, dims: int = 8):
        rng = np.random.default_rng(1)
        self.labels = np.repeat(np.arange(len(sizes)), sizes)
        self.matrix = rng.normal(size=(latent_dims, dims)) * 0.1
        near = 0.4 * rng.normal(size=(len(sizes), latent_dims))[self.labels]
        self.latents = (near + 0.6 * rng.normal(size=(len(self.labels), latent_dims))).astype(np.float32)
        self.embeddings = self.look(self.latents).astype(np.float32)

    def look(self, latents: np.ndarray) -> np.ndarray:
        return latents.astype(np.float64) @ self.matrix

    def search(self, target: float, threshold: float, turns: int = 8, seed: int = 5) -> tuple[Search, list[int]]:
        options = RiskOptions(target, threshold)
        search = Search(self.latents, self.embeddings, self.labels, options, seed, MODELS)
        for turn in range(turns):
            proposed = search.propose(turn)
            search.learn(proposed, [Portrait(np.zeros((5, 2)), seen) for seen in self.look(proposed)])
        return search, choose_within(search.scores, search.budget)


def test_slopes_tell_what_a_move_does():
    world = World([100])
    slopes = fit_slopes(world.latents, world.embeddings, 0)
    move = slopes.along @ np.ones(len(slopes.gains))
    np.testing.assert_allclose(np.ones(len(slopes.gains)) @ slopes.gains, move @ world.matrix, rtol=0.3, atol=0.03)


def test_move_takes_the_surrogate_out_of_reach_of_its_members_and_a_free_one_does_not():
    world = World([8, 8, 8, 8])
    slopes = fit_slopes(world.latents, world.embeddings, 0)
    mean, members = mean_by(world.latents, world.labels)[0], world.embeddings[world.labels == 0].astype(np.float64)
    threshold = float(np.linalg.norm(members - world.look(mean), axis=1).mean())

    def recognised(price: float) -> int:
        moved = promising(slopes, mean, world.look(mean), members, threshold, price)
        return int((np.linalg.norm(members - world.look(moved), axis=1) < threshold).sum())

    assert recognised(4.0) < recognised(0.0)
    free = promising(slopes, mean, world.look(mean), members, threshold, 0.0)
    np.testing.assert_allclose(world.look(free), members.mean(axis=0), atol=0.02)


@given(seed=st.integers(0, 99), tries=st.integers(1, 12))
def test_slopes_are_corrected_by_what_was_seen_around_a_place(seed, tries):
    """The generator is linear, its slopes are wrong: what tries showed is then told within a few hundredths."""
    world, rng = World([30]), np.random.default_rng(seed)
    slopes = fit_slopes(world.latents, world.embeddings, 0)
    wrong = replace(slopes, gains=slopes.gains * 0.3)
    place, *places = rng.normal(size=(1 + tries, len(slopes.gains))) * slopes.spread
    seen = place @ slopes.gains
    others = np.array(places) @ slopes.gains
    right = corrected(wrong, place, seen, np.array(places), others)
    missed = others - seen - (np.array(places) - place) @ right.gains
    before = others - seen - (np.array(places) - place) @ wrong.gains
    assert np.linalg.norm(missed) < 0.1 * np.linalg.norm(before)
    same = corrected(slopes, place, seen, np.array(places), others)
    np.testing.assert_allclose(same.gains, slopes.gains, atol=1e-9)
    alone = corrected(wrong, place, seen, place[None], seen[None])  # the place itself tells nothing
    np.testing.assert_array_equal(alone.gains, wrong.gains)


@pytest.mark.parametrize("wrong", [-1.0, 0.3])
def test_search_that_starts_from_wrong_slopes_loses_little_more_than_one_from_right_ones(wrong):
    """People may not show what the generator does around a crowd; its tries do."""
    world, costs = World([6, 7, 8, 9]), []
    for factor in (1.0, wrong):
        search = Search(world.latents, world.embeddings, world.labels, RiskOptions(0.1, 0.6), 5, MODELS)
        search.slopes = replace(search.slopes, gains=factor * search.slopes.gains)
        for turn in range(12):
            proposed = search.propose(turn)
            search.learn(proposed, [Portrait(np.zeros((5, 2)), seen) for seen in world.look(proposed)])
        cost, below = total(search.scores, choose_within(search.scores, search.budget))
        assert below <= search.budget
        costs.append(cost)
    assert costs[1] < 1.2 * costs[0]  # 1.6 and 3.8 times as much if nothing is learnt


@given(st.floats(0, 30), st.integers(0, 99))
def test_no_latent_leaves_where_people_are(size, seed):
    world = World([9, 9])
    slopes = fit_slopes(world.latents, world.embeddings, 0)
    wanted = size * np.random.default_rng(seed).normal(size=20)
    moved = slopes.plausible(wanted)
    assert np.linalg.norm(moved - slopes.centre) <= slopes.spread * (1 + 1e-9)
    assert (moved >= world.latents.min(axis=0) - 1e-6).all()
    assert (moved <= world.latents.max(axis=0) + 1e-6).all()
    for kept in (slopes.centre, mean_by(world.latents, world.labels)[0]):
        np.testing.assert_allclose(slopes.plausible(kept), kept, atol=1e-6)


def test_search_meets_its_target_and_a_stricter_one_costs_more():
    world = World([6, 7, 8, 9])
    threshold = 0.6
    costs = []
    for target in (1.0, 0.3, 0.1):
        search, picks = world.search(target, threshold)
        cost, below = total(search.scores, picks)
        latents = np.array([tries[pick].latent for tries, pick in zip(search.tries, picks, strict=True)])
        apart = np.linalg.norm(world.embeddings - world.look(latents)[world.labels], axis=1)
        assert ((apart**2).sum(), (apart < threshold).sum()) == (pytest.approx(cost), below)
        assert below <= target * len(world.labels)
        costs.append(cost)
    assert costs == sorted(costs)
    plain = see(View("it", threshold, world.embeddings, world.look(mean_by(world.latents, world.labels))), world.labels)
    assert plain.recognised > 0.4
    assert costs[0] <= plain.loss * len(world.labels) * (1 + 1e-5)


def test_search_is_the_same_for_a_seed():
    world = World([5, 6, 7])
    found = [world.search(0.2, 0.6, seed=seed) for seed in (5, 5, 6)]
    kept = [[t.latent for tries, pick in zip(s.tries, picks, strict=True) for t in [tries[pick]]] for s, picks in found]
    assert all((a == b).all() for a, b in zip(kept[0], kept[1], strict=True))
    assert any((a != b).any() for a, b in zip(kept[0], kept[2], strict=True))


def test_no_two_tries_are_the_same():
    search, _ = World([5, 6]).search(0.2, 0.6, turns=3)
    proposed = [search.propose(turn) for turn in (4, 6, 8)]  # which keep equally clear of members
    for earlier, later in pairwise(proposed):
        assert (np.abs(earlier - later).max(axis=1) > 1e-3).all()


def test_crowd_without_a_face_goes_to_where_there_is_one_and_is_named_if_it_never_has_any():
    world = World([5, 6])
    search = Search(world.latents, world.embeddings, world.labels, RiskOptions(0.5, 0.3), 0, MODELS)
    apart = []
    for turn in range(5):
        proposed = search.propose(turn)
        seen = [Portrait(np.zeros((5, 2)), embedding) for embedding in world.look(proposed)]
        search.learn(proposed, [seen[0], None])
        apart.append(np.linalg.norm(proposed[1] - search.tries[0][0].latent))
    assert apart[4] < apart[3] < apart[2] < apart[0]
    with pytest.raises(PartitionError, match="crowd 1 has a face"):
        choose_within(search.scores, search.budget)
    search.learn(proposed, seen)
    assert len(choose_within(search.scores, search.budget)) == 2


@pytest.mark.parametrize("wrong", [{"target": 1.2}, {"target": -0.1}, {"threshold": 0.0}, {"renders": 1}])
def test_risk_options_out_of_range_are_refused(wrong):
    with pytest.raises(PartitionError):
        RiskOptions(**{"target": 0.2, **wrong})


def test_people_that_do_not_belong_together_are_refused():
    latents, labels = crowds_of([3, 3], 0)
    for wrong in ((latents[1:], latents, labels), (latents, latents * np.nan, labels), (latents, latents, labels + 1)):
        with pytest.raises(PartitionError):
            Crowded(*wrong)


# --- the report --------------------------------------------------------------------------------------------------


def test_report_counts_as_one_counts_by_hand():
    members = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [4.0, 3.0]])
    surrogates = np.array([[0.0, 0.0], [3.0, 0.0]])
    labels = np.array([0, 0, 1, 1])
    seen = see(View("it", 1.0, members, surrogates), labels)  # distances 0, 1, 1, sqrt(10)
    assert seen.loss == pytest.approx((0 + 1 + 1 + 10) / 4)
    assert seen.mean_distance == pytest.approx((2 + np.sqrt(10)) / 4)
    assert seen.recognised == 0.25  # exactly at the threshold is not nearer
    assert seen.worst_crowd == 0.5
    assert seen.rank1 == 1.0
    assert see(View("it", 1.0, members, surrogates[::-1]), labels).rank1 == 0.0
    assert centre_loss(members, labels) == pytest.approx((0.25 + 0.25 + 2.25 + 2.25) / 4)


def test_rank_one_over_many_members_is_that_over_few():
    rng = np.random.default_rng(0)
    members, surrogates = rng.normal(size=(9000, 3)), rng.normal(size=(5, 3))
    labels = rng.integers(0, 5, 9000)
    nearest = np.linalg.norm(members[:, None] - surrogates, axis=2).argmin(axis=1)
    assert see(View("it", 1.0, members, surrogates), labels).rank1 == (nearest == labels).mean()


def test_report_is_json_and_a_table():
    members, labels = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 0, 0, 1, 1, 1])
    seen = tuple(see(View(name, 1.5, members, members[::3]), labels) for name in ("first", "second"))
    report = Report(6, 2, 0.1, (Way("mean", 2, seen), Way("risk", 24, seen[:1])), target=0.1, missed_by=0.2)
    told = json.loads(json.dumps(report.as_dict()))
    assert told == report.as_dict()
    assert told["ways"][0]["seen"][1]["recogniser"] == "second"
    shown = io.StringIO()
    show_report(told, Console(file=shown, width=160))
    for word in ("mean", "risk", "first < 1.5", "second < 1.5", "missed by 20.0%", f"{seen[0].loss:.4f}"):
        assert word in shown.getvalue()
    show_report({}, Console(file=shown))

"""What must be apart is apart, what must be diverse is diverse, or a refusal says why that cannot be."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import PartitionError
from services.population.constraints import Constraints, check_constraints, parse_constraints, partition_with, servable
from services.population.constraints.crowds import crowds_of
from services.population.constraints.diverse import Sensitive, codes_of, diversify, most_crowds
from services.population.constraints.exchanges import added_loss, place, repair
from services.population.constraints.search import nearest, search
from services.population.constraints.separate import merge_small, strata_of
from services.population.partition import information_loss, partition
from services.settings import ROOT

CELEBA = ROOT.parent / "shared" / "data" / "anonfaces" / "celeba979_dlib.npz"


@st.composite
def populations(draw) -> tuple[np.ndarray, int, dict[str, np.ndarray]]:
    """Embeddings [n, d], some repeated, a possible k, and three attributes: some rare values, some not known."""
    k = draw(st.integers(2, 8))
    n = draw(st.integers(k, 70))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    points = rng.normal(size=(n, draw(st.integers(1, 8))))
    if draw(st.booleans()):
        points = points[rng.integers(0, n, n)]
    rare = rng.choice(["a", "b", "c", ""], n, p=draw(st.sampled_from([[0.4, 0.3, 0.2, 0.1], [0.85, 0.1, 0.05, 0]])))
    along = np.array(["low", "middle", "high"])[np.argsort(np.argsort(points[:, 0])) * 3 // n]
    return points, k, {"age": rng.choice(["adult", "child"], n, p=[0.7, 0.3]), "rare": rare, "along": along}


def crowds(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == crowd) for crowd in range(labels.max() + 1)]


def known(values: np.ndarray) -> set[str]:
    return set(values.tolist()) - {""}


CONSTRAINTS = [
    Constraints(("age",)),
    Constraints(("age", "rare")),
    Constraints(diverse=(("rare", 2),)),
    Constraints(diverse=(("along", 3),)),
    Constraints(diverse=(("rare", 2), ("along", 2))),
    Constraints(("age",), (("along", 2),)),
]


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=str)
@settings(max_examples=25)
@given(populations(), st.integers(0, 3), st.sampled_from(["mdav", "swap"]))
def test_every_crowd_keeps_to_the_constraints_or_they_cannot_be_met(constraints, population, seed, algorithm):
    points, k, attributes = population
    strata = list(zip(*(attributes[name] for name in constraints.separate), strict=True)) or [()] * len(points)
    rows = [[i for i, own in enumerate(strata) if own == stratum] for stratum in set(strata)]
    possible = all(
        len(part) >= k and all(len(known(attributes[name][part])) >= wanted for name, wanted in constraints.diverse)
        for part in rows
    )
    if not possible:
        with pytest.raises(PartitionError, match=r"no crowd can be made of|enrol more people"):
            partition_with(points, attributes, constraints, k, algorithm, seed, "quick")
        return
    found = partition_with(points, attributes, constraints, k, algorithm, seed, "quick")
    assert len(found.labels) == len(points)
    for members in crowds(found.labels):
        assert len(members) >= k
        assert len({strata[i] for i in members}) == 1
        for name, wanted in constraints.diverse:
            assert len(known(attributes[name][members])) >= wanted
    if not found.notes:
        assert np.bincount(found.labels).max() <= 2 * max(k, *(wanted for _, wanted in constraints.diverse), k) - 1
    assert found.loss == pytest.approx(information_loss(points, found.labels))
    again = partition_with(points.copy(), attributes, constraints, k, algorithm, seed, "quick")
    np.testing.assert_array_equal(found.labels, again.labels)


@settings(max_examples=20)
@given(populations(), st.integers(0, 3))
def test_annealed_crowds_are_diverse_and_the_same_for_a_seed(population, seed):
    points, k, attributes = population
    constraints = Constraints(diverse=(("along", 2),))
    if len(known(attributes["along"])) < 2:
        return
    first, second = (partition_with(points, attributes, constraints, k, "swap", seed) for _ in range(2))
    check_constraints(first.labels, attributes, constraints)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert min(np.bincount(first.labels)) >= k


@settings(max_examples=60)
@given(populations(), st.integers(2, 3))
def test_exchanges_alone_serve_as_many_crowds_as_one_attribute_can(population, wanted):
    """However few people have the rare values, and wherever they are."""
    points, k, attributes = population
    values = attributes["rare"]
    if len(known(values)) < wanted:
        return
    count = min(most_crowds(values, wanted), len(points) // max(k, wanted))
    labels = np.sort(np.arange(len(points)) % count)[np.argsort(np.argsort(points[:, 0], kind="stable"))]
    c = crowds_of(points, codes_of(values)[None], np.array([wanted]), labels)
    assert repair(nearest(c.sums / c.sizes[:, None], c.sums / c.sizes[:, None], 2), c)
    for members in crowds(c.labels):
        assert len(known(values[members])) >= wanted
    np.testing.assert_array_equal(np.bincount(c.labels), np.bincount(labels))
    assert_consistent(c)


def test_repair_finds_a_way_round():
    """No exchange helps the first crowd, which lacks a third value, before another w has gone to the last crowd."""
    values = np.array(list("wppwwptpvs"))
    labels = np.repeat([0, 1, 2], [3, 4, 3])
    c = crowds_of(np.random.default_rng(0).normal(size=(10, 2)), codes_of(values)[None], np.array([3]), labels)
    assert repair(np.arange(3).repeat(3).reshape(3, 3).T.copy(), c)
    assert [len(set(values[members])) >= 3 for members in crowds(c.labels)] == [True] * 3


@pytest.mark.parametrize("other", [-1, 7], ids=["move", "exchange"])
def test_added_loss_is_what_a_change_adds(other):
    points = np.random.default_rng(1).normal(size=(12, 4))
    labels = np.repeat([0, 1], [5, 7])
    c = crowds_of(points - points.mean(axis=0), np.empty((0, 12), np.int64), np.empty(0, np.int64), labels, 8)
    expected = added_loss(2, other, 1, c.points[2] @ c.sums[1], c)
    place(2, other, 1, c)
    assert c.labels[[2, other]].tolist() == ([1, 1] if other < 0 else [1, 0])
    total = ((points - points.mean(axis=0)) ** 2).sum()
    assert expected / total == pytest.approx(information_loss(points, c.labels) - information_loss(points, labels))
    assert_consistent(c)


def assert_consistent(c) -> None:
    """What the kernels keep up to date is what it would be if calculated now."""
    fresh = crowds_of(c.points, c.codes, c.wanted, c.labels)
    for name in ("sizes", "distinct"):
        np.testing.assert_array_equal(getattr(c, name), getattr(fresh, name))
    for name in ("sums", "powers", "own"):
        np.testing.assert_allclose(getattr(c, name), getattr(fresh, name), atol=1e-8)


@settings(max_examples=30)
@given(populations(), st.sampled_from(["quick", "default"]))
def test_search_loses_no_more_and_leaves_sizes_in_their_bounds(population, effort):
    points, k, attributes = population
    labels = partition(points, k, "mdav")
    values = attributes["along"]
    wanted = min(len(known(values[members])) for members in crowds(labels))
    found = search(points, labels, k, codes_of(values)[None], np.array([wanted]), 0, effort)
    assert information_loss(points, found) <= information_loss(points, labels) + 1e-9
    assert k <= np.bincount(found).min() <= np.bincount(found).max() <= 2 * k - 1
    assert min(len(known(values[members])) for members in crowds(found)) >= wanted


@pytest.mark.parametrize("constraints", [*CONSTRAINTS, Constraints(("age",), (("along", 2),), True)], ids=str)
@settings(max_examples=25)
@given(populations())
def test_who_is_servable_can_be_partitioned_and_nobody_else_could_be(constraints, population):
    points, k, attributes = population
    can = servable(attributes, constraints, len(points), k)
    if can.any():
        there = {name: values[can] for name, values in attributes.items()}
        assert len(partition_with(points[can], there, constraints, k, "mdav", 0, "quick").labels) == can.sum()
    if not can.all():
        there = {name: values[~can] for name, values in attributes.items()}
        with pytest.raises(PartitionError):
            partition_with(points[~can], there, constraints, k, "mdav", 0, "quick")


# --- against all partitions of a few people -------------------------------------------------------------------------


def partitions(people: tuple[int, ...], least: int):
    """All partitions of people into crowds of at least `least`."""
    if not people:
        yield []
        return
    first, rest = people[0], people[1:]
    for size in range(least - 1, len(rest) + 1):
        for others in combinations(rest, size):
            left = tuple(person for person in rest if person not in others)
            for tail in partitions(left, least):
                yield [(first, *others), *tail]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("wanted", [2, 3])
def test_most_crowds_is_what_trying_all_partitions_finds(seed, wanted):
    rng = np.random.default_rng(seed)
    values = rng.choice(["a", "b", "c", "d", ""], 8, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    diverse = [
        len(found)
        for found in partitions(tuple(range(8)), 1)
        if all(len(known(values[list(crowd)])) >= wanted for crowd in found)
    ]
    assert most_crowds(values, wanted) == max(diverse, default=0)


def test_few_people_are_partitioned_nearly_as_well_as_can_be():
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(9, 3))
        attributes = {"rare": rng.choice(["a", "b", "c"], 9, p=[0.6, 0.3, 0.1])}
        if len(known(attributes["rare"])) < 2:
            continue
        best = np.inf
        for found in partitions(tuple(range(9)), 3):
            if all(len(known(attributes["rare"][list(crowd)])) > 1 for crowd in found):
                labels = np.empty(9, np.int64)
                for crowd, members in enumerate(found):
                    labels[list(members)] = crowd
                best = min(best, information_loss(points, labels))
        found = partition_with(points, attributes, Constraints(diverse=(("rare", 2),)), 3)
        assert found.loss >= best - 1e-9
        ratios.append(found.loss / best)
    assert len(ratios) > 15
    assert np.mean(ratios) < 1.02


# --- what it costs, and what is said ---------------------------------------------------------------------------------


def town(n: int = 240) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """People in twelve groups; diagnoses go by group, and age does not go by anything."""
    rng = np.random.default_rng(4)
    group = np.arange(n) % 12
    points = rng.normal(size=(12, 6))[group] + rng.normal(size=(n, 6)) / 4
    age = np.where(rng.random(n) < 0.2, "child", "adult")
    return points, {"diagnosis": np.array(list("abcd"))[group % 4], "age": age, "one": np.full(n, "x")}


def test_constraints_that_hold_anyway_cost_nothing():
    points, attributes = town()
    attributes["alternating"] = np.arange(len(points)).astype(str)
    found = partition_with(points, attributes, Constraints(diverse=(("alternating", 3),)), 5)
    np.testing.assert_array_equal(found.labels, partition(points, 5, "swap"))
    assert found.price == 0


@pytest.mark.parametrize("algorithm", ["swap", "mdav"])
@pytest.mark.parametrize(
    "constraints",
    [Constraints(("age",)), Constraints(diverse=(("diagnosis", 2),)), Constraints(("age",), (("diagnosis", 2),))],
)
def test_price_is_what_more_is_lost_than_by_the_same_means_without_constraints(constraints, algorithm):
    points, attributes = town()
    found = partition_with(points, attributes, constraints, 5, algorithm)
    assert found.price == pytest.approx(found.loss / found.unconstrained_loss - 1)
    assert found.unconstrained_loss <= information_loss(points, partition(points, 5, algorithm)) + 1e-12
    assert found.price > -0.01
    assert f"{found.loss:.4f}" in found.lines()[0]


@pytest.mark.parametrize("seed", range(3))
def test_constraints_never_gain_anything(seed):
    """Crowds that keep to constraints are crowds without them, too: what chance lost is not to their credit."""
    points, attributes = town()
    for constraints in (Constraints(diverse=(("diagnosis", 2),)), Constraints(("diagnosis",))):
        found = partition_with(points, attributes, constraints, 5, "random", seed, "quick")
        assert found.loss >= found.unconstrained_loss
        assert found.price >= 0


def test_price_without_any_loss_before_has_no_end():
    points = np.repeat(np.random.default_rng(2).normal(size=(10, 4)), 2, axis=0)
    found = partition_with(points, {"twin": np.array(list("ab") * 10)}, Constraints(("twin",)), 2)
    assert found.unconstrained_loss < 1e-12 < found.loss
    assert found.price > 1e9


def test_more_diversity_costs_more():
    points, attributes = town()
    prices = [
        partition_with(points, attributes, Constraints(diverse=(("diagnosis", few),)), 5).price for few in (2, 3, 4)
    ]
    assert 0 < prices[0] < prices[1] < prices[2]


def test_crowds_are_as_large_as_rare_values_ask_for():
    """Six of 240 people are ill: six crowds can hold a second value, and no more."""
    points, attributes = town()
    attributes["ill"] = np.where(np.arange(240) < 6, "yes", "no")
    found = partition_with(points, attributes, Constraints(diverse=(("ill", 2),)), 5)
    assert len(crowds(found.labels)) == 6
    assert any("6 crowds at most" in note for note in found.notes)


def test_unknown_values_count_as_none():
    points, attributes = town()
    attributes["half"] = np.where(np.arange(240) % 2, "x", "")
    with pytest.raises(PartitionError, match="240 people with 1 known values of half, not 2: no diversity is possible"):
        partition_with(points, attributes, Constraints(diverse=(("half", 2),)), 5)


def test_too_few_values_are_refused_with_what_is_possible():
    points, attributes = town()
    with pytest.raises(PartitionError, match="4 known values of diagnosis, not 5: at most --diverse diagnosis:4"):
        partition_with(points, attributes, Constraints(diverse=(("diagnosis", 5),)), 5)


def test_more_values_than_k_make_crowds_of_that_many():
    points, attributes = town()
    found = partition_with(points, attributes, Constraints(diverse=(("diagnosis", 4),)), 2)
    assert np.bincount(found.labels).min() >= 4


def test_small_stratum_is_refused_by_name_and_joins_the_nearest_if_told_to():
    points, attributes = town()
    attributes["place"] = np.array(["far"] * 100 + ["near"] * 137 + ["island"] * 2 + [""])
    points[:100] += 50
    points[237:] += 1
    with pytest.raises(
        PartitionError, match=r"place 'island' \(2 people, fewer than k = 5\)(.|\n)*--merge-small"
    ) as told:
        partition_with(points, attributes, Constraints(("place",)), 5)
    assert "place unknown (1 people" in str(told.value)
    found = partition_with(points, attributes, Constraints(("place",), merge_small=True), 5)
    assert [(merge.stratum, merge.people) for merge in found.merged] == [
        ("place unknown", 1),
        ("place 'island' + place unknown", 3),
    ]
    assert found.merged[-1].into == "place 'near'"
    assert (
        "place unknown (1 people, fewer than k = 5) joined place 'island', the stratum with the nearest mean"
        in "\n".join(found.lines())
    )
    for members in crowds(found.labels):
        assert len({value == "far" for value in attributes["place"][members]}) == 1
    check_constraints(found.labels, attributes, Constraints(("place",)), found.merged)


def test_unknown_values_that_suffice_are_a_stratum_of_their_own():
    points, attributes = town()
    attributes["place"] = np.where(np.arange(240) < 30, "", "known")
    found = partition_with(points, attributes, Constraints(("place",)), 5)
    assert all(len(set(attributes["place"][members])) == 1 for members in crowds(found.labels))
    assert not found.merged


def test_stratum_without_enough_values_joins_another_if_told_to():
    points, attributes = town()
    attributes["place"] = np.where(attributes["diagnosis"] == "a", "clinic", "town")
    constraints = Constraints(("place",), (("diagnosis", 2),))
    with pytest.raises(PartitionError, match=r"place 'clinic' \(60 people with 1 known values of diagnosis"):
        partition_with(points, attributes, constraints, 5)
    found = partition_with(points, attributes, Constraints(("place",), (("diagnosis", 2),), merge_small=True), 5)
    assert len(found.merged) == 1


def test_a_thousand_small_strata_are_looked_at_once_each_and_listed_in_short():
    """Attributes that say something else of nearly everybody, such as a town: looked at anew after each merge, five
    thousand people took minutes."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(1500, 4))
    attributes = {"town": np.array([f"town {number}" for number in rng.integers(0, 1000, len(points))])}
    strata = strata_of(attributes, ("town",))
    looked: list[int] = []

    def unfit(rows: np.ndarray) -> str | None:
        looked.append(len(rows))
        return "too few" if len(rows) < 5 else None

    merged = merge_small(points, strata, unfit)
    assert len(looked) == len(strata.names) + len(merged)
    assert min(len(rows) for rows in strata_of(attributes, ("town",), merged).rows() if len(rows)) >= 5
    with pytest.raises(PartitionError, match="more like these") as refused:
        partition_with(points, attributes, Constraints(("town",)), 5, "mdav")
    assert len(str(refused.value)) < 2000
    found = partition_with(points, attributes, Constraints(("town",), merge_small=True), 5, "mdav")
    assert len(found.merged) == len(merged)
    assert len(found.lines()) < 30
    check_constraints(found.labels, attributes, Constraints(("town",)), found.merged)


def test_one_blob_of_many_strata_has_a_name_of_bounded_length():
    attributes = {"id": np.arange(400).astype(str)}
    points = np.random.default_rng(6).normal(size=(400, 3))
    found = partition_with(points, attributes, Constraints(("id",), merge_small=True), 400)
    assert len(found.merged) == 399
    assert max(len(str(merge)) for merge in found.merged) < 700


def test_nobody_is_told_to_merge_what_is_one_stratum():
    points, attributes = town()
    for constraints in (
        Constraints(("age",), (("diagnosis", 5),), merge_small=True),
        Constraints(("one",), (("diagnosis", 5),)),
    ):
        with pytest.raises(
            PartitionError, match=r"at most --diverse diagnosis:4 is possible(.|\n)*ask for less"
        ) as told:
            partition_with(points, attributes, constraints, 5)
        assert "--merge-small" not in str(told.value)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 0, 0, 1, 1, 1], "crowds that mix people of different age: 1"),
        ([0, 0, 1, 1, 1, 1], "1 distinct values of ill, not 2"),
    ],
)
def test_crowds_that_break_a_constraint_are_refused(labels, says):
    attributes = {"age": np.array(list("aabbbb")), "ill": np.array(list("xyyyyy"))}
    constraints = Constraints(("age",), (("ill", 2),))
    with pytest.raises(PartitionError, match=says):
        check_constraints(np.array(labels), attributes, constraints)


def test_attribute_nobody_has_is_refused_with_those_there_are():
    points, attributes = town()
    with pytest.raises(
        PartitionError, match="no attribute named 'agee' is known of these people; there are age, diagn"
    ):
        partition_with(points, attributes, Constraints(("agee",)), 5)


def test_attribute_of_other_people_is_refused():
    points, attributes = town()
    with pytest.raises(PartitionError, match="attribute age has 240 values for 100 people"):
        partition_with(points[:100], attributes, Constraints(("age",)), 5)


def test_people_handed_in_are_not_modified():
    points, attributes = town()
    before, values = points.copy(), attributes["diagnosis"].copy()
    labels = partition(points, 5, "mdav")
    kept = labels.copy()
    diversify(points, 5, [Sensitive("diagnosis", attributes["diagnosis"], 2)], lambda k: labels)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(attributes["diagnosis"], values)
    np.testing.assert_array_equal(labels, kept)


@pytest.mark.parametrize(("k", "most"), [(5, 0.06), (20, 0.01)])
def test_papers_sample_is_made_diverse_at_little_cost(k, most):
    """Values that go by looks: people are cut into four large groups, and each has its own."""
    if not CELEBA.is_file():
        pytest.skip("needs the paper's embeddings (../shared)")
    points = np.load(CELEBA)["embedding"]
    attributes = {"value": partition(points, 240, "swap", 0, "quick").astype(str)}
    found = partition_with(points, attributes, Constraints(diverse=(("value", 2),)), k)
    assert 0 < found.price < most


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_are_read():
    found = parse_constraints(["age_group", " gender"], ["diagnosis:3", "a:b:2"], True)
    assert found == Constraints(("age_group", "gender"), (("diagnosis", 3), ("a:b", 2)), True)
    assert found
    assert not parse_constraints([], [])


@pytest.mark.parametrize(
    ("separate", "diverse", "merge", "says"),
    [
        ([], ["diagnosis"], False, "'diagnosis' is not NAME:L"),
        ([], ["diagnosis:"], False, "is not NAME:L"),
        ([], [":3"], False, "is not NAME:L"),
        ([], ["diagnosis:-2"], False, "is not NAME:L"),
        ([], ["diagnosis:two"], False, "is not NAME:L"),
        ([], ["diagnosis:1"], False, "L is at least 2"),
        ([""], [], False, "wants the name of an attribute"),
        (["age", "age"], [], False, "age is constrained twice; once is enough"),
        (["age"], ["age:2"], False, "a crowd that holds one value of it cannot hold several"),
        ([], ["age:2"], True, "none without --separate"),
    ],
)
def test_options_that_make_no_sense_are_refused(separate, diverse, merge, says):
    with pytest.raises(PartitionError, match=says):
        parse_constraints(separate, diverse, merge)

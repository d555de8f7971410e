"""Distances, ranks and ROC figures against what is counted by hand, and against a plain bootstrap of pairs."""

import numpy as np
import pytest

from services.report.attacks import pairs as module
from services.report.attacks import verify as verifying
from services.report.attacks.identify import credit
from services.report.attacks.interval import draws_of
from services.report.attacks.pairs import Pairs, joined, pair, step_of
from services.report.attacks.verify import verify


def pairs_of(people: int, probes: int, apart: float, seed: int = 0, d: int = 8) -> Pairs:
    """Simulated people, `apart` times as far from each other as their photos are."""
    rng = np.random.default_rng(seed)
    middles = apart * rng.normal(size=(people, d))
    owners = np.repeat(np.arange(people), probes)
    return pair(
        middles[owners] + rng.normal(size=(len(owners), d)),
        owners,
        middles + rng.normal(size=(people, d)),
        np.arange(people),
    )


def steps(rows: list[list[int]], own: list[int]) -> Pairs:
    return Pairs(1000 * np.array(rows, np.int32), np.array(own), np.arange(len(rows[0])))


def by_hand(genuine: np.ndarray, impostors: np.ndarray, level: float) -> float:
    """TAR at a FAR where nothing ties: the threshold just below the first impostor too many."""
    first_too_many = np.sort(impostors)[int(level * len(impostors))]
    return float((genuine < first_too_many).mean())


def impostors_of(one: Pairs) -> np.ndarray:
    other = np.ones(one.steps.shape, bool)
    other[np.arange(len(one.own)), one.own] = False
    return one.steps[other]


def test_distances_are_those_to_the_nearest_face_of_each_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)  # several blocks
    rng = np.random.default_rng(0)
    probes, gallery = 5 + rng.normal(size=(30, 6)), 5 + rng.normal(size=(40, 6))
    identities = rng.permutation(np.repeat([3, 8, 9, 20], 10))
    owners = rng.choice(identities, 30)
    found = pair(probes, owners, gallery, identities)
    plain = np.linalg.norm(probes[:, None] - gallery, axis=2)
    least = np.array([plain[:, identities == one].min(axis=1) for one in (3, 8, 9, 20)]).T
    np.testing.assert_allclose(found.steps * step_of(probes, gallery), least, atol=1e-5)
    np.testing.assert_array_equal(found.owners, owners)


def test_equal_faces_are_no_step_apart_far_from_the_origin() -> None:
    rng = np.random.default_rng(1)
    faces = (100 + rng.normal(size=(50, 128))).astype(np.float32)
    found = pair(faces, np.arange(50), faces, np.arange(50))
    np.testing.assert_array_equal(found.genuine, 0)


def test_a_distance_beyond_all_others_is_the_largest_and_not_a_negative_one() -> None:
    near = np.array([[0.0] * 3, [1e-3] * 3])
    found = pair(near, np.arange(2), np.array([[0.0] * 3, [1e9] * 3]), np.arange(2), step=1e-3)
    assert found.steps[0, 1] == module.MOST
    np.testing.assert_array_equal(credit(found, 1), [1, 0])


def test_ties_are_shared_out_at_every_rank() -> None:
    tied = steps([[1, 5, 5, 5, 9], [5, 5, 5, 5, 5], [3, 2, 4, 4, 4]], [1, 0, 0])
    np.testing.assert_allclose(credit(tied, 1), [0, 1 / 5, 0])
    np.testing.assert_allclose(credit(tied, 2), [1 / 3, 2 / 5, 1])
    np.testing.assert_allclose(credit(tied, 5), [1, 1, 1])


def test_one_step_is_a_tie_and_two_are_none() -> None:
    close = Pairs(np.array([[100, 101, 99, 98, 102]], np.int32), np.array([0]), np.arange(5))
    np.testing.assert_allclose(credit(close, 1), [0])  # one is nearer
    np.testing.assert_allclose(credit(close, 2), [1 / 3])  # two tie


def test_credit_is_the_share_of_random_orders_in_which_the_own_person_is_among_the_first() -> None:
    rng = np.random.default_rng(2)
    tied = steps(rng.integers(4, size=(20, 12)).tolist(), rng.integers(12, size=20).tolist())
    shuffled = np.zeros(20)
    for _ in range(4000):
        order = np.argsort(tied.steps + rng.random(tied.steps.shape), axis=1)
        shuffled += (order[:, :3] == tied.own[:, None]).any(axis=1)
    np.testing.assert_allclose(credit(tied, 3), shuffled / 4000, atol=0.04)


@pytest.mark.parametrize(("people", "probes"), [(60, 3), (150, 8)])  # few corners, and more than a draw is given
@pytest.mark.parametrize("apart", [0.5, 1.5])
def test_tar_and_eer_are_what_sorting_all_pairs_gives(people: int, probes: int, apart: float) -> None:
    one = pairs_of(people, probes, apart)
    found = verify([one], 0)
    impostors = impostors_of(one)
    assert found.impostors == len(impostors)
    for level, tar in found.tar.items():
        if len(impostors) * float(level) < 1:
            assert tar is None
        else:
            assert tar is not None
            assert tar.value == pytest.approx(by_hand(one.genuine, impostors, float(level)), abs=2 / len(one.genuine))
            assert tar.low <= tar.value <= tar.high
            assert (tar.trials, tar.people) == (people * probes, people)
    thresholds = np.sort(one.genuine)
    errors = [((one.genuine > t).mean(), (impostors <= t).mean()) for t in thresholds]
    refused, accepted = min(errors, key=lambda both: abs(both[0] - both[1]))
    assert found.eer.value == pytest.approx((refused + accepted) / 2, abs=2 / len(one.genuine))


def test_too_few_impostors_for_a_far_give_none() -> None:
    assert verify([pairs_of(31, 1, 1.0)], 0).tar["0.001"] is None  # 930
    enough = verify([pairs_of(33, 1, 1.0)], 0)  # 1056
    assert enough.tar["0.001"] is not None
    assert enough.tar["0.0001"] is None


def test_a_tie_of_genuine_and_impostor_pairs_is_accepted_in_part() -> None:
    """Everybody's surrogate is the same: at a FAR of 0.001, blind acceptance gets 0.001 of the genuine pairs."""
    one = steps([[7] * 40] * 40, list(range(40)))
    found = verify([one], 0)
    assert found.tar["0.001"] is not None
    assert found.tar["0.001"].value == pytest.approx(0.001)
    assert found.eer.value == pytest.approx(0.5)
    crowds = np.arange(40) // 4
    in_crowds = steps((crowds[:, None] != crowds).astype(int).tolist(), list(range(40)))
    tied = verify([in_crowds], 0)
    assert tied.tar["0.001"] is not None
    assert tied.tar["0.001"].value == pytest.approx(0.001 / (3 / 39))  # 3 of 39 impostor pairs are within a crowd
    assert tied.eer.value == pytest.approx((3 / 39) / (1 + 3 / 39))  # accept a of the tie: 1 - a = a * 3 / 39
    rounded = in_crowds.steps.copy()
    rounded[np.arange(40), np.arange(40)] += 1
    assert verify([Pairs(rounded, in_crowds.own, in_crowds.people)], 0) == tied


@pytest.mark.parametrize("apart", [1.2, 1.5])
def test_intervals_agree_with_a_bootstrap_that_weighs_every_pair(apart: float) -> None:
    one = pairs_of(60, 3, apart)
    found = verify([one], 5)
    flat, genuine = one.steps.ravel(), one.genuine
    probe, person = np.repeat(one.own, 60), np.tile(np.arange(60), 180)
    order = np.argsort(flat)
    tars, eers = [], []
    for weights in draws_of(60, 5)[:400]:
        pairs = (weights[probe] * weights[person] * (probe != person))[order]
        far = np.cumsum(pairs) / pairs.sum()
        threshold = flat[order][np.searchsorted(far, 0.001, side="right")]
        tars.append((weights[one.own] * (genuine < threshold)).sum() / weights[one.own].sum())
        at = np.searchsorted(flat[order], np.sort(genuine), side="right") - 1
        frr = 1 - np.cumsum(weights[one.own][np.argsort(genuine)]) / weights[one.own].sum()
        eers.append(frr[np.argmin(np.abs(frr - far[at]))])
    for estimate, plain in ((found.tar["0.001"], tars), (found.eer, eers)):
        assert estimate is not None
        low, high = np.percentile(plain, [2.5, 97.5])
        assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.3)
        assert estimate.low == pytest.approx(low, abs=0.25 * (high - low))


@pytest.mark.parametrize("apart", [0.5, 1.2, 3.0])
def test_intervals_of_a_thinned_curve_are_those_of_the_whole_one(monkeypatch: pytest.MonkeyPatch, apart: float) -> None:
    one = pairs_of(100, 6, apart)
    thinned = verify([one], 0)
    monkeypatch.setattr(verifying, "CORNERS", 10**6)
    whole = verify([one], 0)
    for some, every in ((thinned.tar["0.001"], whole.tar["0.001"]), (thinned.eer, whole.eer)):
        assert some is not None
        assert every is not None
        assert (some.value, some.low, some.high) == pytest.approx((every.value, every.low, every.high), abs=0.005)


def test_the_interval_of_an_eer_covers_the_truth() -> None:
    truth = verify([pairs_of(1500, 2, 1.0, seed=99)], 0).eer.value
    covered = 0
    for case in range(100):
        eer = verify([pairs_of(30, 2, 1.0, seed=case)], case).eer
        covered += eer.low <= truth <= eer.high
    assert 88 <= covered <= 100


def test_perfect_separation_is_not_made_out_to_be_certain() -> None:
    found = verify([pairs_of(40, 2, 50.0)], 0)
    assert found.tar["0.001"] is not None
    assert (found.tar["0.001"].value, found.eer.value) == (1, 0)
    assert found.tar["0.001"].low == pytest.approx(40 / (40 + 1.96**2), abs=1e-3)
    assert found.eer.high == pytest.approx(1.96**2 / (40 + 1.96**2), abs=1e-3)


def test_galleries_are_taken_together() -> None:
    one = pairs_of(50, 2, 1.0)
    once, twice = verify([one], 0), verify([one, one], 0)
    assert twice.impostors == 2 * once.impostors
    assert twice.eer.trials == 2 * once.eer.trials
    assert twice.eer.value == pytest.approx(once.eer.value)
    assert (twice.eer.low, twice.eer.high) == pytest.approx((once.eer.low, once.eer.high), abs=1e-6)


def test_parts_of_the_probes_join() -> None:
    one = pairs_of(50, 2, 1.0)
    halves = [Pairs(one.steps[rows], one.own[rows], one.people) for rows in (slice(0, 30), slice(30, None))]
    assert verify([joined(halves)], 0) == verify([one], 0)


def test_probes_of_few_people_among_many_have_an_interval_of_few() -> None:
    one = pairs_of(80, 2, 1.0)
    few = Pairs(one.steps[:10], one.own[:10], one.people)
    assert verify([few], 0).eer.people == 5
    assert verify([few], 0).eer.high - verify([few], 0).eer.low > verify([one], 0).eer.high - verify([one], 0).eer.low

"""Attacks on simulated faces, of which it is known what they have to come to."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from services.errors import ReportError
from services.report.attacks.adapt import folds, learn
from services.report.attacks.chance import chance
from services.report.attacks.run import attack, unprotected
from services.report.faces import ORIGINAL, RELEASED, Faces, Version
from services.report.results import Attack

D = 32


def faces_of(takes: list[int], crowds: list[int]) -> Faces:
    """People with so many photos each, and of these crowds."""
    ids = np.repeat(np.arange(len(takes)), takes)
    n = len(ids)
    nth = np.concatenate([np.arange(count) for count in takes])
    paths = tuple(f"{row}.jpg" for row in range(n))
    names = tuple(f"person {one}" for one in range(len(takes)))
    return Faces(names, ids, paths, np.arange(n), nth, np.array(crowds)[ids], np.full(n, "enrolled"))


def version_of(name: str, embeddings: np.ndarray, shown: np.ndarray | None = None) -> Version:
    n = len(embeddings)
    shown = np.ones(n, bool) if shown is None else shown
    seen = np.where(shown[:, None], embeddings, np.nan).astype(np.float32)
    return Version(name, "simulated", shown, shown, np.zeros((n, 5, 2), np.float32), {"one": seen}, {}, {})


def people_of(faces: Faces, seed: int = 0, noise: float = 0.2) -> Version:
    """Photos of one person are `noise` apart where people are 1 apart."""
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(len(faces.people), D))
    return version_of(ORIGINAL, people[faces.identities] + noise * rng.normal(size=(len(faces), D)))


def surrogates_of(faces: Faces, original: Version, noise: float = 0.0) -> Version:
    """Crowds' means of people's means; `noise` is what differs from photo to photo, whoever is in it."""
    crowds = np.unique(faces.crowds)
    means = [original.embeddings["one"][faces.crowds == crowd].mean(axis=0) for crowd in crowds]
    hidden = np.array(means)[np.searchsorted(crowds, faces.crowds)]
    return version_of(RELEASED, hidden + noise * np.random.default_rng(9).normal(size=hidden.shape))


def by_name(attacks: list[Attack]) -> Mapping[tuple[str, str], Attack]:
    return {(one.attack, one.photos): one for one in attacks}


def attacked(faces: Faces, original: Version, version: Version, **more: np.ndarray) -> Mapping[tuple[str, str], Attack]:
    return by_name(attack(faces, original, version, "one", True, 0, **more))


K = 5
CROWDS = [one // K for one in range(60)]


@pytest.mark.parametrize("k", [2, 5])
def test_surrogates_that_depend_on_the_crowd_alone_give_one_in_k(k: int) -> None:
    faces = faces_of([3] * 60, [one // k for one in range(60)])
    original = people_of(faces)
    done = attacked(faces, original, surrogates_of(faces, original))
    assert {name for name, _ in done} == {"naive", "reverse", "parrot", "adapted parrot"}
    for name in ("parrot", "adapted parrot"):
        rank1 = done[name, "another"].rank1
        assert (rank1.low, rank1.value, rank1.high) == pytest.approx((1 / k, 1 / k, 1 / k))
    for one in done.values():  # a tie of k at best, or one name for all of k: whatever the probe, at most 1/k
        assert one.rank1.value <= 1 / k + 1e-9
    for photos in ("another", "the same"):
        assert done["naive", photos].rank1.value > 1 / (2 * k)  # the crowd itself is told


def test_embeddings_of_a_crowd_that_differ_by_rounding_still_tie() -> None:
    faces = faces_of([2] * 60, CROWDS)
    original = people_of(faces)
    exact = surrogates_of(faces, original)
    rounding = 1 + 1e-7 * np.random.default_rng(1).choice([-1, 0, 1], exact.embeddings["one"].shape)
    near = version_of(RELEASED, exact.embeddings["one"] * rounding)
    done = [attacked(faces, original, one) for one in (exact, near)]
    for one, name in product(done, ("parrot", "adapted parrot")):
        rank1 = one[name, "another"].rank1
        assert (rank1.low, rank1.value, rank1.high) == pytest.approx((1 / K, 1 / K, 1 / K))
    naive = [one["naive", "another"].rank1.value for one in done]
    assert naive[1] == pytest.approx(naive[0], abs=0.03)


def test_nothing_hidden_is_recognised_and_noise_is_guessed() -> None:
    faces = faces_of([3] * 60, CROWDS)
    original = people_of(faces)
    (plain,) = unprotected(faces, original, "one", False, 0)
    assert (plain.attack, plain.version, plain.clustered) == ("none", ORIGINAL, False)
    assert plain.rank1.value == 1
    assert plain.rank1.low == pytest.approx(60 / (60 + 1.96**2), abs=1e-3)  # 60 people, not 240 trials
    assert plain.tar["0.001"] is not None
    assert plain.tar["0.001"].value == 1
    assert plain.eer is not None
    assert plain.eer.value == 0
    assert (plain.probes, plain.gallery, plain.impostors, plain.hidden) == (180, 60, 240 * 59, 0)
    noise = version_of("noise", np.random.default_rng(5).normal(size=(len(faces), D)))
    for one in attacked(faces, original, noise).values():
        assert one.rank1.low <= 1 / 60 <= one.rank1.high
        assert one.rank5.low <= 5 / 60 <= one.rank5.high
        assert one.eer is not None
        assert one.eer.low <= 0.5 <= one.eer.high


def test_hiding_that_moves_everybody_alike_falls_to_the_parrot_and_not_to_the_naive_attack() -> None:
    faces = faces_of([2] * 60, CROWDS)
    original = people_of(faces)
    rng = np.random.default_rng(2)
    moved = original.embeddings["one"] @ np.linalg.qr(rng.normal(size=(D, D)))[0] + 3 * rng.normal(size=D)
    done = attacked(faces, original, version_of("moved", moved))
    assert done["parrot", "another"].rank1.value == 1
    assert done["naive", "another"].rank1.high < 0.2
    assert done["reverse", "another"].rank1.high < 0.2


def test_what_hiding_adds_to_every_photo_anew_is_learnt_by_the_adapted_parrot() -> None:
    faces = faces_of([3] * 80, [one // K for one in range(80)])
    original = people_of(faces)
    rng = np.random.default_rng(3)
    nuisance = rng.normal(size=(2, D))
    added = original.embeddings["one"] + 4 * rng.normal(size=(len(faces), 2)) @ nuisance
    done = attacked(faces, original, version_of("added", added))
    plain, adapted = done["parrot", "another"], done["adapted parrot", "another"]
    assert adapted.rank1.low > plain.rank1.high
    assert adapted.rank1.value > 0.9
    assert adapted.eer is not None
    assert plain.eer is not None
    assert adapted.eer.high < plain.eer.low


def test_adaptation_is_not_learnt_from_the_people_or_crowds_it_is_used_on() -> None:
    faces = faces_of([2] * 60, CROWDS)
    faces.crowds[3] = 7  # a stranger's second photo may be nearest to another crowd
    noise = np.random.default_rng(4).normal(size=(len(faces), D))
    parts = folds(faces, noise, np.ones(len(faces), bool))
    assert parts is not None
    assert sorted(np.concatenate([part.people for part in parts])) == list(range(60))
    for part in parts:
        theirs = np.isin(faces.identities, part.people)
        theirs |= np.isin(faces.crowds, faces.crowds[theirs])
        np.testing.assert_allclose(part.change, learn(noise[~theirs], faces.identities[~theirs]))


def test_people_without_a_crowd_are_parted_one_by_one() -> None:
    faces = faces_of([2] * 60, [-1] * 60)
    parts = folds(faces, np.random.default_rng(4).normal(size=(len(faces), D)), np.ones(len(faces), bool))
    assert parts is not None
    assert [len(part.people) for part in parts] == [12] * 5


def test_the_adapted_parrot_learns_in_which_directions_people_differ_at_all() -> None:
    faces = faces_of([3] * 80, [one // K for one in range(80)])
    rng = np.random.default_rng(8)
    people = 2 * rng.normal(size=(80, 4)) @ np.linalg.qr(rng.normal(size=(D, 4)))[0].T
    scattered = version_of(ORIGINAL, people[faces.identities] + rng.normal(size=(len(faces), D)))
    done = attacked(faces, scattered, scattered)
    assert done["adapted parrot", "another"].rank1.low > done["parrot", "another"].rank1.value


@pytest.mark.parametrize(("people", "takes"), [(20, 2), (40, 3)])
def test_adaptation_does_little_harm_where_there_is_nothing_to_learn(people: int, takes: int) -> None:
    """Fewer contrasts than dimensions, and photos of a person that scatter alike in all of them."""
    faces = faces_of([takes] * people, [one // 2 for one in range(people)])
    original = people_of(faces, noise=1.2)
    done = attacked(faces, original, original)
    plain, adapted = done["parrot", "another"].rank1, done["adapted parrot", "another"].rank1
    assert 0.3 < plain.value < 0.9
    assert adapted.value > plain.value - 0.05


def test_adaptation_learns_nothing_from_noise() -> None:
    faces = faces_of([2] * 60, CROWDS)
    noise = version_of("noise", np.random.default_rng(6).normal(size=(len(faces), D)))
    adapted = attacked(faces, people_of(faces), noise)["adapted parrot", "another"]
    assert adapted.rank1.low <= 1 / 60 <= adapted.rank1.high


@pytest.mark.parametrize("crowds", [[one // 3 for one in range(9)], [0] * 60])
def test_too_few_people_or_one_crowd_leave_the_adapted_parrot_out(crowds: list[int]) -> None:
    faces = faces_of([2] * len(crowds), crowds)
    original = people_of(faces)
    assert ("adapted parrot", "another") not in attacked(faces, original, original)


def test_the_same_photo_is_told_by_what_is_around_the_face() -> None:
    faces = faces_of([2] * 60, CROWDS)
    original = people_of(faces)
    around = 0.4 * np.random.default_rng(7).normal(size=(len(faces), D))  # of this photo, before as after
    before = version_of(ORIGINAL, original.embeddings["one"] + around)
    done = attacked(faces, before, version_of(RELEASED, surrogates_of(faces, original).embeddings["one"] + around))
    for name in ("naive", "reverse"):
        assert done[name, "the same"].rank1.low > done[name, "another"].rank1.high


def test_faces_that_are_not_shown_are_left_out_and_counted() -> None:
    faces = faces_of([2] * 20, [one // K for one in range(20)])
    original = people_of(faces)
    shown = np.ones(len(faces), bool)
    shown[[0, 1, 2]] = False  # all of the first person, and the second's first photo
    done = attacked(faces, original, version_of(RELEASED, original.embeddings["one"], shown))
    parrot, naive = done["parrot", "another"], done["naive", "another"]
    assert (parrot.hidden, naive.hidden) == (3, 3)
    assert (parrot.probes, parrot.gallery) == (36, 18 + 1)
    assert naive.probes == 36 + 1  # the second person's first photo, looked for where their last one is published
    assert parrot.rank1.value == 1
    assert done["naive", "the same"].probes == 37
    for photos in ("another", "the same"):  # who is published, and whom the attacker has photos of
        assert (done["naive", photos].gallery, done["reverse", photos].gallery) == (19, 20)


def test_a_version_that_shows_nothing_cannot_be_attacked() -> None:
    faces = faces_of([2] * 20, [one // K for one in range(20)])
    original = people_of(faces)
    nothing = np.zeros(len(faces), bool)
    assert attack(faces, original, version_of("black", original.embeddings["one"], nothing), "one", True, 0) == []
    no_columns = Version("black", "", nothing, nothing, np.zeros((40, 5, 2), np.float32), {}, {}, {})
    assert attack(faces, original, no_columns, "one", True, 0) == []


def test_people_with_one_photo_are_looked_for_with_the_same_photo_only_and_are_in_the_gallery() -> None:
    faces = faces_of([1] * 10 + [2] * 10, [one // K for one in range(20)])
    original = people_of(faces)
    done = attacked(faces, original, original)
    assert (done["parrot", "another"].probes, done["parrot", "another"].rank1.people) == (20, 10)
    assert done["parrot", "another"].gallery == 20
    assert done["naive", "the same"].rank1.people == 20
    alone = faces_of([1] * 20, [one // K for one in range(20)])
    only = people_of(alone)
    assert unprotected(alone, only, "one", True, 0) == []
    assert {photos for _, photos in attacked(alone, only, only)} == {"the same"}


def test_probes_of_a_group_are_looked_for_among_everybody() -> None:
    faces = faces_of([2] * 40, [one // K for one in range(40)])
    original = people_of(faces)
    group = faces.identities < 8
    one = attacked(faces, original, original, among=group)["parrot", "another"]
    assert (one.probes, one.gallery, one.rank1.people, one.impostors) == (16, 40, 8, 16 * 39)


def test_one_person_cannot_be_told_from_anybody() -> None:
    faces = faces_of([3], [0])
    original = people_of(faces)
    with pytest.raises(ReportError, match="say who is in more"):
        attack(faces, original, original, "one", True, 0)
    with pytest.raises(ReportError, match="say who is in more"):
        unprotected(faces, original, "one", True, 0)


def test_two_people_are_enough() -> None:
    faces = faces_of([2, 2], [0, 0])
    original = people_of(faces)
    done = attacked(faces, original, surrogates_of(faces, original))
    assert done["parrot", "another"].rank1.value == pytest.approx(0.5)
    assert done["parrot", "another"].tar == {"0.001": None, "0.0001": None}  # four impostor pairs


def test_the_line_is_that_of_the_people_who_are_in_the_gallery() -> None:
    faces = faces_of([2] * 5, [0, 0, 1, 1, 1])
    assert chance(faces) == pytest.approx((4 / 2 + 6 / 3) / 10)
    assert chance(faces, sizes=np.array([5, 5])) == pytest.approx(1 / 5)
    assert np.isnan(chance(faces_of([1] * 5, [0, 0, 1, 1, 1])))
    assert chance(faces_of([1] * 4, [0, 0, 1, 1]), photos="the same") == pytest.approx(1 / 2)
    original = people_of(faces)
    parrot = attacked(faces, original, surrogates_of(faces, original))["parrot", "another"]
    assert parrot.rank1.value == pytest.approx(chance(faces))


def test_faces_without_a_surrogate_are_not_part_of_the_line() -> None:
    masked = faces_of([2] * 5, [0, 0, 1, 1, -1])
    assert chance(masked) == pytest.approx(1 / 2)


def test_the_same_seed_gives_the_same_figures() -> None:
    faces = faces_of([2] * 20, [one // K for one in range(20)])
    original = people_of(faces, noise=1.0)
    assert attack(faces, original, original, "one", True, 1) == attack(faces, original, original, "one", True, 1)

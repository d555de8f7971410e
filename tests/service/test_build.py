"""A population becomes an index, grows, and is refused where it would break k: with the real models."""

import asyncio
import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from services.anonymizer.models import choose
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError, IndexRefused, PartitionError, PopulationBusy
from services.population.build import steps
from services.population.build.cli import show
from services.population.build.options import BuildOptions, Built, Place
from services.population.build.steps import build, forget_removed
from services.population.constraints import Constraints
from services.population.demo import sample_people
from services.population.index import EnrolmentStore, building, open_index, read_index, versions_of
from services.population.people import Population
from services.population.sample import sampler_for

K = 3


@pytest.fixture(scope="module")
def people(stack, settings) -> Population:
    """Eighteen people who do not exist."""
    models = choose(settings)

    async def sample() -> Population:
        async with Triton(stack.triton.url, timeout_s=120) as triton:
            sampler = sampler_for(models.generator, settings.model_repository)
            return await sample_people(
                18, 11, triton, models, sampler, settings.model_repository, lambda *told: None, "town"
            )

    return asyncio.run(sample())


@pytest.fixture
def place(settings, tmp_path) -> Place:
    store = EnrolmentStore(tmp_path / "maps" / "town", tmp_path / "keys" / "town.key")
    return Place(tmp_path / "indexes" / "town", store, settings.model_repository, choose(settings))


def some(people: Population, rows: slice | list[int]) -> Population:
    parts = ("identities", "embeddings", "latents", "photos")
    return replace(people, **{name: getattr(people, name)[rows] for name in parts})


def built(population: Population, place: Place, stack, **options: object) -> Built:
    async def through() -> Built:
        async with Triton(stack.triton.url, timeout_s=120) as triton:
            chosen = BuildOptions(**{"k": K, "effort": "quick", **options})
            return await build(population, chosen, place, triton, None, lambda *told: None)

    with building(place.folder):
        return asyncio.run(through())


def test_first_version_has_crowds_of_k_and_a_surrogate_for_each(people, place, stack):
    index = built(some(people, slice(9)), place, stack).index
    assert index.crowds.sizes.tolist() == [3, 3, 3]
    assert (index.ledger[-1].step, index.ledger[-1].people_added, index.ledger[-1].epoch) == ("built", 9, 1)
    members = index.enrolled.crowd == 1
    np.testing.assert_allclose(index.crowds.surrogate_latents[1], people.latents[:9][members].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(index.crowds.centroids[1], people.embeddings[:9][members].mean(axis=0), atol=1e-6)


def test_same_seed_builds_the_same_version(people, place, stack, tmp_path):
    other = replace(place, folder=tmp_path / "again" / "town", store=EnrolmentStore(tmp_path / "m", tmp_path / "k"))
    first, second = (built(some(people, slice(9)), where, stack) for where in (place, other))
    assert first.index.version == second.index.version


def test_growing_keeps_what_was_there_to_the_last_bit(people, place, stack):
    first = built(some(people, slice(9)), place, stack).index
    waiting = built(some(people, slice(11)), place, stack)
    assert (waiting.plan.step, waiting.plan.waiting, len(versions_of(place.folder))) == (None, 2, 1)
    grown = built(some(people, slice(14)), place, stack)
    assert grown.index.ledger[-1].step == "grown"
    assert grown.index.crowds.first(3).same_as(first.crowds).all()
    assert grown.index.crowds.sizes.tolist() == [3, 3, 3, 5]
    assert grown.difference.exposure.below_k == 0
    assert read_index(place.folder).version == grown.index.version


def test_removed_people_leave_every_map_and_their_crowd_stays(people, place, stack):
    built(some(people, slice(9)), place, stack)
    name = str(people.identities[4])
    after = built(some(people, [0, 1, 2, 3, 5, 6, 7, 8]), place, stack)
    assert (after.plan.step, after.plan.people_removed) == ("refreshed", 1)
    assert after.index.crowds.sizes.tolist() == [3, 3, 3]
    for version in versions_of(place.folder):
        assert name not in place.store.read(version.name).identities


def test_maps_that_a_killed_build_did_not_come_to_are_redacted_by_the_next(people, place, stack, monkeypatch):
    first = built(some(people, slice(9)), place, stack).index.version
    name, left = str(people.identities[4]), some(people, [0, 1, 2, 3, 5, 6, 7, 8])
    with monkeypatch.context() as patch:
        patch.setattr(steps, "_redact", lambda *_: None)
        built(left, place, stack)
    assert name in place.store.read(first).identities
    (place.store.folder / f".{first}-half").touch()
    assert built(left, place, stack).plan.step is None
    assert name not in place.store.read(first).identities
    assert not list(place.store.folder.glob(".*"))


def test_going_on_from_an_older_version_is_refused_where_it_would_tell_people_apart(people, place, stack):
    first = built(some(people, slice(9)), place, stack).index.version
    served = built(some(people, slice(12)), place, stack).index.version
    (place.folder / "current").unlink()
    (place.folder / "current").symlink_to(first)
    with pytest.raises(IndexRefused, match=f"does not follow {served}.*--new-epoch"):
        built(some(people, slice(13)), place, stack)
    assert read_index(place.folder).version == first
    assert built(some(people, slice(12)), place, stack).index.version == served  # what was served is the same again
    (place.folder / "current").unlink()
    (place.folder / "current").symlink_to(first)
    rebuilt = built(some(people, slice(13)), place, stack, new_epoch=True).index
    assert rebuilt.ledger[-1].withdraws == [first, served]


def test_crowd_of_one_person_under_many_names_is_refused_though_duplicates_are_ignored(people, place, stack):
    vectors = some(people, slice(9)).embeddings.copy()
    vectors[:3] = vectors[0]
    with pytest.raises(IndexRefused, match="very vector of a member"):
        built(replace(some(people, slice(9)), embeddings=vectors), place, stack, duplicates="ignore")
    assert not place.folder.exists()


def test_what_is_shown_of_a_build_has_the_surrogates_loss_and_risk(people, place, stack):
    shown = io.StringIO()
    show(built(some(people, slice(9)), place, stack), Console(file=shown, width=160))
    for word in ("9 people in 3 crowds", "loss", "dlib-resnet < 0.5", "mean"):
        assert word in shown.getvalue()


def test_constraints_tell_their_price_and_count_people_to_the_operator_alone(people, place, stack):
    """Nine people, one of them a child: that there is one is nothing to publish with an index."""
    age = np.array(["adult"] * 8 + ["child"])
    nine = replace(some(people, slice(9)), attributes={"age": age})
    done = built(nine, place, stack, constraints=Constraints(("age",), merge_small=True))
    shown = io.StringIO()
    show(done, Console(file=shown, width=160))
    assert "without constraints: +0.0%" in shown.getvalue()
    assert "age 'child' (1 people, fewer than k = 3) joined age 'adult'" in shown.getvalue()
    assert "child" not in (place.folder / done.index.version / "manifest.json").read_text()


def test_newcomers_who_would_mix_wait_while_others_are_served_and_the_removed_leave(people, place, stack):
    """Neither another k nor --merge-small is possible within an epoch, so there was no way on."""
    grown = replace(some(people, slice(14)), attributes={"age": np.array(["adult"] * 12 + ["child"] * 2)})
    options = {"constraints": Constraints(("age",))}
    built(replace(some(grown, slice(9)), attributes={"age": grown.attributes["age"][:9]}), place, stack, **options)
    kept = list(range(1, 14))
    done = built(replace(some(grown, kept), attributes={"age": grown.attributes["age"][1:]}), place, stack, **options)
    assert (done.plan.step, done.plan.waiting, done.plan.people_removed) == ("grown", 2, 1)
    assert done.index.crowds.sizes.tolist() == [3, 3, 3, 3]
    assert people.identities[0] not in done.index.enrolled.identities


@pytest.mark.parametrize(
    ("options", "what"),
    [({"k": 4}, "other k"), ({"surrogates": "random"}, "other surrogates"),
     ({"constraints": Constraints(separate=("age",))}, "other constraints")],
)  # fmt: skip
def test_other_choices_than_the_first_ones_need_a_new_epoch(people, place, stack, options, what):
    built(some(people, slice(9)), place, stack)
    with pytest.raises(IndexRefused, match=f"{what}.*--new-epoch"):
        built(some(people, slice(14)), place, stack, **options)


def test_new_epoch_names_what_is_to_be_withdrawn(people, place, stack):
    first = built(some(people, slice(9)), place, stack).index
    second = built(some(people, slice(12)), place, stack).index
    rebuilt = built(some(people, slice(12)), place, stack, k=4, new_epoch=True)
    assert rebuilt.index.ledger[-1].withdraws == [first.version, second.version]
    assert rebuilt.index.ledger[-1].epoch == 2
    assert rebuilt.difference.exposure.below_k > 0  # that is what they are withdrawn for
    again = built(some(people, slice(12)), place, stack, k=4, new_epoch=True, seed=1)
    assert again.index.ledger[-1].withdraws == [rebuilt.index.version]


def test_two_names_of_one_person_do_not_count_twice(people, place, stack):
    """Nine identities, two of them nearly equal: eight people, so that two crowds of four hold them."""
    twins = some(people, slice(9))
    vectors = twins.embeddings.copy()
    vectors[8] = vectors[0] + np.float32(0.001)
    done = built(replace(twins, embeddings=vectors), place, stack)
    assert done.duplicates == 1
    assert done.index.crowds.sizes.sum() == 8
    assert done.index.enrolled.crowd[0] == done.index.enrolled.crowd[8]
    with pytest.raises(EnrolmentError, match="1 pairs of identities"):
        built(replace(twins, embeddings=vectors), place, stack, duplicates="refuse", new_epoch=True)


@pytest.mark.parametrize(
    ("count", "k", "says"), [(9, 1, "at least 2"), (2, 3, "cannot form a crowd"), (0, 3, "nobody")]
)
def test_impossible_k_is_refused_and_leaves_nothing(people, place, stack, count, k, says):
    with pytest.raises((PartitionError, EnrolmentError), match=says):
        built(some(people, slice(count)), place, stack, k=k)
    assert not place.folder.exists()


@pytest.mark.parametrize("part", ["embedder", "generator", "models_sha256"])
def test_population_of_other_models_is_refused(people, place, stack, part):
    other = {"dlib-resnet": "0" * 64} if part == "models_sha256" else "another"
    mixed = replace(people, made_with={**people.made_with, part: other})
    with pytest.raises(EnrolmentError, match="enrolled with"):
        built(mixed, place, stack)


def test_population_without_latents_says_how_to_get_them(people, place, stack):
    with pytest.raises(EnrolmentError, match="fit inversion"):
        built(replace(people, latents=None), place, stack)


def test_second_builder_is_told_to_wait(place):
    with (
        building(place.folder),
        pytest.raises(PopulationBusy, match="another command is writing to index town"),
        building(place.folder),
    ):
        pass


def test_tampered_version_is_not_built_upon(people, place, stack):
    built(some(people, slice(9)), place, stack)
    crowds = place.folder / "current" / "crowds.npz"
    data = bytearray(crowds.read_bytes())
    data[-1] ^= 1
    crowds.write_bytes(data)
    with pytest.raises(IndexRefused, match=r"was changed.*move .* away, and build a first version"):
        built(some(people, slice(14)), place, stack)


def test_built_index_opens_with_its_map(people, place, stack, settings):
    index = built(some(people, slice(9)), place, stack).index
    told = {"index": str(place.folder), "enrolment_maps": place.store.folder, "enrolment_key": place.store.key_file}
    found = open_index(settings.model_copy(update={**told, "enrolment": "require"}))
    assert found.version == index.version
    assert found.enrolled.identities.tolist() == people.identities[:9].tolist()


def test_everybody_who_was_removed_leaves_the_maps_though_nobody_is_left_to_build_with(people, place, stack):
    version = built(some(people, slice(9)), place, stack).index.version
    everybody = people.identities[:9].tolist()
    with building(place.folder):
        assert forget_removed(place, {*everybody[:4], "somebody of another population"}) == 5
        assert sorted(place.store.read(version).identities.tolist()) == sorted(everybody[4:])
        assert forget_removed(place, set(everybody)) == 0
    assert len(place.store.read(version).identities) == len(place.store.read(version).embeddings) == 0
    assert read_index(place.folder).crowds.sizes.tolist() == [3, 3, 3]  # crowds stay, and k with them

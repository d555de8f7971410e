"""Latents: truncation, one w for every layer, and what a generator's model is fed."""

import numpy as np
import pytest

from services.anonymizer.latents import broadcast, check_chosen, inputs_of, truncate
from services.anonymizer.models import Choice, Generator
from services.errors import BadRequest

MEAN = np.array([1, -1, 0], np.float32)
PER_LAYER = Generator(name="layered", model="layered-synthesis", latent_shape=(4, 3), image_size=(8, 8))
ONE_W = Generator(name="plain", model="plain", latent_shape=(3,), image_size=(8, 8))
MOODS = Generator(
    name="moods",
    model="moods",
    latent="identity",
    latent_shape=(3,),
    image_size=(8, 8),
    fixed={"orientation": (0.5, 1.0)},
    choices={
        "emotion": Choice(default="calm", values={"calm": (1, 0), "happy": (0, 1)}),
        "light": Choice(default="day", values={"day": (1,), "night": (0,)}),
    },
)


@pytest.fixture
def w() -> np.ndarray:
    """float32 [2, 4, 3], another in every layer."""
    return np.random.default_rng(0).standard_normal((2, 4, 3), dtype=np.float32)


# --- truncation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("psi", [0.0, 0.5, 0.7, 1.0, 1.3])
def test_psi_is_the_share_of_the_way_from_the_mean(w, psi):
    np.testing.assert_allclose(truncate(w, MEAN, psi) - MEAN, psi * (w - MEAN), atol=1e-6)


def test_psi_is_a_little_below_one_unless_told(w):
    np.testing.assert_array_equal(truncate(w, MEAN), truncate(w, MEAN, 0.7))


def test_layers_from_the_cutoff_on_keep_their_w(w):
    got = truncate(w, MEAN, 0.5, cutoff=3)
    np.testing.assert_array_equal(got[:, 3:], w[:, 3:])
    np.testing.assert_array_equal(got[:, :3], truncate(w, MEAN, 0.5)[:, :3])


@pytest.mark.parametrize(("cutoff", "kept"), [(0, 4), (4, 0), (8, 0), (None, 0)])
def test_cutoff_may_be_none_or_beyond_the_layers(w, cutoff, kept):
    got = truncate(w, MEAN, 0.5, cutoff)
    assert (got == w).all(axis=(0, 2)).sum() == kept


def test_cutoff_is_nothing_to_a_single_w(w):
    np.testing.assert_array_equal(truncate(w[:, 0], MEAN, 0.5, cutoff=0), truncate(w[:, 0], MEAN, 0.5))


def test_truncated_w_is_new_and_float32(w):
    before = w.copy()
    assert truncate(w.astype(np.float64), MEAN.astype(np.float64), 0.5, 2).dtype == np.float32
    truncate(w, MEAN, 0.5, 2)
    np.testing.assert_array_equal(w, before)


# --- one w for every layer --------------------------------------------------------------------------------------


def test_every_layer_gets_the_same_w(w):
    got = broadcast(w[:, 0], PER_LAYER)
    assert got.shape == (2, 4, 3)
    np.testing.assert_array_equal(got, np.stack([w[:, 0]] * 4, axis=1))


def test_broadcast_layers_can_be_changed_one_by_one(w):
    got = broadcast(w[:, 0], PER_LAYER)
    got[:, 2] = 0
    np.testing.assert_array_equal(got[:, 1], w[:, 0])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_w_is_broadcast(count):
    assert broadcast(np.zeros((count, 3), np.float32), PER_LAYER).shape == (count, 4, 3)


def test_w_that_has_the_generators_shape_stays_as_it_is(w):
    assert broadcast(w, PER_LAYER) is w
    assert broadcast(w[:, 0], ONE_W).shape == (2, 3)


@pytest.mark.parametrize("generator", [PER_LAYER, ONE_W], ids=["layers", "one w"])
def test_w_of_another_length_is_refused(generator):
    with pytest.raises(ValueError, match=f"{generator.name} takes latents of 3 values, not 5"):
        broadcast(np.zeros((2, 5), np.float32), generator)


# --- what the model is fed --------------------------------------------------------------------------------------


def test_generator_of_latents_only_is_fed_these(w):
    (feed,) = inputs_of(w, PER_LAYER, {}).items()
    assert feed[0] == "w"
    np.testing.assert_array_equal(feed[1], w)


def test_flat_latents_of_an_index_get_their_layers_back(w):
    np.testing.assert_array_equal(inputs_of(w.reshape(2, 12), PER_LAYER, {})["w"], w)


def test_latents_are_fed_as_float32(w):
    assert inputs_of(w.astype(np.float64), PER_LAYER, {})["w"].dtype == np.float32


def test_latents_of_another_size_are_refused(w):
    with pytest.raises(ValueError, match="reshape"):
        inputs_of(w[:, :3], PER_LAYER, {})


@pytest.mark.parametrize(
    ("chosen", "emotion", "light"),
    [
        ({}, [1, 0], [1]),
        ({"emotion": "happy"}, [0, 1], [1]),
        ({"emotion": "happy", "light": "night"}, [0, 1], [0]),
    ],
    ids=["defaults", "one chosen", "both chosen"],
)
def test_other_inputs_are_fixed_or_chosen_the_same_in_every_row(w, chosen, emotion, light):
    feed = inputs_of(w[:, 0], MOODS, chosen)
    assert {name: value.tolist() for name, value in feed.items() if name != "identity"} == {
        "orientation": [[0.5, 1.0]] * 2,
        "emotion": [emotion] * 2,
        "light": [light] * 2,
    }
    assert {value.dtype.name for value in feed.values()} == {"float32"}


# --- choices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"emotion": "calm"}, {"emotion": "happy", "light": "night"}])
def test_offered_choice_is_accepted(chosen):
    check_chosen(MOODS, chosen)


@pytest.mark.parametrize(
    "check", [check_chosen, lambda generator, chosen: inputs_of(np.zeros((1, 3)), generator, chosen)]
)
@pytest.mark.parametrize(
    ("generator", "chosen", "says"),
    [
        (ONE_W, {"emotion": "happy"}, "emotion cannot be chosen: the generator plain has no such input"),
        (MOODS, {"identity": "x"}, "identity cannot be chosen: the generator moods has no such input"),
        (MOODS, {"orientation": "left"}, "orientation cannot be chosen: the generator moods has no such input"),
        (MOODS, {"emotion": "rage"}, "emotion='rage' is not known; there are calm, happy"),
        (MOODS, {"light": ""}, "light='' is not known; there are day, night"),
        (MOODS, {"emotion": "calm", "light": "dusk"}, "light='dusk' is not known"),
        (MOODS, {"emotion": "x" * 1000}, "emotion='x{60}' is not known"),
    ],
    ids=["no choices", "the latent", "a fixed input", "value", "empty value", "second of two", "long value"],
)
def test_choice_that_is_not_offered_is_refused_with_what_is(check, generator, chosen, says):
    with pytest.raises(BadRequest, match=says):
        check(generator, chosen)

"""One model of a request for every protocol: what is unknown is refused, and a policy only becomes stricter."""

import pytest

from services.anonymizer.options import Options, SurrogateOptions
from services.errors import BadRequest
from services.settings import Settings

STRICTNESS = [
    ("no_face", ["pass", "refuse"]),
    ("small_face", ["mask", "refuse"]),
    ("stranger", ["assign", "mask", "refuse"]),
]
STEPS = [(name, ours, asked) for name, values in STRICTNESS for ours in values for asked in values]


@pytest.mark.parametrize(("name", "ours", "asked"), STEPS)
def test_policy_may_become_stricter_never_laxer(name, ours, asked):
    order = dict(STRICTNESS)[name]
    options, settings = Options(**{name: asked}), Settings(may_relax=False, **{name: ours})
    if order.index(asked) >= order.index(ours):
        assert getattr(options.within(settings), name) == asked
    else:
        with pytest.raises(BadRequest, match=f"{name}={asked}.*ANONFACES_MAY_RELAX"):
            options.within(settings)
    assert getattr(options.within(Settings(may_relax=True, **{name: ours})), name) == asked


@pytest.mark.parametrize(("name", "values"), STRICTNESS)
def test_policy_that_is_not_chosen_is_the_operators(name, values):
    for value in values:
        assert getattr(Options().within(Settings(may_relax=False, **{name: value})), name) == value


def test_misspelt_option_is_an_error_not_a_default():
    with pytest.raises(BadRequest, match="no option 'strangers'"):
        Options.of({"strangers": "mask"})


@pytest.mark.parametrize(
    "told",
    [{"k": 1}, {"quality": 0}, {"quality": 101}, {"format": "gif"}, {"identity": ("a", "a")}, {"identity": ("",)}],
)
def test_impossible_value_is_refused_and_names_its_option(told):
    with pytest.raises(BadRequest, match=next(iter(told))):
        Options.of(told)


def test_error_does_not_repeat_what_was_sent():
    with pytest.raises(BadRequest) as refused:
        Options.of({"format": "MARKER"})
    assert "MARKER" not in str(refused.value)


def test_emotion_is_the_only_input_of_a_generator_that_is_chosen():
    assert SurrogateOptions().chosen == {}
    assert SurrogateOptions(emotion="happy").chosen == {"emotion": "happy"}

"""Settings come from the environment, and say no to values that make no sense."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.anonymizer.models import DEFAULTS, choose
from services.settings import ROOT, Settings


def test_environment_variable_with_the_prefix_is_read(monkeypatch):
    monkeypatch.setenv("ANONFACES_PORT", "9123")
    assert Settings().port == 9123


def test_environment_variable_without_the_prefix_is_not_read(monkeypatch):
    monkeypatch.delenv("ANONFACES_PORT", raising=False)
    monkeypatch.setenv("PORT", "9123")
    assert Settings().port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("MAX_PIXELS", "0"),
        ("MAX_CONCURRENCY", "0"),
        ("DETECT_SCORE", "1.5"),
        ("IDENTITY_THRESHOLD", "0"),
        ("TRITON_TIMEOUT_S", "-1"),
        ("JPEG_QUALITY", "101"),
        ("NO_FACE", "ignore"),
        ("STRANGER", "pass"),
    ],
)
def test_impossible_value_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"ANONFACES_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_index_without_a_separator_is_a_name_below_home():
    assert Settings(home=Path("/data"), index="town").index_path == Path("/data/indexes/town")


@pytest.mark.parametrize("index", ["/srv/town", "./town", "folder/town"])
def test_index_with_a_separator_is_a_path(index):
    assert Settings(home=Path("/data"), index=index).index_path == Path(index)


def test_weights_are_below_home():
    assert Settings(home=Path("/data")).weights_dir == Path("/data/weights")


def test_model_repository_is_that_of_the_checkout_by_default(monkeypatch):
    monkeypatch.delenv("ANONFACES_MODEL_REPOSITORY", raising=False)
    assert Settings().model_repository == ROOT / "model_repository"


def test_default_models_exist(monkeypatch):
    for name in ("DETECTOR", "EMBEDDER", "GENERATOR"):
        monkeypatch.delenv(f"ANONFACES_{name}", raising=False)
    models = choose(Settings())
    assert {part: getattr(models, part).name for part in DEFAULTS} == DEFAULTS


def test_a_face_that_may_be_replaced_is_one_that_is_detected():
    """Between the two scores a face is masked; the other way round it would be neither."""
    assert Settings().detect_score <= Settings().replace_score

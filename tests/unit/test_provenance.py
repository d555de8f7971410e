"""A model file is the one that was published, or it is not used."""

import json
from pathlib import Path

import pytest

from services.errors import ConversionError
from services.files import sha256_of
from services.provenance import check_model


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "some-model" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights of a network")
    (folder / "provenance.json").write_text(json.dumps({"model_sha256": sha256_of(folder / "model.onnx"), "card": 7}))
    return tmp_path


def test_published_model_gives_its_provenance(repository):
    assert check_model(repository, "some-model")["card"] == 7


def test_changed_model_is_refused_naming_both_hashes(repository):
    model = repository / "some-model" / "1" / "model.onnx"
    published = sha256_of(model)
    model.write_bytes(b"Weights of a network")
    with pytest.raises(ConversionError, match=f"{sha256_of(model)}.*{published}"):
        check_model(repository, "some-model")


@pytest.mark.parametrize("name", ["model.onnx", "provenance.json"])
def test_missing_file_says_what_to_run(repository, name):
    (repository / "some-model" / "1" / name).unlink()
    with pytest.raises(ConversionError, match="anonfaces models convert"):
        check_model(repository, "some-model")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null"])
def test_provenance_that_is_none_is_refused(repository, text):
    (repository / "some-model" / "1" / "provenance.json").write_text(text)
    with pytest.raises(ConversionError):
        check_model(repository, "some-model")

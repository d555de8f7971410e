"""The models that Triton serves are the ones that were published, from the catalogue's weights."""

import pytest

from conversion.catalogue import Catalogue
from conversion.registry import RECIPES
from services.provenance import check_model
from services.settings import settings

MODELS = [(recipe.weights, model) for recipe in RECIPES.values() for model in recipe.models]
each_model = pytest.mark.parametrize(("weights_name", "model"), MODELS, ids=[model for _, model in MODELS])


@pytest.fixture
def provenance(model):
    """What the published model says of itself; hashing its file is part of asking."""
    repository = settings().model_repository
    if not (repository / model / "1" / "model.onnx").is_file():
        pytest.skip(f"{model} is not converted; run `anonfaces models convert --all`")
    return check_model(repository, model)


@each_model
def test_served_model_was_made_from_the_catalogues_weights(weights_name, model, provenance, tmp_path):
    wanted = {file: want.sha256 for file, want in Catalogue(tmp_path)[weights_name].files.items()}
    assert (provenance["model"], provenance["source_sha256"]) == (model, wanted)


@each_model
def test_served_model_agreed_with_its_source(weights_name, model, provenance):
    assert 0 <= provenance["parity"]["value"] <= provenance["parity"]["tolerance"]

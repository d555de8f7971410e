"""The registry of models: names lead to rows, unknown names to an error that lists the known ones."""

import pytest

from services.anonymizer.models import DETECTORS, EMBEDDERS, GENERATORS, choose, find_models
from services.errors import ConfigurationError
from services.settings import ROOT, Settings

REPOSITORY = ROOT / "model_repository"
KNOWN = {"detector": "centerface", "embedder": "dlib-resnet", "generator": "mobile-stylegan-1024"}


def test_names_lead_to_their_rows():
    models = find_models(**KNOWN, repository=REPOSITORY)
    assert (models.detector, models.embedder, models.generator) == (
        DETECTORS["centerface"],
        EMBEDDERS["dlib-resnet"],
        GENERATORS["mobile-stylegan-1024"],
    )


@pytest.mark.parametrize("kind", KNOWN)
def test_unknown_name_is_refused_with_the_known_ones(kind):
    with pytest.raises(ConfigurationError, match=f"no {kind} named 'nobody'; there are .*{KNOWN[kind]}"):
        find_models(**{**KNOWN, kind: "nobody"}, repository=REPOSITORY)


@pytest.mark.parametrize("rows", [DETECTORS, EMBEDDERS, GENERATORS])
def test_rows_are_kept_under_their_own_names(rows):
    assert all(row.name == name for name, row in rows.items())


def test_every_model_a_request_may_need_is_online():
    assert set(find_models(**KNOWN, repository=REPOSITORY).online()) == {
        "centerface-any-int8",
        "centerface-192",
        "dlib-resnet",
        "mobile-stylegan-1024",
    }


def test_index_names_the_files_that_embeddings_and_surrogates_depend_on():
    """The first look is not among them, so that a CPU and a GPU serve the same index."""
    assert set(find_models(**KNOWN, repository=REPOSITORY).recorded()) == {
        "centerface-192",
        "dlib-resnet",
        "mobile-stylegan-1024",
    }


@pytest.mark.parametrize(("precision", "model"), [("int8", "centerface-any-int8"), ("float32", "centerface-any")])
def test_first_look_is_that_of_the_precision_that_is_set(precision, model):
    models = choose(Settings(detector_precision=precision))
    assert models.detector.served == (model, "centerface-192")
    assert models.detector.name == "centerface"


def test_precision_that_a_detector_has_not_is_refused():
    only = DETECTORS["centerface"].model_copy(update={"first_looks": {"float32": "centerface-any"}})
    with pytest.raises(ConfigurationError, match="detector centerface has no first look in int8"):
        only.calculating_in("int8")

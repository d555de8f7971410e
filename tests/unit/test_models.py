"""The registry of models: names lead to rows, unknown names to an error that lists the known ones."""

import pytest

from services.anonymizer.models import DETECTORS, EMBEDDERS, GENERATORS, find_models
from services.errors import ConfigurationError
from services.settings import ROOT

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
        "centerface-any",
        "centerface-192",
        "dlib-resnet",
        "mobile-stylegan-1024",
    }


def test_an_index_names_the_files_that_older_ones_name():
    """Otherwise no index or population made before could grow."""
    assert set(find_models(**KNOWN, repository=REPOSITORY).recorded()) == {
        "centerface-192",
        "centerface-512",
        "centerface-1024",
        "dlib-resnet",
        "mobile-stylegan-1024",
    }


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=str)
def test_second_look_has_a_model_of_its_size(detector):
    assert detector.look_px in detector.models

"""Nobody's photos through the whole of it: generated, enrolled, released at two k, and reported on."""

import json
import re
from pathlib import Path

import pytest

from services.report.report import FORMAT
from tests.report.conftest import anonfaces

PEOPLE, PHOTOS = 10, 2  # eight are enrolled: four crowds at k = 2, two at k = 3; some photos may be of no use
BASELINES = ("blur, weak", "k-Same", "k-Same-M", "one person, truncated", "random face")
WAYS = {"original", "released", "surrogate alone", *BASELINES}
COUNTS = ("--people", PEOPLE, "--photos", PHOTOS, "--k", 2, "--k", 3)
COUNTS += tuple(word for name in BASELINES for word in ("--baseline", name))


@pytest.fixture(scope="module")
def made(measuring_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The example's folder, and what the command said."""
    folder = tmp_path_factory.mktemp("example") / "out"
    done = anonfaces("report", "example", folder, *COUNTS, ANONFACES_MODEL_REPOSITORY=measuring_repository)
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def told(made: tuple[Path, str]) -> dict:
    return json.loads((made[0] / "report-k3.json").read_text())


def test_every_step_is_a_command_that_is_shown(made):
    for step in ("population generate", "population enroll", "population build", "release", "report"):
        assert re.search(rf"^anonfaces {step} ", made[1], re.M), made[1]


def test_json_holds_what_an_auditor_asks_for(told):
    assert told["format"] == FORMAT
    assert told["k"] == 3
    assert told["smallest"] >= 3
    assert told["counts"]["enrolled_people"] in (6, 7, 8)
    assert told["counts"]["faces_stranger"] == 4
    assert {way["name"] for way in told["ways"]} == WAYS
    assert {(one["name"], one["clustered"]) for one in told["recognisers"]} == {
        ("dlib-resnet", True),
        ("mobileface", False),
        ("faceres", False),
    }
    assert {one["algorithm"] for one in told["losses"]} >= {"this release", "swap", "mdav", "kmember", "hierarchical"}
    assert {one["name"].split(" with ")[0] for one in told["system"]} == {
        "look-up oracle",
        "crowd membership",
        "learned inversion",
        "difference",
        "difference without the index",
        "composition",
    }
    assert {group["attribute"] for group in told["groups"]} == {"age group", "gender", "skin tone"}


def rates(told: dict, version: str, *attacks: str) -> list[dict]:
    return [
        one["rank1"]
        for one in told["attacks"]
        if one["version"] == version and one["attack"] in attacks and not one["clustered"]
    ]


def test_surrogates_tell_no_more_than_their_crowd(told):
    found = rates(told, "surrogate alone", "naive", "reverse", "parrot")
    assert len(found) == 10  # by two recognisers, the first two with two photos each
    for rate in found:
        assert rate["low"] <= told["chance_here"] + 1e-9, rate


def test_attacks_work_where_nothing_or_little_is_hidden(told):
    """Else it would prove nothing that they fail on surrogates."""
    assert min(rate["value"] for rate in rates(told, "original", "none")) > 0.8
    assert max(rate["low"] for rate in rates(told, "blur, weak", "parrot")) > told["chance_here"]
    assert max(rate["value"] for rate in rates(told, "one person, truncated", "naive")) > 2 * told["chance_here"]


def test_page_needs_nothing_else_and_says_what_the_figures_say(made, told):
    page = (made[0] / "report-k3.html").read_text()
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", page)
    assert "default-src 'none'" in page
    worst = max(rate["low"] for rate in rates(told, "released", "naive", "reverse", "parrot", "adapted parrot"))
    assert ("That is WORSE than the crowd alone" in page.split("<h2>")[0]) == (worst > told["chance_here"])
    assert page.count("data:image/jpeg") >= len(WAYS)
    assert (made[0] / "report-k3.html").stat().st_mode & 0o077 == 0


def test_second_run_of_the_example_makes_nothing_again(made, measuring_repository):
    done = anonfaces("report", "example", made[0], *COUNTS, ANONFACES_MODEL_REPOSITORY=measuring_repository)
    assert "anonfaces " not in done.stderr


def report(made: tuple[Path, str], repository: Path, *options: object):
    """A report of the release at k = 3, looking at the release alone."""
    folder = made[0]
    environment = {"ANONFACES_HOME": folder / "home", "ANONFACES_MODEL_REPOSITORY": repository}
    return anonfaces("report", folder / "release-k3", "--no-baselines", *options, check=False, **environment)


def test_public_page_shows_no_original_and_no_photo_that_went_wrong(made, measuring_repository, tmp_path):
    page = tmp_path / "public.html"
    done = report(made, measuring_repository, "--public", "--out", page, "--recogniser", "mobileface")
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "person-0" not in text.split("<pre>")[0]
    assert "a face, original" not in text
    assert "a face, released" in text


def test_changed_release_and_missing_parts_are_refused_with_what_to_do(made, measuring_repository, tmp_path):
    nowhere = report(made, measuring_repository, "--private", tmp_path)
    assert nowhere.returncode == 2
    assert "--private" in nowhere.stderr
    (tmp_path / "empty").mkdir()
    elsewhere = report(made, measuring_repository, "--originals", tmp_path / "empty")
    assert elsewhere.returncode == 2
    assert "originals" in elsewhere.stderr
    own = report(made, measuring_repository, "--recogniser", "dlib-resnet")
    assert own.returncode == 2
    assert "had no part" in own.stderr
    unknown = report(made, measuring_repository, "--recogniser", "nobody")
    assert "no embedder named" in unknown.stderr


def test_recogniser_that_is_not_converted_is_named_with_the_commands(made, settings, measuring_repository):
    if (settings.model_repository / "mobileface" / "1").exists():
        pytest.skip("mobileface is converted here")
    done = report(made, settings.model_repository)
    assert done.returncode == 2
    assert "models pull mobileface" in done.stderr

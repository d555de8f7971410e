"""Shares of a network's classes become coarse words, or none."""

from pathlib import Path

import numpy as np
import pytest

from services.anonymizer.models import ESTIMATORS, Attribute
from services.anonymizer.triton import Triton
from services.population.attributes import agreed, estimate, find_estimators, value_of
from services.provenance import PROVENANCE

ROW = ESTIMATORS["age-gender"]
AGE, GENDER = ROW.attributes["age_group"], ROW.attributes["gender"]


def years(**shares: float) -> np.ndarray:
    """Shares of the years 0 to 80; `y12=0.9` gives that to the year 12."""
    row = np.zeros(81, np.float32)
    for year, share in shares.items():
        row[int(year[1:])] = share
    return row


@pytest.mark.parametrize(
    ("year", "value"),
    [(0, "child"), (12, "child"), (13, "young"), (29, "young"), (30, "adult"), (59, "adult"), (60, "senior")],
)
def test_group_is_that_of_the_year(year, value):
    assert value_of(years(**{f"y{year}": 1.0}), AGE) == value


def test_shares_of_a_groups_years_count_together():
    assert value_of(years(y3=0.3, y4=0.4, y12=0.25, y40=0.05), AGE) == "child"


def test_person_between_two_groups_has_none():
    assert value_of(years(y12=0.5, y13=0.5), AGE) == ""


@pytest.mark.parametrize(("share", "value"), [(0.99, "male"), (0.97, ""), (0.5, ""), (0.03, ""), (0.01, "female")])
def test_gender_is_told_where_the_network_is_certain(share, value):
    assert value_of(np.array([1 - share, share], np.float32), GENDER) == value


def test_years_that_belong_to_no_group_give_none():
    gaps = Attribute(output="age", values={"child": (0, 9), "adult": (25, 80)}, certain=0.8)
    assert value_of(years(y15=1.0), gaps) == ""
    assert value_of(years(y15=0.1, y30=0.9), gaps) == "adult"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["child"], "child"),
        (["", "child"], "child"),
        (["child", "child"], "child"),
        (["child", "adult"], ""),
        ([""], ""),
    ],
)
def test_estimators_that_contradict_each_other_give_none(words, value):
    assert agreed(words) == value


async def test_photo_without_faces_asks_nobody():
    async with Triton("127.0.0.1:1", timeout_s=1) as nowhere:
        found = await estimate(np.zeros((8, 8, 3), np.uint8), np.empty((0, 5, 2), np.float32), nowhere, [ROW])
    assert found == {"age_group": [], "gender": []}


async def test_without_estimators_nothing_is_told():
    async with Triton("127.0.0.1:1", timeout_s=1) as nowhere:
        assert await estimate(np.zeros((8, 8, 3), np.uint8), np.zeros((1, 5, 2), np.float32), nowhere, []) == {}


def test_estimator_is_found_once_its_model_is_converted(tmp_path):
    assert find_estimators(tmp_path) == []
    told: Path = tmp_path / ROW.model / "1" / PROVENANCE
    told.parent.mkdir(parents=True)
    told.write_text("{}")
    assert find_estimators(tmp_path) == [ROW]

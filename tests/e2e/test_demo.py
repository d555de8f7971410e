"""The demo as a user runs it: its pictures, its table, and what it claims of every face."""

import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from deploy.local import demo


@pytest.fixture(scope="module")
def out(stack, settings, index, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.show(stack, settings, folder, Console(file=(folder / "printed.txt").open("w"), width=120))
    return folder


def faces(out: Path) -> list[dict]:
    return json.loads((out / "faces.json").read_text())


def test_every_replaced_face_is_nearer_to_its_surrogate_than_to_the_original(out):
    rows = faces(out)
    assert len(rows) >= 20
    assert all(row["to_surrogate"] < row["to_original"] for row in rows)


def test_group_photo_holds_enrolled_people_and_strangers(out, index):
    group = [row for row in faces(out) if row["photo"] == "group"]
    assert len(group) == 10
    assert sum(row["enrolled"] for row in group) >= 4  # of five; one fresh picture may be too far from its enrolment
    assert sum(not row["enrolled"] for row in group) >= 4
    assert all(row["crowd_size"] >= index.k for row in group)


def test_pictures_are_written_for_every_photo(out):
    for name in {row["photo"] for row in faces(out)}:
        before, after = (Image.open(out / f"{name}-{side}.jpg") for side in ("before", "after"))
        both = Image.open(out / f"{name}-side-by-side.jpg")
        assert before.size == after.size
        assert both.width > 2 * before.width
    assert Image.open(out / "contact-sheet.jpg").width > 1000


def test_table_names_each_face(out):
    printed = (out / "printed.txt").read_text()
    assert printed.count("stranger") + printed.count("enrolled") == len(faces(out))

"""Data sets as they lie in folders: who is in which photo, for folders of the shape of LFW, CelebA and RaFD."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.errors import EnrolmentError
from services.population.enroll.sources import list_photos
from services.population.generate.cli import labels
from services.population.generate.layouts import CELEBA_ATTRIBUTES, CELEBA_WHO, read_labels
from services.population.generate.make import Plan
from services.population.generate.places import beside, identity, place
from services.release.whose import read_whose

PEOPLE, PHOTOS = 3, 4
APP = typer.Typer()
APP.command()(labels)


def laid_out(layout: str, folder: Path) -> dict[str, str]:
    """A folder as `population generate` lays it out, its photos empty; and who is in each."""
    plan = Plan(PEOPLE, PHOTOS, 7, layout)
    truth = {}
    for person in range(PEOPLE):
        for take in range(PHOTOS):
            path = place(layout, person, take, PHOTOS)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
            truth[path] = identity(layout, person)
    for name, text in beside(layout, [plan.looks(person) for person in range(PEOPLE)]):
        (folder / name).write_text(text)
    assert len(truth) == PEOPLE * PHOTOS
    return truth


@pytest.mark.parametrize("layout", ["lfw", "celeba", "rafd"])
def test_labels_say_who_is_in_every_photo(layout, tmp_path):
    truth = laid_out(layout, tmp_path)
    (tmp_path / "odd.jpg").touch()
    told = read_labels(tmp_path, layout)
    assert {row.photo: row.identity for row in told.rows} == truth
    assert told.unlabelled == 1


@pytest.mark.parametrize("layout", ["lfw", "celeba", "rafd"])
def test_enrolment_and_release_take_the_table(layout, tmp_path):
    folder, table = tmp_path / "set", tmp_path / "who.csv"
    truth = laid_out(layout, folder)
    done = CliRunner().invoke(APP, [str(folder), "--layout", layout, "--out", str(table)])
    assert done.exit_code == 0, done.output
    assert f"{PEOPLE * PHOTOS} photos of {PEOPLE} people" in done.output
    assert {entry.photo: entry.identity for entry in list_photos(folder, table, False).entries} == truth
    assert {path: names for path, (names,) in read_whose(table, False).table.items()} == truth


def test_published_names_are_read():
    """As the publishers of the data sets spell them; underscores within a name of LFW are the person's."""
    from services.population.generate.layouts import RAFD

    told = RAFD.fullmatch("Rafd090_01_Caucasian_female_angry_frontal").groupdict()
    assert (told["subject"], told["gender"], told["emotion"], told["gaze"]) == ("01", "female", "angry", "frontal")


def test_names_of_lfw_hold_underscores(tmp_path):
    (tmp_path / "George_W_Bush").mkdir()
    (tmp_path / "George_W_Bush" / "George_W_Bush_0001.jpg").touch()
    (tmp_path / "George_W_Bush" / "notes_0001.jpg").touch()
    told = read_labels(tmp_path, "lfw")
    assert [row.identity for row in told.rows] == ["George_W_Bush"]
    assert told.unlabelled == 1


def test_attributes_come_along_if_they_are_named(tmp_path):
    laid_out("celeba", tmp_path)
    told = read_labels(tmp_path, "celeba")
    lines = told.as_csv(["Smiling"]).splitlines()
    assert lines[0] == "photo,identity,Smiling"
    assert {line.split(",")[2] for line in lines[1:]} == {"yes", "no"}
    with pytest.raises(EnrolmentError, match="no attribute 'Bald'; there are Smiling"):
        told.as_csv(["Bald"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (CELEBA_WHO, "000001.jpg\n", "line 1 is not `photo person`"),
        (CELEBA_WHO, "000001.jpg 1\n000001.jpg 2\n", "says twice who is in"),
        (CELEBA_WHO, "gone.jpg 1\n", "holds no photo that is laid out as celeba"),
        (CELEBA_ATTRIBUTES, "1\nSmiling Bald\n000001.jpg 1\n", "line 3 does not have 1 or -1 for each of 2"),
        (CELEBA_ATTRIBUTES, "Smiling\n", "has no line that counts its photos"),
    ],
)
def test_damaged_file_of_a_data_set_is_refused(file, text, message, tmp_path):
    laid_out("celeba", tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(EnrolmentError, match=message):
        read_labels(tmp_path, "celeba")


def test_other_layout_is_refused(tmp_path):
    laid_out("lfw", tmp_path)
    with pytest.raises(EnrolmentError, match="no photo that is laid out as rafd"):
        read_labels(tmp_path, "rafd")
    with pytest.raises(EnrolmentError, match=r"identity_CelebA\.txt cannot be read"):
        read_labels(tmp_path, "celeba")


def test_rafd_has_no_more_photos_than_cameras_and_emotions():
    with pytest.raises(EnrolmentError, match="9 photos at most"):
        Plan(1, 10, 7, "rafd").looks(0)

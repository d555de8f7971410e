"""Photos that are not in their folder any more: what counts on, what goes, and what cannot be known."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.errors import EnrolmentError
from services.population.enroll.about import About
from services.population.enroll.finish import group_photos
from services.population.enroll.gone import Gone, leave_out_gone
from services.population.enroll.rows import BAD, ENROLLED, FACELESS, Row, table_of
from services.population.enroll.sources import list_photos
from services.population.enroll.writing import Store, writing

SOURCE = "/photos"


def enrolled(name: str, face: int = 0, size: int = 100) -> Row:
    vector = np.random.default_rng(face).normal(size=4).astype(np.float32)
    return Row(SOURCE, name, ENROLLED, name.split("/")[0], size, 1, faces=1, embedding=vector)


@pytest.fixture
def store(tmp_path):
    with writing(tmp_path / "town", About({}, 4, 0)) as store:
        yield store


def add(store: Store, *rows: Row) -> None:
    store.append(table_of(rows, 4, 0))


def left(store: Store) -> set[str]:
    return set(store.known(SOURCE))


@pytest.mark.parametrize(("policy", "gone"), [("keep", Gone(moved=1, kept=1)), ("drop", Gone(dropped=2))])
def test_photos_that_never_counted_are_neither_kept_nor_dropped_but_forgotten(store, policy, gone):
    """An operator deletes what cannot be read, as the list of bad photos asks for: then it is listed no more."""
    add(store, enrolled("ann/1.jpg"), enrolled("ann/2.jpg", 2), enrolled("bea/1.jpg"))
    add(store, Row(SOURCE, "ann/torn.jpg", BAD, "ann", 9, 1), Row(SOURCE, "ann/wall.jpg", FACELESS, "ann", 9, 1))
    assert leave_out_gone(store, SOURCE, {"bea/1.jpg"}, policy) == gone
    assert left(store) == {"bea/1.jpg", *(["ann/2.jpg"] if policy == "keep" else [])}


def test_photo_that_is_named_though_it_is_not_there_stays_on_the_list_and_is_not_said_to_count(store):
    add(store, enrolled("ann/1.jpg"), Row(SOURCE, "ann/2.jpg", BAD, "ann"))
    assert leave_out_gone(store, SOURCE, {"ann/1.jpg"}, "drop", {"ann/2.jpg"}) == Gone()
    assert left(store) == {"ann/1.jpg", "ann/2.jpg"}


def test_what_moved_photos_said_of_others_is_kept_as_they_leave(store):
    """Killed right after, the next run would find nobody who knows whose face the renamed photo shows."""
    add(store, enrolled("face-1/old.jpg"), replace(enrolled("new.jpg"), identity=None))
    amend, _ = group_photos(store, 0.5)
    assert leave_out_gone(store, SOURCE, {"new.jpg"}, "keep", amend=amend) == Gone(moved=1)
    assert not store.about.finished
    assert {photo: known.identity for photo, known in store.known(SOURCE).items()} == {"new.jpg": "face-1"}


@pytest.mark.parametrize("closed", ["ann", "."])
def test_photos_in_a_folder_that_cannot_be_looked_into_are_not_gone(store, closed):
    add(
        store, enrolled("ann/1.jpg"), enrolled("ann/deep/2.jpg", 2), enrolled("anna/3.jpg", 3), enrolled("bea/1.jpg", 4)
    )
    expected = Gone(dropped=closed == "ann")
    assert leave_out_gone(store, SOURCE, {"bea/1.jpg"}, "drop", closed=[closed]) == expected
    assert left(store) >= {"ann/1.jpg", "ann/deep/2.jpg", "bea/1.jpg"}
    assert ("anna/3.jpg" in left(store)) == (closed == ".")


def test_folders_that_are_linked_or_forbidden_are_listed_as_closed(tmp_path, monkeypatch):
    for name in ("ann/1.jpg", "bea/1.jpg", "away/2.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x")
    photos = tmp_path / "photos"
    (photos / "away").rename(tmp_path / "elsewhere")
    (photos / "cid").symlink_to(tmp_path / "elsewhere")
    scandir = os.scandir

    def forbidding(path: Path) -> object:  # root may look into everything
        if Path(path).name == "ann":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    listing = list_photos(photos, None, False)
    assert set(listing.closed) == {"ann", "cid"}
    assert {row.photo: row.status for row in listing.unread} == {"ann": BAD, "cid": BAD}
    assert listing.there >= {"bea/1.jpg"}


def test_folder_without_photos_says_which_part_of_it_cannot_be_looked_into(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "ann").symlink_to(tmp_path)
    with pytest.raises(EnrolmentError, match=r"no photos in .*'ann' in it cannot be looked into: a linked folder"):
        list_photos(tmp_path / "photos", None, False)

"""Whole enrolments of arrays: what is told of them, and what changes when they are enrolled again."""

import os
from pathlib import Path

import numpy as np
import pytest

from services.errors import EnrolmentError
from services.population.enroll.arrays import read_rows
from services.population.enroll.flow import Options, Outcome, enroll_arrays
from services.population.enroll.store import read_population
from services.population.enroll.writing import remove

MADE = {"embedder": "e", "models_sha256": {}}
PEOPLE = ["ann", "bea", "cid", "dee"]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "populations" / "town"


@pytest.fixture
def file(tmp_path) -> Path:
    return write(tmp_path / "e.npz", PEOPLE)


def write(path: Path, identities: list[str], seed: int = 0) -> Path:
    """People of one name have one vector, whatever the file."""
    named = {name: np.random.default_rng(number).normal(size=8) for number, name in enumerate(PEOPLE)}
    values = np.array([named[name] for name in identities]) + seed * 1e-3
    np.savez(path, embedding=values, identity=np.array(identities))
    os.utime(path, ns=(0, seed))
    return path


def enrol(
    folder: Path, file: Path, identities: Path | None = None, threshold: float | None = 0.5, **options
) -> Outcome:
    rows = read_rows(file, None, identities)
    fingerprint = identities.read_text() if identities else None
    return enroll_arrays(rows, file, folder, MADE, Options(threshold, **options), {"identities": fingerprint})


def test_rows_that_are_there_are_not_written_again(folder, file):
    first, second = enrol(folder, file), enrol(folder, file)
    assert (first.told["read"], first.told["kept"]) == (4, 0)
    assert (second.told["read"], second.told["kept"]) == (0, 4)
    assert second.told["identities"] == 4


def test_rows_of_a_changed_file_take_the_place_of_the_old_ones(folder, file):
    enrol(folder, file)
    before = read_population(folder)
    enrol(folder, write(file, PEOPLE, seed=5))
    after = read_population(folder)
    assert after.photos.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(after.embeddings, before.embeddings + 0.005, atol=1e-6)


def test_attributes_that_changed_alone_are_taken_over(folder, file, tmp_path):
    who = tmp_path / "who.csv"
    for ward in ("north", "south"):
        who.write_text("identity,ward\n" + "".join(f"{name},{ward}\n" for name in PEOPLE))
        enrol(folder, file, who)
        assert read_population(folder).attributes["ward"].tolist() == [ward] * 4


def test_rows_of_another_file_are_added(folder, file, tmp_path):
    enrol(folder, write(file, PEOPLE[:2]))
    enrol(folder, write(tmp_path / "other.npz", PEOPLE[1:]))
    people = read_population(folder)
    assert people.identities.tolist() == PEOPLE
    assert people.photos.tolist() == [1, 2, 1, 1]


def test_rows_without_names_of_two_files_are_different_people(folder, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/e.npy", "b/e.npy"):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, rng.normal(size=(3, 8)))
        told = enrol(folder, tmp_path / name).told
    assert told["identities"] == 6
    assert read_population(folder).photos.tolist() == [1] * 6


def test_rows_that_are_not_in_their_file_any_more_count_no_more(folder, file, tmp_path):
    enrol(folder, file)
    enrol(folder, write(tmp_path / "other.npz", PEOPLE[3:]))
    told = enrol(folder, write(file, PEOPLE[:2], seed=5)).told
    assert told["gone"] == {"moved": 0, "kept": 0, "dropped": 2}
    people = read_population(folder)
    assert (people.identities.tolist(), people.photos.tolist()) == (["ann", "bea", "dee"], [1, 1, 1])


def test_likely_duplicates_are_told_and_listed(folder, file, tmp_path):
    who = tmp_path / "who.csv"
    who.write_text("identity\nann\nbea\ncid\nann-again\n")
    np.savez(file, embedding=np.array([[0.0, 0], [5, 0], [9, 0], [0.1, 0]]))
    told = enrol(folder, file, who).told["duplicates"]
    assert told["pairs"] == 1
    assert told["nearest"] == [{"identities": ["ann", "ann-again"], "distance": 0.1}]
    assert "ann,ann-again,0.100000,1,1" in (folder / "duplicates.csv").read_text()


def test_without_a_threshold_duplicates_are_not_looked_for(folder, file):
    outcome = enrol(folder, file, threshold=None)
    assert outcome.told["duplicates"] is None
    assert outcome.pairs is not None
    assert len(outcome.pairs.distances) == 0


def test_removed_people_stay_removed_until_they_are_readmitted(folder, file):
    enrol(folder, file)
    remove(folder, ["bea", "dee"])
    assert enrol(folder, file).told["refused"] == 2
    assert read_population(folder).identities.tolist() == ["ann", "cid"]
    assert enrol(folder, file, readmit=True).told["refused"] == 0
    assert read_population(folder).identities.tolist() == PEOPLE
    assert enrol(folder, file).told["refused"] == 0


def test_nobody_left_to_enrol_is_an_error_and_the_removed_stay_known(folder, file):
    enrol(folder, file)
    remove(folder, PEOPLE)
    with pytest.raises(EnrolmentError, match=r"everybody in .* was removed"):
        enrol(folder, file)
    with pytest.raises(EnrolmentError, match="nobody is enrolled"):
        read_population(folder)
    enrol(folder, file, readmit=True)
    assert read_population(folder).identities.tolist() == PEOPLE

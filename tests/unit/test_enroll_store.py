"""A population's folder: what is written is read back, belongs to its models, and is for its owner alone."""

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from services.errors import EnrolmentError, PopulationBusy
from services.population.enroll import reports, shards, writing
from services.population.enroll.about import About, population_folder, read_about, read_removed
from services.population.enroll.rows import BAD, ENROLLED, Row, table_of
from services.population.enroll.store import read_photos, read_population
from services.population.enroll.summary import find_pairs, write_reports
from services.population.enroll.writing import Store, remove

MADE = {
    "detector": "d",
    "embedder": "e",
    "aligner": "a",
    "generator": "g",
    "inverter": "i",
    "models_sha256": {"e": "1"},
}
ABOUT = About(MADE, dims=3, latent_dims=2)


def row(photo: str, identity: str | None = None, value: float = 1.0, **further) -> Row:
    whose = identity or photo.split("/")[0]
    vectors = {"embedding": np.full(3, value, np.float32), "latent": np.full(2, -value, np.float32)}
    return Row("/photos", photo, **{"status": ENROLLED, "identity": whose, **vectors, **further})


def enrol(folder: Path, *rows: Row, about: About = ABOUT) -> None:
    with writing.writing(folder, about) as store:
        store.append(table_of(rows, about.dims, about.latent_dims))
        store.compact()
        store.tell(finished=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "populations" / "town"


def test_identity_is_the_mean_of_its_photos_and_k_counts_identities(folder):
    enrol(folder, row("bea/1", value=4), row("ann/1", value=1), row("ann/2", value=2))
    people = read_population(folder)
    assert people.identities.tolist() == ["ann", "bea"]
    assert people.photos.tolist() == [2, 1]
    np.testing.assert_array_equal(people.embeddings, np.array([[1.5] * 3, [4.0] * 3], np.float32))
    np.testing.assert_array_equal(people.latents, np.array([[-1.5] * 2, [-4.0] * 2], np.float32))
    assert (people.name, people.made_with) == ("town", MADE)


def test_identity_with_thousands_of_photos_is_one_person(folder):
    many = [row(f"ann/{i}", value=i) for i in range(5001)]
    enrol(folder, *many, row("bea/1"))
    people = read_population(folder)
    assert people.photos.tolist() == [5001, 1]
    np.testing.assert_array_equal(people.embeddings[0], np.full(3, 2500, np.float32))


def test_photos_that_are_not_enrolled_are_kept_and_count_for_nobody(folder):
    enrol(folder, row("ann/1"), Row("/photos", "bea/1", BAD, "bea", reason="torn"))
    assert read_population(folder).identities.tolist() == ["ann"]
    assert read_photos(folder, ("photo", "reason")).to_pylist() == [
        {"photo": "ann/1", "reason": ""},
        {"photo": "bea/1", "reason": "torn"},
    ]


def test_newest_row_of_a_photo_counts_before_and_after_compaction(folder):
    with writing.writing(folder, ABOUT) as store:
        store.append(table_of([row("ann/1", value=1), row("bea/1", value=5)], 3, 2))
        store.append(table_of([row("ann/1", value=2)], 3, 2))
        store.tell(finished=True)
        before = read_population(folder)
        assert len(store.shards()) == 2
        store.compact()
        assert len(store.shards()) == 1
    for people in (before, read_population(folder)):
        assert people.embeddings[:, 0].tolist() == [2, 5]


def test_same_photo_of_two_folders_is_two_photos(folder):
    enrol(folder, row("ann/1", value=1), Row("/others", "ann/1", ENROLLED, "ann", **vectors(3)))
    assert read_population(folder).embeddings[0, 0] == 2


def vectors(value: float) -> dict[str, np.ndarray]:
    return {"embedding": np.full(3, value, np.float32), "latent": np.full(2, value, np.float32)}


def test_attribute_is_that_of_most_photos_and_what_was_given_wins(folder):
    looks = [{"age": "adult"}, {"age": "adult"}, {"age": "child"}]
    rows = [row(f"ann/{i}", estimated=seen) for i, seen in enumerate(looks)]
    rows += [row("bea/1", estimated={"age": "child"}, given={"age": "adult", "ward": "7"}), row("cid/1")]
    enrol(folder, *rows)
    attributes = read_population(folder).attributes
    assert {name: values.tolist() for name, values in attributes.items()} == {
        "age": ["adult", "adult", ""],
        "ward": ["", "7", ""],
    }


def test_attribute_told_both_ways_equally_often_is_the_same_whatever_the_order(folder, tmp_path):
    seen = [row("ann/1", estimated={"age": "b"}), row("ann/2", estimated={"age": "a"})]
    enrol(folder, *seen)
    enrol(tmp_path / "other", *seen[::-1])
    assert read_population(folder).attributes["age"] == read_population(tmp_path / "other").attributes["age"] == ["a"]


def test_population_without_latents_has_none(folder):
    about = About(MADE, dims=3, latent_dims=0)
    enrol(folder, row("ann/1", latent=None), about=about)
    assert read_population(folder).latents is None


def test_files_are_for_their_owner_alone(folder):
    enrol(folder, row("ann/1"), row("bea/1"))
    write_reports(folder, find_pairs(read_population(folder), 0.1))
    remove(folder, ["bea"])
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in folder.iterdir()} == {
        "population.json",
        "photos",
        "removed.json",
        "bad.csv",
        "duplicates.csv",
    }


def test_halves_of_files_that_a_killed_command_left_are_removed_by_the_next(folder):
    enrol(folder, row("ann/1"))
    for left in (folder / ".bad.csv.part", folder / "photos" / ".000077.parquet.part"):
        left.write_bytes(b"half")
    with writing.writing(folder, ABOUT):
        assert not list(folder.rglob("*.part"))


# --- what is refused ------------------------------------------------------------------------------------------------


def test_unfinished_enrolment_is_no_population_yet(folder):
    with writing.writing(folder, ABOUT) as store:
        store.append(table_of([row("ann/1")], 3, 2))
    with pytest.raises(EnrolmentError, match=r"did not come to its end.*run the same"):
        read_population(folder)
    enrol(folder, row("bea/1"))
    assert read_population(folder).identities.tolist() == ["ann", "bea"]


def test_adding_to_a_population_makes_it_unfinished_until_it_ends(folder):
    enrol(folder, row("ann/1"))
    with writing.writing(folder, ABOUT) as store:
        assert read_population(folder).identities.tolist() == ["ann"]
        store.append(table_of([row("bea/1")], 3, 2))
        with pytest.raises(EnrolmentError, match="did not come to its end"):
            read_population(folder)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("embedder", "other", "embedder e, not other"),
        ("detector", None, "detector d, not None"),
        ("inverter", None, "inverter i, not None"),
        ("models_sha256", {"e": "2"}, "another file of e"),
        ("models_sha256", {"e": "1", "f": "1"}, "another file of f"),
    ],
)
def test_rows_of_other_models_are_refused(folder, part, value, message):
    enrol(folder, row("ann/1"))
    with pytest.raises(EnrolmentError, match=message) as refused:
        enrol(folder, row("bea/1"), about=About({**MADE, part: value}, 3, 2))
    assert "do not compare" in str(refused.value)
    assert read_population(folder).identities.tolist() == ["ann"]


def test_rows_of_other_lengths_are_refused(folder):
    enrol(folder, row("ann/1"))
    with pytest.raises(EnrolmentError, match="dims 3, not 4"):
        enrol(folder, row("bea/1", embedding=np.ones(4)), about=About(MADE, 4, 2))
    with pytest.raises(EnrolmentError, match="latent_dims 2, not 0"):
        enrol(folder, row("bea/1", latent=None), about=About(MADE, 3, 0))


def test_two_writers_at_once_are_refused(folder):
    with writing.writing(folder, ABOUT) as store:
        store.append(table_of([row("ann/1")], 3, 2))
        with pytest.raises(PopulationBusy, match="population town"):
            enrol(folder, row("bea/1"))
        with pytest.raises(PopulationBusy):
            remove(folder, ["ann"])
    enrol(folder, row("bea/1"))


def test_new_population_that_nothing_was_written_to_is_not_left(folder):
    def fail() -> None:
        with writing.writing(folder, ABOUT):
            assert (folder / "population.json").exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not folder.exists()
    with pytest.raises(EnrolmentError, match="there is no population in"):
        read_population(folder)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "-x", "ann\n", "x" * 101])
def test_names_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(EnrolmentError, match="cannot name a population"):
        population_folder(name, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "anonfaces-population-9"}', b"\xff"])
def test_damaged_population_json_says_so(folder, content):
    enrol(folder, row("ann/1"))
    (folder / "population.json").write_bytes(content)
    with pytest.raises(EnrolmentError, match=r"cannot be read|of format"):
        read_population(folder)


def test_damaged_shard_is_found(folder):
    enrol(folder, *(row(f"ann/{i}", value=i / 7) for i in range(100)))
    (shard,) = (folder / "photos").iterdir()
    whole = shard.read_bytes()
    for damaged in (b"", whole[:100], whole[:-30]):
        shard.write_bytes(damaged)
        with pytest.raises(EnrolmentError, match=r"\.parquet is damaged"):
            read_population(folder)
    at = whole.index(np.float32(2 / 7).tobytes()[:3]) if np.float32(2 / 7).tobytes()[:3] in whole else len(whole) // 3
    shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(EnrolmentError, match=r"\.parquet is damaged"):
        read_population(folder)


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """From now on a file gets half of what is written to it, and then the disk is full."""

    def write(path: Path, data: bytes, mode: int = 0o644) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill() -> None:
        monkeypatch.setattr(shards, "write_durably", write)

    yield fill
    monkeypatch.undo()


def test_full_disk_says_what_to_do_and_what_was_written_stays(folder, full_disk, monkeypatch):
    def until_it_is_full() -> None:
        with writing.writing(folder, ABOUT) as store:
            store.append(table_of([row("ann/1")], 3, 2))
            full_disk()
            store.append(table_of([row("bea/1")], 3, 2))

    with pytest.raises(EnrolmentError, match=r"is full; make room and run the same command again"):
        until_it_is_full()
    assert [path.name for path in (folder / "photos").iterdir()] == ["000001.parquet"]
    monkeypatch.undo()
    with writing.writing(folder, ABOUT) as store:
        assert list(store.known("/photos")) == ["ann/1"]


def test_full_disk_while_compacting_loses_nothing_and_leaves_nothing(folder, full_disk, monkeypatch):
    enrol(folder, row("ann/1"))
    before = sorted(path.name for path in folder.rglob("*"))
    with writing.writing(folder, ABOUT) as store:
        full_disk()
        with pytest.raises(EnrolmentError, match="is full"):
            store.compact()
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert read_population(folder).identities.tolist() == ["ann"]


def test_full_disk_before_anything_is_written_leaves_no_population(folder, full_disk):
    full_disk()
    with pytest.raises(EnrolmentError, match="is full"):
        enrol(folder, row("ann/1"))
    with pytest.raises(EnrolmentError, match="there is no population"):
        read_about(folder)


# --- removal --------------------------------------------------------------------------------------------------------


def everywhere(folder: Path) -> str:
    """All that the folder says, shards read out; without the list of the removed."""
    rows = [shards.read_shard(path).to_pylist() for path in shards.shard_files(folder)]
    texts = [
        path.read_text()
        for path in folder.iterdir()
        if path.suffix in (".json", ".csv") and path.name != "removed.json"
    ]
    return str(rows) + "".join(texts)


def test_removed_people_leave_only_their_names(folder):
    enrol(folder, row("ann/1"), row("bea/1"), row("bea/2"), Row("/photos", "bea/3", BAD, "bea", reason="torn"))
    write_reports(folder, find_pairs(read_population(folder), 10.0))
    assert everywhere(folder).count("bea") > 4
    assert remove(folder, ["bea"]) == 1
    assert "bea" not in everywhere(folder)
    assert read_removed(folder) == ({"bea"}, True)
    assert read_population(folder).identities.tolist() == ["ann"]
    with (folder / reports.DUPLICATES).open() as source:
        assert len(list(csv.reader(source))) == 1


def test_removing_somebody_unknown_removes_nobody(folder):
    enrol(folder, row("ann/1"), row("bea/1"))
    with pytest.raises(EnrolmentError, match="'cid'"):
        remove(folder, ["ann", "cid"])
    assert read_population(folder).identities.tolist() == ["ann", "bea"]
    assert remove(folder, ["ann"]) == 1
    assert remove(folder, ["ann"]) == 0  # they are gone already


def test_rows_of_the_removed_do_not_come_back(folder):
    enrol(folder, row("ann/1"), row("bea/1"))
    remove(folder, ["bea"])
    enrol(folder, row("bea/2"), row("cid/1"))
    assert read_population(folder).identities.tolist() == ["ann", "cid"]
    assert "bea" not in everywhere(folder)


def test_name_of_the_removed_counts_from_the_moment_it_is_listed(folder):
    """A command that was killed before it erased the rows has already taken effect, and is brought to its end."""
    enrol(folder, row("ann/1"), row("bea/1"))
    (folder / "removed.json").write_text(json.dumps({"identities": ["bea"], "erased": False}))
    assert read_population(folder).identities.tolist() == ["ann"]
    assert len(read_photos(folder, ("photo",))) == 1
    with writing.writing(folder, ABOUT):
        assert "bea" not in everywhere(folder)
    assert read_removed(folder) == ({"bea"}, True)


def test_reader_survives_compaction_under_its_hands(folder, monkeypatch):
    enrol(folder, row("ann/1"), row("bea/1"))
    reading, left = shards.read_shard, [2]

    def compacted_first(path, columns=None):
        if left[0]:
            left[0] -= 1
            store = Store(folder, read_about(folder))
            monkeypatch.setattr(shards, "read_shard", reading)
            store.compact()
            monkeypatch.setattr(shards, "read_shard", compacted_first)
        return reading(path, columns)

    monkeypatch.setattr(shards, "read_shard", compacted_first)
    assert read_population(folder).identities.tolist() == ["ann", "bea"]
    assert left == [0]

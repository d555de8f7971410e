"""An index is written whole and at least k strong, or not at all."""

import errno
import io
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services import files
from services.errors import IndexRefused
from services.population import index as index_module
from services.population.index import (
    CROWDS,
    ENROLMENT,
    MANIFEST,
    Crowds,
    Enrolment,
    calibrate_threshold,
    read_index,
    write_index,
)
from tests.unit.conftest import PROVENANCE

FILES = (MANIFEST, CROWDS, ENROLMENT)


# --- written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["crowds", "enrolment"])
def test_what_is_written_is_read_back(make_population, tmp_path, part):
    written = dict(zip(("crowds", "enrolment"), make_population(3, 4), strict=True))
    write_index(tmp_path / "town", *written.values(), k=3, same_person=0.5, provenance=PROVENANCE)
    found = getattr(read_index(tmp_path / "town"), part)
    for name, values in vars(written[part]).items():
        np.testing.assert_array_equal(getattr(found, name), values)


def test_manifest_says_what_the_index_is(pristine):
    manifest = read_index(pristine).manifest
    told = {key: manifest[key] for key in ("name", "k", "crowds", "identities", "sizes", "provenance")}
    sizes = [3, 3, 4]
    assert told == {"name": "town", "k": 3, "crowds": 3, "identities": 10, "sizes": sizes, "provenance": PROVENANCE}


def test_earlier_index_is_replaced(folder, make_population):
    write_index(folder, *make_population(5, 6), k=5, same_person=0.5, provenance={})
    assert read_index(folder).k == 5
    assert sorted(path.name for path in folder.parent.iterdir()) == ["town"]


def test_enrolment_is_readable_by_its_owner_only(folder):
    write_index(folder, *_arrays(folder), k=3, same_person=0.5, provenance={})
    assert stat.S_IMODE((folder / ENROLMENT).stat().st_mode) == 0o600


def _arrays(folder: Path) -> tuple[Crowds, Enrolment]:
    found = read_index(folder)
    return found.crowds, found.enrolment


def test_version_depends_on_content_only(make_population, tmp_path, monkeypatch):
    """Built twice, at different times and places, an index has the same version."""
    first = write_index(tmp_path / "one", *make_population(3, 3), k=3, same_person=0.5, provenance=PROVENANCE)

    class Later(index_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz).replace(year=2099)

    monkeypatch.setattr(index_module, "datetime", Later)
    second = write_index(tmp_path / "two", *make_population(3, 3), k=3, same_person=0.5, provenance=PROVENANCE)
    assert second.manifest["created"].startswith("2099")
    assert first.version == second.version


@pytest.mark.parametrize("change", ["k", "provenance", "people"])
def test_version_changes_with_content(make_population, tmp_path, change):
    provenance = {"seed": 1} if change == "provenance" else {}
    arguments = {"k": 2 if change == "k" else 3, "same_person": 0.5, "provenance": provenance}
    base = write_index(tmp_path / "one", *make_population(3, 3), k=3, same_person=0.5, provenance={})
    other = write_index(tmp_path / "two", *make_population(3, 3, seed=change == "people"), **arguments)
    assert base.version != other.version


def test_published_crowds_hold_the_arrays_of_crowds_only(pristine):
    with np.load(pristine / CROWDS) as archive:
        assert set(archive.files) == set(Crowds.__dataclass_fields__)


def test_no_enrolled_vector_is_in_the_published_crowds(pristine):
    with zipfile.ZipFile(pristine / CROWDS) as archive:
        published = b"".join(archive.read(name) for name in archive.namelist())
    embeddings = read_index(pristine).enrolment.embeddings
    assert all(row.tobytes() not in published for row in embeddings)
    assert all(row[:2].tobytes() not in published for row in embeddings)


def test_no_name_is_in_the_published_files(pristine):
    for name in (CROWDS, MANIFEST):
        assert b"person-" not in (pristine / name).read_bytes()


# --- refused at writing -----------------------------------------------------------------------------------------


def refused(crowds: Crowds, enrolment: Enrolment, k: int, folder: Path, says: str) -> None:
    with pytest.raises(IndexRefused, match=says):
        write_index(folder, crowds, enrolment, k, 0.5, {})
    assert not folder.exists()


def test_crowd_below_k_is_refused(make_population, tmp_path):
    refused(*make_population(3, 2, 4), 3, tmp_path / "town", "crowd 1 holds 2 distinct identities, below k = 3")


def test_identity_enrolled_twice_does_not_count_twice(make_population, tmp_path):
    crowds, enrolment = make_population(3, 3)
    names = enrolment.identities.copy()
    names[1] = names[0]
    refused(crowds, replace(enrolment, identities=names), 3, tmp_path / "town", "more than once")


def test_identity_in_two_crowds_is_refused(make_population, tmp_path):
    crowds, enrolment = make_population(3, 3)
    names = enrolment.identities.copy()
    names[5] = names[0]
    refused(crowds, replace(enrolment, identities=names), 3, tmp_path / "town", "more than once")


@pytest.mark.parametrize("k", [1, 0, -3])
def test_k_below_two_is_refused(make_population, tmp_path, k):
    refused(*make_population(3, 3), k, tmp_path / "town", "hides nobody")


def test_sizes_that_are_not_those_of_the_people_are_refused(make_population, tmp_path):
    crowds, enrolment = make_population(3, 3)
    refused(replace(crowds, sizes=np.array([3, 4])), enrolment, 3, tmp_path / "town", "sizes")


def test_empty_index_is_refused(make_population, tmp_path):
    crowds, enrolment = make_population(3)
    empty = Crowds(**{name: values[:0] for name, values in vars(crowds).items()})
    refused(empty, Enrolment(*(v[:0] for v in vars(enrolment).values())), 2, tmp_path / "town", "no crowds")


@pytest.mark.parametrize("name", ["centroids", "surrogate_latents", "surrogate_landmarks", "surrogate_embeddings"])
def test_missing_row_of_a_crowd_is_refused(make_population, tmp_path, name):
    crowds, enrolment = make_population(3, 3)
    refused(replace(crowds, **{name: vars(crowds)[name][:1]}), enrolment, 3, tmp_path / "town", "different lengths")


@pytest.mark.parametrize("crowd", [-1, 2])
def test_crowd_that_does_not_exist_is_refused(make_population, tmp_path, crowd):
    crowds, enrolment = make_population(3, 4)
    members = enrolment.crowd.copy()
    members[-1] = crowd
    refused(crowds, replace(enrolment, crowd=members), 3, tmp_path / "town", "not in the index")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(make_population, tmp_path, bad):
    crowds, enrolment = make_population(3, 3)
    latents = crowds.surrogate_latents.copy()
    latents[1, 2] = bad
    refused(replace(crowds, surrogate_latents=latents), enrolment, 3, tmp_path / "town", "not finite")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space left on device")


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_failed_write_leaves_nothing(make_population, tmp_path, monkeypatch, call):
    monkeypatch.setattr(*((files.os, "fsync") if call == "fsync" else (Path, "rename")), full_disk)
    with pytest.raises(OSError, match="no space"):
        write_index(tmp_path / "town", *make_population(3, 3), k=3, same_person=0.5, provenance={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_failed_write_keeps_the_earlier_index(folder, make_population, monkeypatch, call):
    before = read_index(folder).version
    with monkeypatch.context() as patch:
        patch.setattr(*((files.os, "fsync") if call == "fsync" else (Path, "rename")), full_disk)
        with pytest.raises(OSError, match="no space"):
            write_index(folder, *make_population(5, 5), k=5, same_person=0.5, provenance={})
    assert read_index(folder).version == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["town"]


# --- identity threshold -----------------------------------------------------------------------------------------


def test_threshold_leaves_99_percent_without_a_nearer_neighbour():
    """Compared with all distances computed one by one, across the block size of 1024."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1100, 3)) * 3
    nearest = [np.sort(np.linalg.norm(points - p, axis=1))[1] for p in points]
    assert calibrate_threshold(points, 100.0) == pytest.approx(np.percentile(nearest, 1), rel=0.01)


def test_threshold_is_never_above_what_the_embedder_calls_one_person():
    assert calibrate_threshold(np.array([(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)]), 0.7) == 0.7


def test_threshold_of_people_who_cannot_be_told_apart_is_zero():
    assert calibrate_threshold(np.ones((5, 4), np.float32), 0.5) == 0.0


def test_archives_hold_no_time_of_writing(pristine):
    """Otherwise the version would change with the clock."""
    with zipfile.ZipFile(io.BytesIO((pristine / CROWDS).read_bytes())) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_identities_with_one_and_the_same_embedding_are_refused_and_nothing_is_lost(folder, make_population):
    crowds, enrolment = make_population(5, 5)
    enrolment.embeddings[1] = enrolment.embeddings[0]
    before = read_index(folder).version
    with pytest.raises(IndexRefused, match="one person"):
        write_index(folder, crowds, enrolment, 5, 0.5, PROVENANCE)
    assert read_index(folder).version == before

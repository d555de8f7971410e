"""An index is written whole and at least k strong, or not at all."""

import errno
import io
import os
import shutil
import signal
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from services import files
from services.errors import ConfigurationError, IndexRefused
from services.population.index import (
    CROWDS,
    MANIFEST,
    Crowds,
    Enrolment,
    building,
    calibrate_threshold,
    index_folder,
    read_index,
    versions_of,
)
from services.population.index import version as version_module
from tests.unit.conftest import PROVENANCE, store_beside, write_index

# --- written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["crowds", "enrolment"])
def test_what_is_written_is_read_back(make_population, tmp_path, part):
    written = dict(zip(("crowds", "enrolment"), make_population(3, 4), strict=True))
    folder = tmp_path / "town"
    version = write_index(folder, *written.values()).version
    found = {"crowds": read_index(folder).crowds, "enrolment": store_beside(folder).read(version)}[part]
    for name, values in vars(written[part]).items():
        np.testing.assert_array_equal(getattr(found, name), values)


def test_manifest_says_what_the_index_is(pristine):
    manifest = read_index(pristine).manifest
    told = {key: manifest[key] for key in ("name", "k", "crowds", "people", "sizes", "provenance")}
    sizes = [3, 3, 4]
    assert told == {"name": "town", "k": 3, "crowds": 3, "people": 10, "sizes": sizes, "provenance": PROVENANCE}


def test_map_and_key_are_readable_by_their_owner_only(town):
    store = store_beside(town)
    for path in (*store.folder.iterdir(), store.key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_version_depends_on_content_only(make_population, tmp_path, monkeypatch):
    """Built twice, at different times and places, an index has the same version."""
    first = write_index(tmp_path / "one" / "town", *make_population(3, 3), provenance=PROVENANCE)

    class Later(version_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz).replace(year=2099)

    monkeypatch.setattr(version_module, "datetime", Later)
    second = write_index(tmp_path / "two" / "town", *make_population(3, 3), provenance=PROVENANCE)
    assert second.manifest["created"].startswith("2099")
    assert first.version == second.version


@pytest.mark.parametrize("change", ["k", "provenance", "people"])
def test_version_changes_with_content(make_population, tmp_path, change):
    provenance = {"seed": 1} if change == "provenance" else {}
    arguments = {"k": 2 if change == "k" else 3, "provenance": provenance}
    base = write_index(tmp_path / "one" / "town", *make_population(3, 3))
    other = write_index(tmp_path / "two" / "town", *make_population(3, 3, seed=change == "people"), **arguments)
    assert base.version != other.version


def test_published_crowds_hold_the_arrays_of_crowds_only(pristine):
    with np.load(pristine / "current" / CROWDS) as archive:
        assert set(archive.files) == set(Crowds.__dataclass_fields__)


def test_no_enrolled_vector_is_in_the_published_crowds(pristine):
    with zipfile.ZipFile(pristine / "current" / CROWDS) as archive:
        published = b"".join(archive.read(name) for name in archive.namelist())
    embeddings = store_beside(pristine).read(read_index(pristine).version).embeddings
    assert all(row.tobytes() not in published for row in embeddings)
    assert all(row[:2].tobytes() not in published for row in embeddings)


def test_no_name_is_in_the_published_files(pristine):
    for name in (CROWDS, MANIFEST):
        assert b"person-" not in (pristine / "current" / name).read_bytes()


# --- refused at writing -----------------------------------------------------------------------------------------


def refused(crowds: Crowds, enrolment: Enrolment, k: int, folder: Path, says: str) -> None:
    with pytest.raises(IndexRefused, match=says):
        write_index(folder, crowds, enrolment, k)
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
    refused(empty, enrolment.without(enrolment.identities.tolist(), b""), 2, tmp_path / "town", "no crowds")


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


@pytest.mark.parametrize(
    ("module", "call"), [(files.os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "symlink_to")]
)
def test_failed_write_leaves_nothing_but_the_key(make_population, tmp_path, monkeypatch, module, call):
    monkeypatch.setattr(module, call, full_disk)
    with pytest.raises(OSError, match="no space"):
        write_index(tmp_path / "town", *make_population(3, 3))
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert set(left) <= {"maps-town", "town.key"}


@pytest.mark.parametrize(
    ("module", "call"), [(files.os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "symlink_to")]
)
def test_failed_write_keeps_the_earlier_index(town, make_population, monkeypatch, module, call):
    before = read_index(town).version
    entries = sorted(path.name for path in town.parent.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(module, call, full_disk)
        with pytest.raises(OSError, match="no space"):
            write_index(town, *make_population(5, 5), k=5)
    assert read_index(town).version == before
    assert store_beside(town).read(before).identities.size == 10
    assert sorted(path.name for path in town.parent.rglob("*")) == entries


def dies_before(call: int, work: Callable[[], object]) -> bool:
    """Does work in a process that is killed before its `call`-th step on disk. False: it had fewer, and is done."""
    child = os.fork()
    if child == 0:
        steps = count(1)
        for name in ("mkdir", "fsync", "rename", "replace", "symlink", "unlink"):
            setattr(os, name, partial(_step, steps, call, getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def _step(steps: Iterator[int], last: int, do: Callable[..., object], *arguments: object, **named: object) -> object:
    if next(steps) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return do(*arguments, **named)


@pytest.mark.parametrize("then", ["the same", "other people"])
def test_builder_killed_before_any_step_leaves_a_sound_index_and_the_next_one_succeeds(
    pristine, tmp_path, make_population, then
):
    new = make_population(5, 5)
    for call in count(1):
        town = tmp_path / str(call) / "town"
        shutil.copytree(pristine.parent, town.parent, symlinks=True)
        old = read_index(town).version
        died = dies_before(call, lambda at=town: write_index(at, *new, k=5))
        between = read_index(town).version
        store_beside(town).read(between)
        index = write_index(town, *(new if then == "the same" else make_population(6, 6)), k=5)
        assert read_index(town).version == index.version
        assert between in (old, index.version) or then == "other people"
        assert [path.name for path in town.glob(".*")] == [".lock"]
        maps = {path.stem for path in store_beside(town).folder.glob("*.map")}
        assert maps <= {path.name for path in versions_of(town)}  # else nobody could be removed from them
        if not died:
            break
    assert call > 8


def test_what_a_killed_write_of_a_map_left_is_cleared(town):
    store, version = store_beside(town), read_index(town).version
    (store.folder / f".{version}-abc").write_bytes(b"half")
    store.clear(version)
    assert [path.name for path in store.folder.iterdir()] == [f"{version}.map"]


def test_builder_removes_nothing_but_what_builders_leave(tmp_path):
    for name in (".git", ".new-1", ".ssh"):
        (tmp_path / "town" / name).mkdir(parents=True)
        (tmp_path / "town" / name / "file").touch()
    with building(tmp_path / "town"):
        assert sorted(path.name for path in (tmp_path / "town").iterdir()) == [".git", ".lock", ".ssh"]


@pytest.mark.parametrize("name", ["..", "../..", "a/b", "/tmp", ".hidden", "", "a\nb", "a" * 101])
def test_path_cannot_name_an_index(tmp_path, make_population, name):
    with pytest.raises(ConfigurationError, match="cannot name an index"):
        index_folder(name, tmp_path)
    assert index_folder("town-2.b_c", tmp_path) == tmp_path / "indexes" / "town-2.b_c"


def test_folder_whose_name_a_reader_would_refuse_is_not_written(make_population, tmp_path):
    refused(*make_population(3, 3), 3, tmp_path / "t\u00f6wn", "cannot name an index")


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
    with zipfile.ZipFile(io.BytesIO((pristine / "current" / CROWDS).read_bytes())) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_identities_with_one_and_the_same_embedding_are_refused_and_nothing_is_lost(town, make_population):
    crowds, enrolment = make_population(5, 5)
    enrolment.embeddings[1] = enrolment.embeddings[0]
    before = read_index(town).version
    with pytest.raises(IndexRefused, match="one person"):
        write_index(town, crowds, enrolment, 5)
    assert read_index(town).version == before


def test_names_of_one_person_may_share_an_embedding(town, make_population):
    """They count once, so the crowds are of five and four people."""
    crowds, enrolment = make_population(5, 5)
    enrolment.embeddings[6] = enrolment.embeddings[5]
    enrolment.person[6] = enrolment.person[5]
    with pytest.raises(IndexRefused, match="crowd 1 holds 4 distinct identities, below k = 5"):
        write_index(town, crowds, enrolment, 5)
    index = write_index(town, replace(crowds, sizes=np.array([5, 4])), enrolment, 4)
    assert index.crowds.sizes.tolist() == [5, 4]


def test_person_in_two_crowds_is_refused(make_population, tmp_path):
    crowds, enrolment = make_population(4, 4)
    enrolment.person[7] = enrolment.person[0]
    refused(crowds, enrolment, 3, tmp_path / "town", "a person is in two crowds")

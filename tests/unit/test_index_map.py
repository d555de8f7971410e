"""The enrolment map: encrypted, bound to its version, and left out at will."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import ConfigurationError, IndexRefused
from services.population.index import EnrolmentStore, open_index, read_index
from services.population.index import seal as seal_module
from services.population.index.seal import make_key, read_key, seal, tags, unseal
from services.settings import Settings
from tests.unit.conftest import store_beside, write_index

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@settings(max_examples=40)
@given(data=st.binary(max_size=200), chunk=st.integers(1, 60))
def test_sealed_bytes_open_again_whatever_the_chunk(monkeypatch, data, chunk):
    monkeypatch.setattr(seal_module, "CHUNK", chunk)
    assert unseal(seal(data, KEY, "0001"), KEY, "0001") == data


def test_sealing_twice_gives_different_bytes():
    assert seal(b"people", KEY, "") != seal(b"people", KEY, "")


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_is_found(monkeypatch, place, change):
    monkeypatch.setattr(seal_module, "CHUNK", 16)
    sealed = bytearray(seal(b"x" * 50, KEY, "0001"))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(IndexRefused):
        unseal(bytes(sealed), KEY, "0001")


@pytest.mark.parametrize("change", ["dropped", "repeated", "moved", "cut", "longer"])
def test_chunks_cannot_be_dropped_repeated_or_moved(monkeypatch, change):
    monkeypatch.setattr(seal_module, "CHUNK", 16)
    sealed, start, step = seal(bytes(range(64)), KEY, "0001"), 35, 32
    first, second, rest = sealed[start : start + step], sealed[start + step : start + 2 * step], sealed[start + 64 :]
    assert len(sealed) == start + 4 * step
    changed = {
        "dropped": first + rest,
        "repeated": first + first + second + rest,
        "moved": second + first + rest,
        "cut": first + second,
        "longer": first + second + rest + rest[-step:],
    }[change]
    with pytest.raises(IndexRefused, match="does not open"):
        unseal(sealed[:start] + changed, KEY, "0001")


@pytest.mark.parametrize(("key", "context"), [(OTHER, "0001"), (KEY, "0002")])
def test_other_keys_and_other_versions_do_not_open_it(key, context):
    with pytest.raises(IndexRefused, match="does not open"):
        unseal(seal(b"people", KEY, "0001"), key, context)


def test_tags_tell_names_apart_and_depend_on_the_key():
    assert tags(["a", "b", "a"], KEY)[0] == tags(["a"], KEY)[0]
    assert len({*tags(["a", "b"], KEY), *tags(["a"], OTHER)}) == 3


def test_key_is_not_written_over(tmp_path):
    key = make_key(tmp_path / "keys" / "town.key")
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "keys" / "town.key")
    assert read_key(tmp_path / "keys" / "town.key") == key
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["town.key"]


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "00" * 31, "\udcff"])
def test_file_that_is_no_key_is_refused(tmp_path, text):
    path = tmp_path / "key"
    path.write_bytes(os.fsencode(text))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        read_key(path)


def test_key_that_everybody_may_read_is_refused(tmp_path):
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(tmp_path / "key")


def test_lost_key_is_not_replaced_by_a_new_one(town):
    """A new key would open none of the maps that are there."""
    store = store_beside(town)
    store.key_file.unlink()
    with pytest.raises(ConfigurationError, match="restore it"):
        store.key()


def test_nothing_of_anybody_can_be_read_in_the_map(town):
    store = store_beside(town)
    (path,) = store.folder.iterdir()
    enrolment, data = store.read(path.stem), path.read_bytes()
    assert b"person-" not in data
    assert all(row[:2].tobytes() not in data for row in enrolment.embeddings)


# --- deployed or left out ---------------------------------------------------------------------------------------


def deployed(town: Path, **changes: object) -> Settings:
    store = store_beside(town)
    return Settings(index=str(town), enrolment_maps=store.folder, enrolment_key=store.key_file, **changes)


def test_index_is_opened_with_its_map(town):
    assert open_index(deployed(town)).enrolled.identities.size == 10


@pytest.mark.parametrize("how", ["off", "not there"])
def test_index_opens_without_its_map(town, how):
    store = store_beside(town)
    if how == "not there":
        store.path(read_index(town).version).unlink()
    index = open_index(deployed(town, enrolment="off" if how == "off" else "auto"))
    assert index.enrolment is None
    with pytest.raises(IndexRefused, match="not here"):
        _ = index.enrolled


def test_map_that_is_required_must_be_there(town):
    store_beside(town).path(read_index(town).version).unlink()
    with pytest.raises(IndexRefused, match="no enrolment map"):
        open_index(deployed(town, enrolment="require"))


def test_map_without_its_key_is_not_passed_over(town):
    """Whoever deploys the map means it: serving without would put people into crowds that are not theirs."""
    store_beside(town).key_file.unlink()
    with pytest.raises(ConfigurationError, match="ANONFACES_ENROLMENT_KEY"):
        open_index(deployed(town))


def test_map_of_another_version_is_refused(town, make_population):
    store, old = store_beside(town), read_index(town).version
    new = write_index(town, *make_population(4, 4), k=4).version
    store.path(old).replace(store.path(new))
    with pytest.raises(IndexRefused, match="does not open"):
        open_index(deployed(town))


def test_map_that_does_not_fit_the_crowds_is_refused(town):
    store, version = store_beside(town), read_index(town).version
    enrolment = store.read(version)
    store.write(replace(enrolment, crowd=np.roll(enrolment.crowd, 1)), version)
    store.write(enrolment, version)
    open_index(deployed(town))
    crowd = enrolment.crowd.copy()
    crowd[0] = 1
    store.write(replace(enrolment, crowd=crowd), version)
    with pytest.raises(IndexRefused, match="below k = 3"):
        open_index(deployed(town))


def test_maps_lie_where_the_settings_say():
    plain = EnrolmentStore.of(Settings(home=Path("/h")), "town")
    assert (plain.folder, plain.key_file) == (Path("/h/maps/town"), Path("/h/keys/town.key"))
    told = EnrolmentStore.of(Settings(enrolment_maps=Path("/m"), enrolment_key=Path("/k")), "town")
    assert (told.folder, told.key_file) == (Path("/m"), Path("/k"))

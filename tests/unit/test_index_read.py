"""An index is read unchanged and at least k strong, or refused: also when a forger made every checksum right."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import IndexRefused
from services.population.compatibility import check_made_for
from services.population.index import CROWDS, MANIFEST, ClusterIndex, check_enrolment, read_index, version_folder
from services.population.index import version as version_module
from tests.unit.conftest import MODELS, PROVENANCE, store_beside, write_index

FILES = (MANIFEST, CROWDS)


def reseal(folder: Path, rename: bool = False, **changes: object) -> str:
    """What an attacker who knows the format does: all hashes and checksums made consistent again.

    Args:
        rename: the version's name too, which is a hash as well.

    Returns:
        The name.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (CROWDS,)}
    manifest |= {"files": hashes, **changes}
    manifest = {key: value for key, value in manifest.items() if value is not None}
    if rename:
        manifest["version"] = manifest["ledger"][-1]["version"] = version_module._version_of(manifest)
    (folder / MANIFEST).write_bytes(version_module._seal(manifest))
    return str(manifest.get("version"))


def repack(path: Path, **changes: np.ndarray) -> None:
    """Writes an archive again with other arrays in it."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **arrays)


# --- refused at loading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_refused(pristine, tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("changed") / "town"
    shutil.copytree(pristine / "current", folder)
    raw = bytearray((folder / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(raw)
    with pytest.raises(IndexRefused):
        read_index(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "change", [lambda b: b + b"\n", lambda b: b[:-1], lambda b: b""], ids=["longer", "shorter", "empty"]
)
def test_file_of_another_length_is_refused(folder, name, change):
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(IndexRefused):
        read_index(folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(IndexRefused, match=name):
        read_index(folder)


@pytest.mark.parametrize("name", FILES)
def test_pipe_in_place_of_a_file_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(IndexRefused, match="no regular file"):
        read_index(folder)


def test_no_index_at_all_says_how_to_make_one(tmp_path):
    with pytest.raises(IndexRefused, match="anonfaces population build"):
        read_index(tmp_path / "nowhere")


def test_reindented_manifest_is_refused(folder):
    (folder / MANIFEST).write_text(json.dumps(json.loads((folder / MANIFEST).read_text()), indent=2, sort_keys=True))
    with pytest.raises(IndexRefused, match="changed"):
        read_index(folder)


@pytest.mark.parametrize("text", ["[]", "null", "{}", "3", '"text"', "{", "\ufeff{}"])
def test_manifest_that_is_no_manifest_is_refused(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(IndexRefused):
        read_index(folder)


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_other_format_version_is_refused(folder, version):
    reseal(folder, format=version)
    with pytest.raises(IndexRefused, match="format"):
        read_index(folder)


# --- a forger who makes every checksum right --------------------------------------------------------------------


def test_unchanged_index_survives_resealing(folder):
    """Shows that the refusals below are not for a wrong seal."""
    reseal(folder)
    assert read_index(folder).k == 3


def test_forged_k_above_the_crowds_is_refused(folder):
    reseal(folder, k=4)
    with pytest.raises(IndexRefused, match="below k = 4"):
        read_index(folder)


def test_forged_sizes_are_refused_with_the_map(folder, town):
    """Somebody without the map cannot see it if every name is forged as well; who holds the map counts people."""
    genuine, store = read_index(folder).version, store_beside(town)
    repack(folder / CROWDS, sizes=np.array([4, 4, 4]))
    version = reseal(folder, rename=True, k=4, sizes=[4, 4, 4], people=12)
    forged = read_index(folder)
    with pytest.raises(IndexRefused, match="below k = 4"):
        check_enrolment(forged.crowds, store.read(genuine), forged.k)
    store.path(genuine).rename(store.path(version))
    with pytest.raises(IndexRefused, match="does not open"):
        store.read(version)


@pytest.mark.parametrize("name", ["centroids", "surrogate_latents", "surrogate_landmarks", "surrogate_embeddings"])
def test_forged_crowds_are_not_those_that_the_version_is_named_after(folder, name):
    """A surrogate that is a member's face, say: every checksum is right, and the map would open."""
    with np.load(folder / CROWDS) as archive:
        values = archive[name]
    values[0] += 0.1
    repack(folder / CROWDS, **{name: values})
    reseal(folder)
    with pytest.raises(IndexRefused, match="holds other crowds"):
        read_index(folder)


@pytest.mark.parametrize("change", [{"k": 2}, {"identity_threshold": 9.0}, {"provenance": {}}, {"name": "city"}])
def test_forged_manifest_is_not_that_which_the_version_is_named_after(folder, change):
    reseal(folder, **change)
    with pytest.raises(IndexRefused, match="another k or another history"):
        read_index(folder)


def test_crowds_of_another_version_are_refused(folder, town, make_population):
    write_index(town, *make_population(3, 3, 4, seed=1), provenance=PROVENANCE)
    shutil.copy(town / "current" / CROWDS, folder / CROWDS)
    with pytest.raises(IndexRefused, match="was changed"):
        read_index(folder)
    reseal(folder)
    with pytest.raises(IndexRefused, match="holds other crowds"):
        read_index(folder)


@pytest.mark.parametrize("change", [{"identity_threshold": np.inf}, {"name": "../../town"}, {"name": "a/b"}])
def test_manifest_with_a_value_that_no_index_has_is_refused(folder, change):
    """A name is a part of the paths of maps and keys."""
    reseal(folder, rename=True, **change)
    with pytest.raises(IndexRefused, match=next(iter(change))):
        read_index(folder)


def test_forged_sizes_that_the_manifest_does_not_name_are_refused(folder):
    repack(folder / CROWDS, sizes=np.array([4, 4, 4]))
    reseal(folder)
    with pytest.raises(IndexRefused, match="does not describe"):
        read_index(folder)


def test_forged_k_of_one_is_refused(folder):
    reseal(folder, k=1)
    with pytest.raises(IndexRefused, match="hides nobody"):
        read_index(folder)


@pytest.mark.parametrize("key", ["k", "sizes", "people", "files", "provenance", "identity_threshold", "ledger"])
def test_manifest_without_a_key_is_refused(folder, key):
    reseal(folder, **{key: None})
    with pytest.raises(IndexRefused):
        read_index(folder)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY", b"text"], ids=["empty", "zip", "npy", "text"]
)
def test_file_that_is_no_archive_is_refused(folder, data):
    (folder / CROWDS).write_bytes(data)
    reseal(folder)
    with pytest.raises(IndexRefused):
        read_index(folder)


def test_archive_that_would_unpack_to_more_than_it_is_is_refused(folder):
    with np.load(folder / CROWDS) as archive:
        arrays = {**archive, "surrogate_latents": np.zeros((3, 1 << 20), np.float32)}
    np.savez_compressed(folder / CROWDS, **arrays)
    assert (folder / CROWDS).stat().st_size < 1 << 20
    reseal(folder, rename=True)
    with pytest.raises(IndexRefused, match="compressed"):
        read_index(folder)


@pytest.mark.parametrize("entry", ["sizes", "sizes.npy"])
@pytest.mark.parametrize("rows", [3, 1 << 40])
def test_array_that_is_not_what_it_claims_is_refused(folder, entry, rows):
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({rows},), }}\n".encode()
    with zipfile.ZipFile(folder / CROWDS) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    del members["sizes.npy"]
    members[entry] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    with zipfile.ZipFile(folder / CROWDS, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    reseal(folder, rename=True)
    with pytest.raises(IndexRefused, match="does not hold the arrays"):
        read_index(folder)


class Exploit:
    def __reduce__(self):
        return pytest.fail, ("a pickle in the index was run",)


def test_pickled_objects_are_refused_and_not_run(folder):
    repack(folder / CROWDS, sizes=np.array([Exploit()] * 3, dtype=object))
    reseal(folder)
    with pytest.raises(IndexRefused):
        read_index(folder)


@pytest.mark.parametrize("extra", ["embeddings", "identities"])
def test_published_crowds_with_member_data_are_refused(folder, extra):
    repack(folder / CROWDS, **{extra: np.ones((10, 8), np.float32)})
    reseal(folder)
    with pytest.raises(IndexRefused, match="arrays of a cluster index"):
        read_index(folder)


# --- used with the models it was made with ----------------------------------------------------------------------


def test_index_made_with_the_served_models_is_accepted(pristine):
    check_made_for(read_index(pristine), MODELS)


@pytest.mark.parametrize("part", ["detector", "embedder", "aligner", "generator"])
def test_index_made_with_another_model_is_refused(pristine, part):
    found = read_index(pristine)
    other = ClusterIndex({**found.manifest, "provenance": {**PROVENANCE, part: "another"}}, found.crowds)
    with pytest.raises(IndexRefused, match=f"made with {part} 'another'"):
        check_made_for(other, MODELS)


@pytest.mark.parametrize("part", ["embedder", "generator"])
def test_index_of_other_lengths_than_the_models_is_refused(pristine, part):
    longer = {
        "embedder": MODELS.embedder.model_copy(update={"dims": 9}),
        "generator": MODELS.generator.model_copy(update={"latent_shape": (7,)}),
    }
    with pytest.raises(IndexRefused, match="lengths"):
        check_made_for(read_index(pristine), MODELS.model_copy(update={part: longer[part]}))


# --- one of several versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["1", "0001", "0001-"])
def test_version_is_found_by_its_number_or_the_start_of_its_name(town, folder, wanted):
    assert version_folder(town, wanted) == folder


@pytest.mark.parametrize("wanted", ["2", "0002-", "²", "../0001", "00001"])
def test_version_that_is_not_there_is_named_with_those_that_are(town, folder, wanted):
    with pytest.raises(IndexRefused, match=f"0 versions of town.*there are: {folder.name}"):
        version_folder(town, wanted)

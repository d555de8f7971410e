"""An index is read unchanged and at least k strong, or refused: also when a forger made every checksum right."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import IndexRefused
from services.population.compatibility import check_made_for
from services.population.index import CROWDS, MANIFEST, ClusterIndex, check_enrolment, read_index
from services.population.index import version as version_module
from tests.unit.conftest import MODELS, PROVENANCE, store_beside

FILES = (MANIFEST, CROWDS)


def reseal(folder: Path, **changes: object) -> None:
    """What an attacker who knows the format does: all hashes and checksums made consistent again."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (CROWDS,)}
    manifest |= {"files": hashes, **changes}
    manifest = {key: value for key, value in manifest.items() if value is not None}
    (folder / MANIFEST).write_bytes(version_module._seal(manifest))


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
    """The published files alone cannot show it; who holds the map counts people."""
    repack(folder / CROWDS, sizes=np.array([4, 4, 4]))
    reseal(folder, k=4, sizes=[4, 4, 4], people=12)
    forged = read_index(folder)
    with pytest.raises(IndexRefused, match="below k = 4"):
        check_enrolment(forged.crowds, store_beside(town).read(forged.version), forged.k)


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

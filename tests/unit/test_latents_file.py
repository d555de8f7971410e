"""Latents of photos: kept, read back, and taken over from StyleGAN-encoder's files after a check."""

import stat

import numpy as np
import pytest

from services.anonymizer.models import Generator
from services.errors import LatentsRefused
from services.population.latents_file import Latents, import_latents, read_latents, write_latents

LAYERED = Generator(name="ffhq", model="ffhq-synthesis", latent_shape=(18, 512), image_size=(64, 64))
FLAT = Generator(name="mobile", model="mobile", latent_shape=(512,), image_size=(64, 64))


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "npy" / "ann").mkdir(parents=True)
    return tmp_path / "npy"


def taken(folder, generator=LAYERED) -> Latents:
    return import_latents(sorted(folder.rglob("*.npy")), folder, generator)


def test_what_is_written_is_read_back(tmp_path):
    values = some(2, 18, 512)
    write_latents(Latents("ffhq", ["ann/1", "bob/1"], values), tmp_path / "latents.npz")
    found = read_latents(tmp_path / "latents.npz")
    assert (found.generator, found.names) == ("ffhq", ["ann/1", "bob/1"])
    np.testing.assert_array_equal(found.values, values)
    assert stat.S_IMODE((tmp_path / "latents.npz").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npz"]


def test_encoders_files_keep_identity_and_photo_as_names(folder):
    np.save(folder / "ann" / "first.npy", some(18, 512))
    np.save(folder / "second.npy", some(1, 18, 512).astype(np.float64))
    found = taken(folder)
    assert found.names == ["ann/first", "second"]
    assert found.values.shape == (2, 18, 512)
    assert found.values.dtype == np.float32


def test_single_w_is_used_in_every_layer(folder):
    w = some(512)
    np.save(folder / "w.npy", w)
    (latent,) = taken(folder).values
    assert (latent == w).all()
    assert latent.shape == (18, 512)
    (flat,) = taken(folder, FLAT).values
    np.testing.assert_array_equal(flat, w)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (some(16, 512), r"shape \[16, 512\].*\[18, 512\] or \[512\]"),
        (some(18, 256), "shape"),
        (np.full((18, 512), np.nan, np.float32), "values that no latent has"),
        (np.full((18, 512), 1e9, np.float32), "values that no latent has"),
        (np.zeros((18, 512), np.int64), "no floating-point"),
        (np.array([None, "x"], object), "not a whole .npy file of numbers"),
    ],
    ids=["layers", "dims", "nan", "huge", "integers", "objects"],
)
def test_file_that_is_no_latent_is_refused_by_name(folder, value, reason):
    np.save(folder / "odd.npy", value, allow_pickle=True)
    with pytest.raises(LatentsRefused, match=rf"odd\.npy.*{reason}"):
        taken(folder)


def test_latents_of_a_generator_with_one_w_refuse_layers(folder):
    np.save(folder / "layers.npy", some(18, 512))
    with pytest.raises(LatentsRefused, match=r"latents of mobile have \[512\]"):
        taken(folder, FLAT)


def test_file_that_claims_gigabytes_is_refused_at_once(folder):
    np.save(folder / "liar.npy", some(18, 512))
    header = np.lib.format.header_data_from_array_1_0(np.zeros((18, 512), np.float32)) | {"shape": (18, 50_000_000)}
    with (folder / "liar.npy").open("wb") as sink:
        np.lib.format.write_array_header_1_0(sink, header)
        sink.write(bytes(1000))
    with pytest.raises(LatentsRefused, match="liar"):
        taken(folder)


def test_empty_folder_is_refused(folder):
    with pytest.raises(LatentsRefused, match=r"no \.npy files"):
        taken(folder)


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04 not an archive"])
def test_file_that_is_not_of_latents_is_refused(tmp_path, data):
    (tmp_path / "latents.npz").write_bytes(data)
    with pytest.raises(LatentsRefused, match="not a file of latents"):
        read_latents(tmp_path / "latents.npz")


def test_names_and_latents_of_different_lengths_are_refused(tmp_path):
    np.savez(tmp_path / "l.npz", generator=np.array("ffhq"), names=np.array(["a"]), latents=some(2, 512))
    with pytest.raises(LatentsRefused, match="for each name"):
        read_latents(tmp_path / "l.npz")

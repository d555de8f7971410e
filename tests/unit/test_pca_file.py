"""The file of a PCA gives back what was saved; a bad one is refused in one way, and nothing is published from it."""

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from conversion.pca.file import MAX_FILE_BYTES, Pca, load
from conversion.registry import Options
from conversion.repository import convert_file
from services.errors import ConversionError


@pytest.fixture(scope="module")
def small() -> Pca:
    """Ten dimensions of 25 x 25 values that make a PCA, fitted to nothing."""
    rng = np.random.default_rng(0)
    directions, _ = np.linalg.qr(rng.normal(size=(625, 10)))
    variance = np.geomspace(100, 1, 10, dtype=np.float32)
    return Pca(
        mean=rng.normal(size=625).astype(np.float32),
        components=np.ascontiguousarray(directions.T, np.float32),
        explained_variance=variance,
        explained_variance_ratio=variance / 625,
        whiten=True,
        normalise=True,
        side=25,
        chips=40,
        same_person=2.5,
    )


# --- the file ---------------------------------------------------------------------------------------------------


def test_file_holds_what_was_saved(small, tmp_path):
    small.save(tmp_path / "pca.npz")
    read = load(tmp_path / "pca.npz")
    for name, value in vars(small).items():
        np.testing.assert_array_equal(getattr(read, name), value, strict=isinstance(value, np.ndarray))


def test_same_pca_gives_the_same_bytes(small, tmp_path):
    for name in "ab":
        small.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_leaves_nothing_else_behind(small, tmp_path):
    small.save(tmp_path / "pca.npz")
    small.save(tmp_path / "pca.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["pca.npz"]


def test_place_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match="cannot be written"):
        small.save(tmp_path / "file" / "pca.npz")


def test_compressed_file_is_read(small, tmp_path):
    np.savez_compressed(tmp_path / "pca.npz", **vars(small))
    np.testing.assert_array_equal(load(tmp_path / "pca.npz").components, small.components)


# --- bad files --------------------------------------------------------------------------------------------------

Arrays = dict[str, np.ndarray]


def packed(arrays: Arrays) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def with_array(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Arrays], bytes]:
    return lambda arrays: packed({**arrays, name: np.asarray(change(arrays[name]))})


def poked(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def poke(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[3] = value
        return array

    return poke


def zipped(arrays: Arrays, how: int, components: bytes | None = None) -> bytes:
    """The archive written by hand, with other bytes for `components`."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", how) as archive:
        for name, value in arrays.items():
            member = io.BytesIO()
            npy.write_array(member, np.asarray(value))
            archive.writestr(f"{name}.npy", components if name == "components" and components else member.getvalue())
    return sink.getvalue()


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    sink = io.BytesIO()
    npy.write_array_header_1_0(sink, {"descr": dtype, "fortran_order": False, "shape": shape})
    return sink.getvalue()


def bomb(arrays: Arrays) -> bytes:
    """50 MB of zeros in some 50 kB, behind a header that is right."""
    return zipped(arrays, zipfile.ZIP_DEFLATED, header((10, 625)) + bytes(50_000_000))


def lacking(arrays: Arrays) -> bytes:
    return packed({name: value for name, value in arrays.items() if name != "mean"})


# How a file is spoilt, and what the refusal says of it.
BAD: dict[str, tuple[Callable[[Arrays], bytes], str]] = {
    "empty": (lambda a: b"", "zip"),
    "text": (lambda a: b"a photo album", "zip"),
    "one array": (lambda a: header((3,)) + bytes(12), "zip"),
    "truncated": (lambda a: packed(a)[: len(packed(a)) // 2], "zip"),
    "archive without arrays": (lambda a: zipped({}, zipfile.ZIP_STORED), "lacks mean, components"),
    "missing array": (lacking, "lacks mean; fit"),
    "further array": (lambda a: packed({**a, "more": np.zeros(3)}), "more than a PCA"),
    "pickled objects": (with_array("mean", lambda m: m.astype(object)), "mean.npy is not an array of float32"),
    "double precision": (
        with_array("components", lambda c: c.astype("f8")),
        "components.npy is not an array of float32",
    ),
    "columns first": (with_array("components", np.asfortranarray), "C order"),
    "other shape": (with_array("components", lambda c: c[:, :-1].copy()), "shape"),
    "too few dimensions": (with_array("components", lambda c: c[:9]), "shape"),
    "mean of another size": (with_array("mean", lambda m: m[:-1]), "mean.npy has the shape"),
    "side of another size": (with_array("side", lambda s: np.int64(50)), "side 50 does not fit"),
    "vector for a number": (with_array("chips", lambda c: np.array([c, c])), "chips.npy has the shape"),
    "not a number": (with_array("components", poked(np.nan)), "components holds values that are not numbers"),
    "infinite": (with_array("mean", poked(np.inf)), "mean holds values that are not numbers"),
    "negative variance": (with_array("explained_variance", poked(-1)), "variances are out of range"),
    "more than all variance": (with_array("explained_variance_ratio", poked(5)), "variances are out of range"),
    "no directions": (with_array("components", np.zeros_like), "orthonormal"),
    "no distance": (with_array("same_person", lambda d: np.float64(0)), "same_person"),
    "fewer chips than dimensions": (with_array("chips", lambda c: np.int64(10)), "chips"),
    "claims 3 GB": (lambda a: zipped(a, zipfile.ZIP_STORED, header((256, 3_000_000))), "shape"),
    "claims more than it has": (lambda a: zipped(a, zipfile.ZIP_STORED, header((256, 5625))), "shorter or longer"),
    "claims a negative size": (lambda a: zipped(a, zipfile.ZIP_STORED, header((-10, 625))), "shape"),
    "other version": (lambda a: zipped(a, zipfile.ZIP_STORED, b"\x93NUMPY\x02\x00" + bytes(200)), "unknown version"),
    "unpacks to 50 MB": (bomb, "shorter or longer"),
    "packed without a bound": (lambda a: zipped(a, zipfile.ZIP_BZIP2), "packed in a way"),
    "too large": (lambda a: packed(a) + bytes(MAX_FILE_BYTES), "at most"),
}


@pytest.fixture(scope="module")
def arrays(small: Pca) -> Arrays:
    return {name: np.asarray(value) for name, value in vars(small).items()}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_saying_why_in_little_memory(case, arrays, tmp_path):
    spoil, says = BAD[case]
    (tmp_path / "mine.npz").write_bytes(spoil(arrays))
    tracemalloc.start()
    with pytest.raises(ConversionError, match=rf"mine\.npz is no PCA as .* writes it: .*{says}.*"):
        load(tmp_path / "mine.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MAX_FILE_BYTES


@pytest.mark.parametrize("case", BAD)
def test_bad_file_publishes_nothing(case, arrays, tmp_path):
    spoil, _ = BAD[case]
    (tmp_path / "mine.npz").write_bytes(spoil(arrays))
    with pytest.raises(ConversionError):
        convert_file("pca", tmp_path / "mine.npz", "faces", tmp_path / "repository", Options())
    assert not list(tmp_path.rglob("faces*"))


def test_objects_are_never_unpickled(arrays, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    (tmp_path / "mine.npz").write_bytes(packed({**arrays, "mean": np.array([Trap()] * 625, dtype=object)}))
    with pytest.raises(ConversionError):
        load(tmp_path / "mine.npz")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_not_a_file_is_refused(tmp_path, kind):
    path = tmp_path / "mine.npz"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ConversionError):
        load(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_noticed_or_change_nothing(arrays, small, tmp_path_factory, data):
    """Most changes go to headers and the directory; those of values break a checksum."""
    raw = bytearray(packed(arrays))
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.integers(1, 900) | st.integers(1, len(raw)))
        raw[-end] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(raw)
    try:
        read = load(path)
    except ConversionError:
        return
    for name, value in vars(small).items():
        np.testing.assert_array_equal(getattr(read, name), value)

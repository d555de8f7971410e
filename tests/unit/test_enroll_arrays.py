"""Vectors that exist already: whose they are, what they are of, and what does not fit."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.errors import ConfigurationError, EnrolmentError
from services.population.enroll.arrays import read_rows
from services.population.enroll.making import stated
from services.population.latents_file import Latents, write_latents
from services.settings import ROOT, Settings

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def npz(tmp_path):
    def write(values: np.ndarray = VALUES, **named) -> Path:
        np.savez(tmp_path / "e.npz", embedding=values, **named)
        return tmp_path / "e.npz"

    return write


def identities(arrays) -> list[str | None]:
    return [told.identity for told in arrays.told]


def test_rows_without_names_are_people_called_by_their_file_and_numbers(tmp_path):
    np.save(tmp_path / "e.npy", VALUES)
    arrays = read_rows(tmp_path / "e.npy", None, None)
    assert [name.rpartition("row-")[2] for name in identities(arrays)] == ["000001", "000002", "000003", "000004"]
    assert all(name.startswith("e-") for name in identities(arrays))
    assert identities(read_rows(tmp_path / "e.npy", None, None)) == identities(arrays)
    np.testing.assert_array_equal(arrays.embeddings, VALUES)
    assert (arrays.latents, arrays.latent_dims) == (None, 0)


def test_identities_come_from_the_first_array_that_says_them(npz):
    images = np.array(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    photos = np.array(["ann/1.jpg", "ann/2.jpg", "bea/1.jpg", "cid.jpg"])
    assert identities(read_rows(npz(image=images), None, None)) == images.tolist()
    both = read_rows(npz(image=images, names=photos), None, None)
    assert identities(both) == ["ann", "ann", "bea", "cid.jpg"]
    assert [told.photo for told in both.told] == photos.tolist()
    all_ = read_rows(npz(identity=np.array([3, 1, 3, 2]), names=photos), None, None)
    assert identities(all_) == ["3", "1", "3", "2"]
    assert [told.photo for told in all_.told] == photos.tolist()


def test_names_of_bytes_are_those_of_text(npz):
    names = ["Zoë", "a", "b", "b"]
    assert identities(read_rows(npz(identity=np.char.encode(names, "utf-8")), None, None)) == names


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_columns_are_read(tmp_path, fixed):
    kind = pa.list_(pa.float64(), 3) if fixed else pa.list_(pa.float32())
    table = pa.table({"identity": ["a", "b", "a", "c"], "embedding": pa.array(VALUES.tolist(), kind)})
    pq.write_table(table, tmp_path / "e.parquet")
    arrays = read_rows(tmp_path / "e.parquet", None, None)
    assert identities(arrays) == ["a", "b", "a", "c"]
    np.testing.assert_array_equal(arrays.embeddings, VALUES)


def test_file_of_identities_is_matched_by_name_where_both_have_names_else_by_order(npz, tmp_path):
    who = tmp_path / "who.csv"
    who.write_text("photo,identity,ward\nd,4,x\nc,3,\nb,2,\na,1,\n")
    named = read_rows(npz(image=np.array(["a", "b", "c", "d"])), None, who)
    assert identities(named) == ["1", "2", "3", "4"]
    assert [dict(told.given) for told in named.told] == [{}, {}, {}, {"ward": "x"}]
    assert identities(read_rows(npz(), None, who)) == ["4", "3", "2", "1"]
    who.write_text("identity\np\nq\nr\ns\n")
    assert identities(read_rows(npz(image=np.array(["a", "b", "c", "d"])), None, who)) == ["p", "q", "r", "s"]


def test_latents_are_matched_by_name_where_both_have_names_else_by_order(npz, tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    write_latents(Latents("g", ["d", "c", "b", "a"], values), tmp_path / "l.npz")
    named = read_rows(npz(names=np.array(["a", "b", "c", "d"])), tmp_path / "l.npz", None)
    np.testing.assert_array_equal(named.latents, values[::-1])
    assert named.generator == "g"
    np.testing.assert_array_equal(read_rows(npz(), tmp_path / "l.npz", None).latents, values)
    np.save(tmp_path / "l.npy", values.reshape(4, 2, 1))
    np.testing.assert_array_equal(read_rows(npz(), tmp_path / "l.npy", None).latents, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1, 2], [np.nan, 2]]), "finite"),
        (np.array([[1, 2], [1e300, 2]]), "row 2 holds"),
        (np.ones((5, 3)), "all 5 embeddings are the same"),
        (np.ones(3), "wanted are finite numbers"),
        (np.empty((0, 3)), "no embeddings"),
        (np.array([["a"]]), "wanted are finite numbers"),
    ],
)
def test_embeddings_that_are_none_are_refused(npz, values, message):
    with pytest.raises(EnrolmentError, match=message):
        read_rows(npz(values), None, None)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"identity": np.array(["a", "b", "c"])}, r"holds \[3\] values for 4"),
        ({"identity": np.array(["a", "b", "c", " "])}, "row 4 is empty"),
        ({"names": np.array(["a", "b", "c", "a"])}, "two rows called 'a'"),
        ({"identity": np.array(["a", "a", "b", "b"], object)}, "`identity` of .* cannot be read .* save it as text"),
        ({"identity": np.array([b"\xff", b"a", b"b", b"b"])}, "`identity` of .* cannot be read"),
    ],
)
def test_names_that_do_not_fit_are_refused(npz, named, message):
    with pytest.raises(EnrolmentError, match=message):
        read_rows(npz(**named), None, None)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", b"text"])
@pytest.mark.parametrize("name", ["e.npz", "e.npy", "e.parquet"])
def test_damaged_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EnrolmentError, match="is no"):
        read_rows(tmp_path / name, None, None)


def test_parquet_without_embeddings_or_with_uneven_ones_is_refused(tmp_path):
    pq.write_table(pa.table({"vector": [[1.0]]}), tmp_path / "e.parquet")
    with pytest.raises(EnrolmentError, match="no column 'embedding', only vector"):
        read_rows(tmp_path / "e.parquet", None, None)
    for embedding in ([[1.0], [1.0, 2.0]], [[1.0], None], ["a", "b"]):
        pq.write_table(pa.table({"embedding": embedding}), tmp_path / "e.parquet")
        with pytest.raises(EnrolmentError, match="is no Parquet file with"):
            read_rows(tmp_path / "e.parquet", None, None)


def test_latents_and_identities_that_do_not_fit_are_refused(npz, tmp_path):
    np.save(tmp_path / "l.npy", np.ones((3, 2), np.float32))
    with pytest.raises(EnrolmentError, match="one latent of finite numbers for each of the 4"):
        read_rows(npz(), tmp_path / "l.npy", None)
    for values in (np.full((4, 2), np.nan, np.float32), np.float32(3), np.ones(4), np.ones((4, 2), int)):
        np.save(tmp_path / "l.npy", values)
        with pytest.raises(EnrolmentError, match="finite"):
            read_rows(npz(), tmp_path / "l.npy", None)
    write_latents(Latents("g", ["a", "b", "c", "x"], np.ones((4, 2), np.float32)), tmp_path / "l.npz")
    with pytest.raises(EnrolmentError, match="no latent of 1 rows, such as 'd'"):
        read_rows(npz(names=np.array(["a", "b", "c", "d"])), tmp_path / "l.npz", None)
    (tmp_path / "who.csv").write_text("identity\na\nb\n")
    with pytest.raises(EnrolmentError, match="2 lines for the 4 rows"):
        read_rows(npz(), None, tmp_path / "who.csv")
    (tmp_path / "who.csv").write_text("photo,identity\na,x\nb,x\nc,x\n")
    with pytest.raises(EnrolmentError, match=r"does not name 1 rows .* 'd'"):
        read_rows(npz(names=np.array(["a", "b", "c", "d"])), None, tmp_path / "who.csv")
    (tmp_path / "who.csv").write_text("photo,identity\na,x\nb,\nc,x\nd,x\n")
    with pytest.raises(EnrolmentError, match="leaves an identity empty"):
        read_rows(npz(), None, tmp_path / "who.csv")


# --- what they are of -----------------------------------------------------------------------------------------------


def arrays_of(npz, tmp_path, dims: int, latent_dims: int = 0, generator: str | None = None):
    latents = None
    if latent_dims:
        latents = tmp_path / ("l.npz" if generator else "l.npy")
        values = np.ones((4, latent_dims), np.float32)
        write_latents(Latents(generator, list("abcd"), values), latents) if generator else np.save(latents, values)
    return read_rows(npz(np.random.default_rng(0).normal(size=(4, dims))), latents, None)


def test_arrays_are_of_the_default_models_unless_somebody_says_otherwise(npz, tmp_path):
    made = stated(arrays_of(npz, tmp_path, 128, 512), None, None, Settings())
    assert made == {
        "detector": None,
        "embedder": "dlib-resnet",
        "aligner": None,
        "generator": "mobile-stylegan-1024",
        "inverter": None,
        "models_sha256": {},
    }
    named = stated(arrays_of(npz, tmp_path, 512), "arcface-of-theirs", "theirs", Settings())
    assert (named["embedder"], named["generator"]) == ("arcface-of-theirs", "theirs")


def test_generator_of_the_latents_file_counts_and_another_is_refused(npz, tmp_path):
    arrays = arrays_of(npz, tmp_path, 128, 512, "mobile-stylegan-512")
    assert stated(arrays, None, None, Settings())["generator"] == "mobile-stylegan-512"
    with pytest.raises(EnrolmentError, match="latents are of mobile-stylegan-512, not of mobile-stylegan-1024"):
        stated(arrays, None, "mobile-stylegan-1024", Settings())


def test_vectors_of_other_lengths_than_the_models_are_refused(npz, tmp_path):
    with pytest.raises(EnrolmentError, match="dlib-resnet have 128 values, these have 64; say with --embedder"):
        stated(arrays_of(npz, tmp_path, 64), None, None, Settings())
    with pytest.raises(EnrolmentError, match="have 512 values, these have 9; say with --generator"):
        stated(arrays_of(npz, tmp_path, 128, 9), None, None, Settings())
    with pytest.raises(ConfigurationError, match="no embedder named 'typo'"):
        stated(arrays_of(npz, tmp_path, 128), None, None, Settings(embedder="typo"))


def test_papers_embeddings_are_read():
    file = ROOT.parent / "shared" / "data" / "anonfaces" / "celeba979_dlib.npz"
    if not file.is_file():
        pytest.skip("needs the paper's embeddings (../shared)")
    arrays = read_rows(file, None, None)
    assert len(set(identities(arrays))) == 979
    assert identities(arrays)[0] == "000022.jpg"


def test_whole_numbers_are_one_name_and_no_number_is_nobody(npz):
    assert identities(read_rows(npz(identity=np.array([7.0, 8, 9, 7])), None, None)) == ["7", "8", "9", "7"]
    with pytest.raises(EnrolmentError, match="`identity` of row 2 is empty"):
        read_rows(npz(identity=np.array([7.0, np.nan, 9, 7])), None, None)


def test_folder_of_a_photo_is_its_person_however_its_path_is_written(npz):
    names = np.array(["./ann/1.jpg", "ann/x/../2.jpg", "bea//1.jpg", "bea/2.jpg"])
    assert identities(read_rows(npz(names=names), None, None)) == ["ann", "ann", "bea", "bea"]
    with pytest.raises(EnrolmentError, match=r"'../ann/1\.jpg' leads out of its folder"):
        read_rows(npz(names=np.array(["bea/1.jpg", "../ann/1.jpg", "../cid/1.jpg", "dee/1"])), None, None)


def test_file_that_gives_a_row_two_identities_is_refused(npz, tmp_path):
    (tmp_path / "who.csv").write_text("photo,identity\na,ann\nb,bea\nc,cid\nd,dee\na,eve\n")
    with pytest.raises(EnrolmentError, match="says that a is of 'ann' and of 'eve'"):
        read_rows(npz(names=np.array(["a", "b", "c", "d"])), None, tmp_path / "who.csv")


@pytest.mark.parametrize("twice", ["embedding", "identity"])
def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path, twice):
    columns = {"embedding": pa.array([[1.0, 2], [3, 4]]), "identity": pa.array(["a", "b"])}
    table = pa.Table.from_arrays([*columns.values(), columns[twice]], [*columns, twice])
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(EnrolmentError, match=f"two columns called '{twice}'"):
        read_rows(tmp_path / "e.parquet", None, None)


def test_bytes_of_a_parquet_file_are_names(tmp_path):
    table = pa.table({"embedding": [[1.0, 2], [3, 4]], "image": pa.array([b"ann/1.jpg", b"bea/1.jpg"])})
    pq.write_table(table, tmp_path / "e.parquet")
    assert identities(read_rows(tmp_path / "e.parquet", None, None)) == ["ann", "bea"]

"""The regression from embedding and pose to w: what it learns, what it keeps, and what it refuses."""

import asyncio
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from conversion.inversion.fit import GAINS, Inversion, choose_gain, explained, fit, split
from conversion.inversion.model import Fitted, build, convert, load, save
from conversion.inversion.pairs import Pairs, read_pairs
from conversion.parity import run_onnx
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.align import FFHQ_LANDMARKS, pose_of
from services.anonymizer.models import Models, find_inverter
from services.errors import ConfigurationError, ConversionError
from services.provenance import check_model
from tests.unit.conftest import MODELS

DIMS, W = 6, 8
CARD = {"embedder": "dlib-resnet", "mapping": "some-mapping", "pairs": 400}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """People whose w is a linear map of what is seen, and some of its own that no embedding tells."""
    rng = np.random.default_rng(0)
    embeddings, poses = rng.normal(size=(600, DIMS)) * 0.1 + 0.3, rng.normal(size=(600, 10)) * 0.01
    seen = np.column_stack([embeddings, poses * 10])
    w = seen @ rng.normal(size=(DIMS + 10, W)) + rng.normal(size=(600, W)) * 0.1
    return Pairs(w.astype(np.float32), embeddings.astype(np.float32), poses.astype(np.float32))


@pytest.fixture(scope="module")
def inversion(pairs) -> Inversion:
    return fit(*split(pairs))[0]


@pytest.fixture
def file(inversion, tmp_path):
    save(Fitted(inversion, CARD), tmp_path / "inversion.npz")
    return tmp_path / "inversion.npz"


def test_held_out_pairs_are_not_learnt_from(pairs):
    learnt, held = split(pairs)
    assert (len(learnt), len(held)) == (560, 40)
    np.testing.assert_array_equal(np.concatenate([learnt.w, held.w]), pairs.w)


def test_too_few_pairs_are_refused_with_how_many_are_needed(pairs):
    with pytest.raises(ConversionError, match=r"100 pairs are too few.*160"):
        split(pairs.rows(slice(0, 100)))


def test_linear_part_is_found(inversion, pairs):
    _, held = split(pairs)
    noise = 0.1**2 * W * len(held)
    possible = 1 - noise / ((held.w - inversion.w_mean) ** 2).sum()
    assert explained(inversion, held) > possible - 0.1


def test_pose_adds_to_what_the_embedding_tells(inversion, pairs):
    _, held = split(pairs)
    without = held.w - inversion.predict(held.embeddings)
    with_pose = held.w - inversion.predict(held.embeddings, held.poses)
    assert (with_pose**2).sum() < 0.7 * (without**2).sum()


def test_gain_is_the_one_whose_pictures_come_nearest(inversion, pairs):
    """A picture is taken for 1.4 times as far from the average as its w is."""
    _, held = split(pairs)
    direction = np.linalg.pinv(inversion.matrix[:DIMS] / inversion.scale[:DIMS, None])

    async def distances(w: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        wanted = replace(inversion, gain=1.4).predict(embeddings, held.poses[: len(w)])
        return np.linalg.norm((w - wanted) @ direction, axis=1)

    best, told = asyncio.run(choose_gain(inversion, held, distances))
    assert best.gain == 1.4
    assert told["1.4"] == 0
    assert list(told) == [f"{gain:g}" for gain in GAINS]


def test_gain_scales_the_distance_from_the_average(inversion, pairs):
    one = inversion.predict(pairs.embeddings, pairs.poses) - inversion.w_mean
    two = replace(inversion, gain=2.0).predict(pairs.embeddings, pairs.poses) - inversion.w_mean
    np.testing.assert_allclose(two, 2 * one, atol=1e-5)


def test_pose_does_not_depend_on_where_a_face_is():
    turned = FFHQ_LANDMARKS + np.array([(0, 0), (0, 0), (0.03, 0), (0, 0), (0, 0)])
    rows = pose_of(np.stack([turned, turned * 700 + 31]))
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[0]).max() > 0.01
    assert pose_of(np.empty((0, 5, 2))).shape == (0, 10)


# --- the file -------------------------------------------------------------------------------------------------------


def test_file_keeps_the_inversion_and_its_card(file, inversion, pairs):
    found = load(file)
    assert found.card == CARD
    before, after = (i.predict(pairs.embeddings, pairs.poses) for i in (inversion, found.inversion))
    assert np.abs(after - before).max() < 2e-3 * np.abs(before).max()
    assert [path.name for path in file.parent.iterdir()] == ["inversion.npz"]


def test_graph_computes_what_the_regression_does(inversion, pairs):
    found = run_onnx(build(inversion), embedding=pairs.embeddings, pose=pairs.poses)[0]
    np.testing.assert_allclose(found, inversion.predict(pairs.embeddings, pairs.poses), atol=1e-4)


def test_published_inversion_is_found_by_its_embedder_and_mapping(file, tmp_path):
    convert_file("inversion", file, "mine", tmp_path / "repo", Options())
    assert check_model(tmp_path / "repo", "mine")["card"] == CARD
    generator = MODELS.generator.model_copy(update={"mapping": "some-mapping"})
    models = Models(detector=MODELS.detector, embedder=MODELS.embedder, generator=generator)
    assert find_inverter(models, tmp_path / "repo").model == "mine"
    other = models.model_copy(update={"embedder": MODELS.embedder.model_copy(update={"name": "another"})})
    with pytest.raises(ConfigurationError, match=r"models fit inversion .*--embedder another"):
        find_inverter(other, tmp_path / "repo")


def rewritten(file, **changes) -> None:
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(file, **{name: value for name, value in {**arrays, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"matrix": None}, "not a fitted inversion"),
        ({"matrix": np.zeros((3, W), np.float16)}, "different lengths"),
        ({"matrix": np.zeros((DIMS + 10, W), np.float64)}, "matrix is float64"),
        ({"w_mean": np.full(W, np.nan, np.float32)}, "not finite"),
        ({"card": np.array("no json")}, "not a fitted inversion"),
        ({"card": np.array(json.dumps([1]))}, "does not say which embedder"),
    ],
    ids=["missing", "shape", "type", "nan", "card", "card of another kind"],
)
def test_file_that_does_not_add_up_is_refused(file, tmp_path, changes, reason):
    rewritten(file, **changes)
    with pytest.raises(ConversionError, match=reason):
        convert_file("inversion", file, "mine", tmp_path / "repo", Options())
    assert not (tmp_path / "repo" / "mine").exists()


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04"])
def test_other_file_is_refused(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ConversionError, match="not a fitted inversion"):
        convert(tmp_path / "x.npz", "mine", Options())


def test_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("matrix.npy", bytes(80 << 20))
    (tmp_path / "bomb.npz").write_bytes(sink.getvalue())
    with pytest.raises(ConversionError, match="claims 83,886,0"):
        load(tmp_path / "bomb.npz")


def test_damaged_file_of_pairs_is_named(tmp_path):
    (tmp_path / "pairs-00000.npz").write_bytes(b"half")
    with pytest.raises(ConversionError, match=r"pairs-00000\.npz is damaged; remove it"):
        read_pairs([tmp_path / "pairs-00000.npz"], 50)

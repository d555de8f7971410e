"""The network of emotions as a model of our chips, on small networks of the same interface."""

from pathlib import Path

import numpy as np
import pytest

from conversion import emotion
from conversion.deconvfaces.convert import EMOTIONS
from conversion.graph import UINT8
from conversion.parity import run_onnx, smooth_images
from conversion.registry import Options
from conversion.repository import convert_file
from conversion.tfjs.file import TfjsModel
from conversion.triton_config import parse
from services.anonymizer.models import ESTIMATORS, Estimator, find_estimators
from services.errors import ConversionError
from services.settings import ROOT
from tests.unit.tfjs_files import Network

ROW = ESTIMATORS["emotion"]
SIDE = ROW.chip_px


def network(classes: int = emotion.CLASSES, side: int = SIDE, channels: int = 1, seed: int = 0) -> Network:
    """A network that takes and gives what the real one does: shares that differ with each pixel's grey."""
    n = Network(side, seed, channels)
    seen = n.op("Conv2D", n.picture, n.weights(5, 5, channels, classes), strides=[1, 3, 3, 1], padding="SAME")
    mean = n.op("Mean", seen, n.const([1, 2], "int32"), keep_dims=False, Tidx={"type": "DT_INT32"})
    n.op("Identity", n.op("Softmax", mean, name=emotion.BEFORE_IT), name=emotion.NODE)
    return n


@pytest.fixture
def source(tmp_path) -> TfjsModel:
    return emotion.read(network().write(tmp_path))


def test_shares_are_those_of_the_network(source):
    assert emotion.check(emotion.build(source, "e"), source).value <= 1e-6


def test_another_network_is_told_from_the_one_that_was_converted(source, tmp_path):
    """Guards the comparison itself."""
    other = emotion.read(network(seed=1).write(tmp_path / "other"))
    assert emotion.check(emotion.build(source, "e"), other).value > 1e-3


def test_black_and_white_are_the_ends_of_what_it_sees():
    ends = np.stack([np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)])
    np.testing.assert_allclose(emotion.prepare(ends).ravel(), [-1, 1], atol=1e-12)


def test_colours_of_one_grey_are_the_same_to_it(source):
    chips = smooth_images(2, SIDE, seed=63)
    grey = np.repeat(np.round(chips @ np.array(emotion.GREY)).astype(np.uint8)[..., None], 3, axis=-1)
    model = emotion.build(source, "e")
    np.testing.assert_allclose(run_onnx(model, chips=chips)[0], run_onnx(model, chips=grey)[0], atol=0.02)


def test_model_takes_and_gives_what_is_configured(source):
    config = parse((ROOT / "model_repository" / "emotion" / "config.pbtxt").read_text())
    graph = emotion.build(source, "emotion").graph
    assert graph.input[0].type.tensor_type.elem_type == UINT8
    assert {value.name: list(value.dims) for value in (*config.input, *config.output)} == {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
        for value in (*graph.input, *graph.output)
    }


def test_every_class_has_a_word_that_the_generator_of_emotions_knows():
    words = ROW.attributes["emotion"].values
    assert set(words) < set(EMOTIONS)  # contempt it does not tell
    assert sorted(words.values()) == [(i, i) for i in range(emotion.CLASSES)]


# --- files ------------------------------------------------------------------------------------------------------


def test_own_file_becomes_an_estimator_under_its_own_name(tmp_path):
    convert_file("emotion", network().write(tmp_path / "file").parent, "mine", tmp_path / "models", Options())
    (found,) = find_estimators(tmp_path / "models")
    assert found == ROW.model_copy(update={"name": "mine", "model": "mine"})


def test_emotions_are_of_photos_and_not_of_people(tmp_path):
    convert_file("emotion", network().write(tmp_path / "file").parent, "mine", tmp_path / "models", Options())
    assert find_estimators(tmp_path / "models", of="person") == []
    assert [one.name for one in find_estimators(tmp_path / "models", of="photo")] == ["mine"]


@pytest.mark.parametrize(("said", "of"), [({}, "photo"), ({"of": "person"}, "person"), ({"of": "photo"}, "photo")])
def test_emotions_of_own_estimators_are_of_photos_unless_they_say_otherwise(said, of):
    told = {"output": "o", "values": {"happy": (0, 0)}, "certain": 0.6, **said}
    row = Estimator(
        name="mine", model="mine", aligner=ROW.aligner, chip_px=64, attributes={"emotion": told, "hat": told}
    )
    assert row.attributes["emotion"].of == of
    assert row.attributes["hat"].of == said.get("of", "person")


def unknown(folder: Path) -> None:
    n = Network(SIDE, channels=1)
    n.op("Relu", n.picture, name=emotion.NODE)
    n.write(folder)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (unknown, "is not the network of emotions"),
        (lambda folder: network(classes=8).write(folder), r"shape \[8\], not \[7\]"),
        (lambda folder: network(side=48).write(folder), "takes 48 pixels, not 64"),
        (lambda folder: network(channels=3).write(folder), "not a square picture of 1 values"),
        (lambda folder: folder.mkdir(), "holds 0 .json files"),
    ],
    ids=["another network", "another number of classes", "another size", "colour", "nothing"],
)
def test_files_that_are_not_the_network_are_refused(tmp_path, write, message):
    write(tmp_path / "file")
    with pytest.raises(ConversionError, match=message):
        convert_file("emotion", tmp_path / "file", "mine", tmp_path / "models", Options())
    assert not list((tmp_path / "models").glob("*"))

"""Two networks for apparent age and gender as one model, on small networks of the same interface."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from conversion import age_gender
from conversion.graph import FLOAT, Graph
from conversion.parity import run_onnx, smooth_images
from conversion.registry import Options
from conversion.repository import convert_file
from conversion.triton_config import parse
from services.anonymizer.align import DLIB_CHIP_150
from services.anonymizer.models import ESTIMATORS, find_estimators
from services.errors import ConversionError
from services.settings import ROOT

SIDE = age_gender.ROW.chip_px


def network(output: str, seed: int = 0) -> onnx.ModelProto:
    """A network that takes and gives what the real one does: shares that differ with each pixel's colour."""
    rng, graph, side = np.random.default_rng(seed), Graph(), age_gender.SIDES[output]
    flat = graph.op("Flatten", "images", axis=1)
    weights = rng.normal(size=(3 * side * side, age_gender.CLASSES[output])) / side
    graph.name(graph.op("Softmax", graph.op("MatMul", flat, graph.const(weights)), axis=1), "probabilities")
    shares = ("probabilities", FLOAT, [age_gender.CLASSES[output]])
    return graph.model(output, [("images", FLOAT, [3, side, side])], [shares])


@pytest.fixture(scope="module")
def networks() -> dict[str, onnx.ModelProto]:
    return {output: network(output) for output in age_gender.FILES}


@pytest.fixture
def folder(tmp_path, networks) -> Path:
    (tmp_path / "files").mkdir()
    for output, file in age_gender.FILES.items():
        onnx.save(networks[output], tmp_path / "files" / file)
    return tmp_path / "files"


@pytest.fixture(scope="module")
def model(networks) -> onnx.ModelProto:
    return age_gender.build(networks, "both")


# --- the graph --------------------------------------------------------------------------------------------------


def test_both_outputs_are_those_of_the_networks(model, networks):
    assert age_gender.check(model, networks).value <= 1e-5


@pytest.mark.parametrize("output", age_gender.FILES)
def test_another_network_is_told_from_the_one_that_was_converted(model, networks, output):
    """Guards the comparison itself, for each output."""
    assert age_gender.check(model, {**networks, output: network(output, seed=1)}).value > 1e-3


def test_networks_see_the_middle_of_a_chip_and_all_of_it(model):
    chips = smooth_images(1, SIDE, seed=61)
    margin = (SIDE - age_gender.MIDDLE) // 2
    framed, touched = np.full_like(chips, 7), chips.copy()
    middle = slice(margin, -margin)
    framed[:, middle, middle] = chips[:, middle, middle]
    touched[:, margin, middle] ^= 0xFF  # the outermost row that they see
    plain, inside, changed = (run_onnx(model, chips=c)[0] for c in (chips, framed, touched))
    np.testing.assert_array_equal(plain, inside)
    assert np.abs(plain - changed).max() > 1e-4


def test_the_middle_is_a_chip_of_dlib_with_the_margin_that_the_networks_know():
    """dlib places landmark p at (margin + p) / (1 + 2 margin) of a chip's side; ours have a margin of 0.25."""
    face = DLIB_CHIP_150 / 150 * 1.5 - 0.25
    known = (face + 0.2) / 1.4
    ours = (DLIB_CHIP_150 / 150 * SIDE - (SIDE - age_gender.MIDDLE) / 2) / age_gender.MIDDLE
    np.testing.assert_allclose(ours, known, atol=0.005)


def test_model_takes_and_gives_what_is_configured(model):
    config = parse((ROOT / "model_repository" / "age-gender" / "config.pbtxt").read_text())
    told = {value.name: list(value.dims) for value in (*config.input, *config.output)}
    graph = model.graph
    assert told == {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
        for value in (*graph.input, *graph.output)
    }


def test_values_of_the_row_are_apart_and_within_the_classes():
    for attribute in ESTIMATORS["age-gender"].attributes.values():
        edges = [edge for first, last in attribute.values.values() for edge in (first, last + 1)]
        assert edges == sorted(edges)
        assert (edges[0], edges[-1]) == (0, age_gender.CLASSES[attribute.output])


# --- files ------------------------------------------------------------------------------------------------------


def test_own_files_become_an_estimator_under_their_own_name(folder, tmp_path):
    convert_file("age-gender", folder, "mine", tmp_path / "models", Options())
    (found,) = find_estimators(tmp_path / "models")
    assert found == ESTIMATORS["age-gender"].model_copy(update={"name": "mine", "model": "mine"})


def exchanged(folder: Path) -> None:
    one, other = (folder / file for file in age_gender.FILES.values())
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def elsewhere(folder: Path) -> None:
    path = folder / "age-v1.onnx"
    network = onnx.load(path)
    onnx.save(network, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (exchanged, "age-v1.onnx does not estimate age"),
        (lambda folder: (folder / "gender-v1.onnx").unlink(), "a folder with age-v1.onnx and gender-v1.onnx"),
        (lambda folder: (folder / "gender-v1.onnx").write_bytes(b"nothing"), "gender-v1.onnx is not an ONNX file"),
        (elsewhere, "keeps its weights in other files"),
    ],
    ids=["exchanged", "one is missing", "damaged", "weights elsewhere"],
)
def test_files_that_are_not_the_two_are_refused(folder, tmp_path, spoil, message):
    spoil(folder)
    with pytest.raises(ConversionError, match=message):
        convert_file("age-gender", folder, "mine", tmp_path / "models", Options())
    assert not list((tmp_path / "models").glob("*"))

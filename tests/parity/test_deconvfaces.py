"""The face generator as ONNX against what the Keras network itself answered, kept beside a small file of it."""

from pathlib import Path

import numpy as np
import pytest

from conversion.deconvfaces.convert import build, check, reference
from conversion.deconvfaces.keras_h5 import KerasModel, read_model
from conversion.parity import run_onnx
from services.settings import ROOT

FIXTURE = ROOT.parent / "shared" / "fixtures" / "cnn" / "FaceGen.TINY.model.d3.adam.h5"
TOLERANCE = 1e-5  # of floats in [0, 1], float32 each; a grey level is 4e-3


@pytest.fixture(scope="module")
def model() -> KerasModel:
    if not FIXTURE.is_file():
        pytest.skip(f"needs {Path(*FIXTURE.parts[-4:])} beside the project")
    return read_model(FIXTURE)


@pytest.fixture(scope="module")
def official(model) -> dict[str, np.ndarray]:
    """Three pictures, float32 [3, 80, 64, 3], and what was asked; the third identity is a mix of four people."""
    with np.load(FIXTURE.with_suffix(".npz")) as answers:
        return dict(answers)


@pytest.fixture(scope="module")
def asked(official) -> dict[str, np.ndarray]:
    return {name: official[name] for name in ("identity", "orientation", "emotion")}


def test_pictures_are_those_of_keras(model, asked, official):
    pictures = run_onnx(build(model, flip_kernels=False, as_float=True), **asked)[0]
    assert pictures.shape == official["image"].shape
    assert np.abs(pictures - official["image"]).max() <= TOLERANCE


def test_grey_levels_are_those_of_keras(model, asked, official):
    levels = run_onnx(build(model, flip_kernels=False), **asked)[0]
    assert levels.dtype == np.uint8
    assert np.abs(levels - np.rint(official["image"] * 255)).max() <= 1


def test_reference_that_conversion_checks_against_is_keras(model, asked, official):
    np.testing.assert_allclose(reference(model, asked, flip_kernels=False), official["image"], atol=TOLERANCE)


def test_flipped_kernels_are_told_from_straight_ones(model, asked, official):
    """Guards the comparison itself: the other convention would be seen."""
    flipped = run_onnx(build(model, flip_kernels=True, as_float=True), **asked)[0]
    assert np.abs(flipped - official["image"]).max() > 1000 * TOLERANCE


def test_people_and_crowds_never_seen_agree_as_well(model):
    parity = check(build(model, flip_kernels=False), model, flip_kernels=False, seed=83)
    assert parity.value <= TOLERANCE < parity.tolerance

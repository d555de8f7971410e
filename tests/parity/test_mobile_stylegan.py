"""The generator as ONNX against OpenVINO running the files it came in, on other latents than conversion uses."""

import numpy as np
import openvino
import pytest

from conversion.mobile_stylegan import convert as mobile_stylegan
from conversion.mobile_stylegan import ir as mobile_stylegan_ir
from conversion.parity import run_onnx

SEED = 77


def openvino_answer(ir, rows: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(row[None])[0].copy() for row in rows])


@pytest.fixture(scope="module")
def files(weights):
    return weights("mobile-stylegan")


@pytest.fixture(scope="module")
def mapping(files):
    return mobile_stylegan.build_mapping(files["MappingNetwork.xml"])


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((6, mobile_stylegan.W_DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def w(mapping, z) -> np.ndarray:
    """One face, not truncated: farther from the mean than any the service renders."""
    return run_onnx(mapping, z=z[:1])[0]


@pytest.fixture(scope="module")
def reference(files, w) -> np.ndarray:
    """What the original gives for `w`, float32 [3, 1024, 1024], -1..1 where it is not beyond."""
    return openvino_answer(files["SynthesisNetwork.xml"], w)[0]


@pytest.fixture(scope="module")
def pictures(files, w) -> dict[int, np.ndarray]:
    """The same face at both sizes, int16 [size, size, 3]."""
    learnt = mobile_stylegan_ir.read_synthesis(files["SynthesisNetwork.xml"])
    models = {size: mobile_stylegan.build_synthesis(learnt, size) for size in mobile_stylegan.SIZES}
    return {size: run_onnx(model, w=w)[0][0].astype(np.int16) for size, model in models.items()}


def halves(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 cells of [size, size, 3]."""
    size = picture.shape[0] // 2
    return picture.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))


def test_mapping_is_the_originals(mapping, files, z):
    expected = openvino_answer(files["MappingNetwork.xml"], z)
    np.testing.assert_allclose(run_onnx(mapping, z=z)[0], expected, atol=1e-4)


def test_mapping_depends_on_the_direction_of_z_only(mapping, z):
    np.testing.assert_allclose(run_onnx(mapping, z=z)[0], run_onnx(mapping, z=3 * z)[0], atol=1e-4)


def test_mapping_does_not_depend_on_the_batch(mapping, z):
    alone = np.concatenate([run_onnx(mapping, z=row[None])[0] for row in z])
    np.testing.assert_allclose(run_onnx(mapping, z=z)[0], alone, atol=1e-5)


def test_mean_w_is_the_mean_of_many(mapping):
    """Two halves of a sample agree to a few standard errors, and with neither z = 0 nor a single w."""
    first, second = (mobile_stylegan.mean_w(mapping, samples=4000, seed=seed) for seed in (1, 2))
    assert np.abs(first - second).mean() < 0.02
    assert first.std() > 0.02


def test_picture_is_the_originals_at_full_size(pictures, reference):
    """Rounded as the original would be; a few values may fall on the other side of a half."""
    expected = np.clip(np.floor(reference * 127.5 + 128), 0, 255).transpose(1, 2, 0)
    difference = np.abs(pictures[1024] - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_picture_at_half_size_is_the_mean_of_the_originals_cells(pictures, reference):
    expected = np.clip(np.floor(halves(reference.transpose(1, 2, 0)) * 127.5 + 128), 0, 255)
    difference = np.abs(pictures[512] - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_half_size_is_the_mean_of_2x2_cells_of_the_full_size(pictures, reference):
    """Within one grey level, except in cells where the full size was cut off at black or white before the mean."""
    inside = (np.abs(reference) <= 1).transpose(1, 2, 0)
    whole = halves(inside.astype(float)) == 1
    assert whole.mean() > 0.5
    assert np.abs(halves(pictures[1024]) - pictures[512])[whole].max() <= 1


def test_picture_is_a_face_and_not_flat(pictures):
    """Both comparisons above would hold for two blank pictures as well."""
    assert pictures[512].std() > 30

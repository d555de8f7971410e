"""CenterFace with its maps decoded in the graph against the unchanged network, decoded cell by cell."""

import numpy as np
import onnx
import pytest

from conversion import centerface, int8
from conversion.parity import run_onnx, smooth_images
from services.errors import ConversionError
from services.files import sha256_of

SIZES = (192, 512)
TOLERANCE = 1e-4  # of scores, and of positions as a share of the picture


@pytest.fixture(scope="module")
def source(weights):
    (path,) = weights("centerface").values()
    return path


@pytest.fixture(scope="module")
def models(source):
    return {size: centerface.build(source, size) for size in (*SIZES, None)}


@pytest.mark.parametrize("size", SIZES)
def test_detections_in_a_real_photo_are_those_of_the_source(models, source, photo, size):
    assert centerface.check(models[size], source, photo(size)).value <= TOLERANCE


@pytest.mark.parametrize("size", SIZES)
def test_candidates_in_noise_are_those_of_the_source(models, source, size):
    assert centerface.check(models[size], source, smooth_images(1, size, seed=41)[0]).value <= TOLERANCE


@pytest.mark.parametrize(("height", "width"), [(64, 64), (512, 128), (320, 448)])
def test_form_of_any_size_gives_what_the_source_gives(models, source, photo, height, width):
    picture = photo(512)[:height, :width]
    assert centerface.check(models[None], source, picture).value <= TOLERANCE


def test_form_of_any_size_is_the_square_one_on_squares(models, photo):
    for free, square in zip(*(run_onnx(models[size], image=photo(512)[None]) for size in (None, 512)), strict=True):
        np.testing.assert_array_equal(free, square)


@pytest.mark.parametrize("size", SIZES)
def test_the_one_face_of_the_photo_is_found_where_it_is(models, photo, size):
    boxes, scores, landmarks = (v[0] for v in run_onnx(models[size], image=photo(size)[None]))
    assert scores[0] > 0.8
    assert scores[1:].max() < 0.8 or np.abs(boxes[1] - boxes[0]).max() < size / 20
    np.testing.assert_allclose(landmarks[0].mean(axis=0) / size, (0.435, 0.245), atol=0.04)


@pytest.mark.parametrize("size", SIZES)
def test_candidates_come_best_first(models, photo, size):
    scores = run_onnx(models[size], image=photo(size)[None])[1][0]
    assert (np.diff(scores) <= 0).all()


def test_picture_does_not_depend_on_the_batch(models, photo):
    """Candidates of score 0 are in no order, so only those that could ever count are compared."""
    pictures = np.stack([photo(192), smooth_images(1, 192, seed=42)[0]])
    together = run_onnx(models[192], image=pictures)
    for row, picture in enumerate(pictures):
        alone = run_onnx(models[192], image=picture[None])
        strong = alone[1][0] > 0.05
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[row][strong], b[0][strong], atol=192 * TOLERANCE)


# --- int8 -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranges():
    return int8.Ranges.load(centerface.RANGES)


def test_ranges_that_ship_are_those_of_the_weights_and_of_the_nodes(models, source, ranges):
    assert ranges.about["weights_sha256"] == sha256_of(source)
    assert list(ranges.bounds) == centerface.activations(models[None])


def test_int8_finds_the_faces_that_float32_finds(models, ranges):
    whole = int8.quantise(models[None], centerface.quantised_nodes(models[None]), ranges)
    parity = int8.check(whole, models[None], ranges.photos)
    assert parity.samples >= 12
    assert parity.value <= 0.1
    weights = [w for w in whole.graph.initializer if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4]
    assert len(weights) > 40
    assert max(np.abs(onnx.numpy_helper.to_array(w).astype(int)).max() for w in weights) <= 64  # 7 bits


def test_check_of_int8_notices_ranges_that_are_not_those_of_the_weights(models, ranges):
    narrow = {name: (low / 8, high / 8) for name, (low, high) in ranges.bounds.items()}
    wrong = int8.Ranges(narrow, ranges.photos, ranges.about)
    small = int8.quantise(models[None], centerface.quantised_nodes(models[None]), wrong)
    with pytest.raises(ConversionError, match="loss of a face's score"):
        int8.check(small, models[None], ranges.photos).require("centerface")


def test_damaged_ranges_are_named(tmp_path):
    (tmp_path / "ranges.npz").write_bytes(b"PK")
    with pytest.raises(ConversionError, match=r"ranges\.npz holds no ranges"):
        int8.Ranges.load(tmp_path / "ranges.npz")

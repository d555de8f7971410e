"""Eigenfaces: what is fitted, that the graph computes it, and what is published."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from conversion.parity import run_onnx
from conversion.pca.convert import Fitter, build, check, fit, reduce
from conversion.pca.file import Pca
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.models import find_embedder
from services.errors import ConversionError
from services.provenance import check_model

RANK = 12
SIDE = 50


def pictures(count: int, rank: int = RANK, seed: int = 0) -> np.ndarray:
    """Grey chips spanned by `rank` patterns, uint8 [count, 150, 150, 3]; only the rounding to bytes is beside them."""
    patterns = np.random.default_rng(100).normal(size=(rank, SIDE * SIDE))
    weights = np.random.default_rng(seed).normal(size=(count, rank)) * np.linspace(1, 0.4, rank)
    grey = np.clip(np.rint(128 + 20 * (weights @ patterns) / np.sqrt(rank)), 0, 255).astype(np.uint8)
    cells = grey.reshape(count, SIDE, SIDE)
    return np.repeat(cells.repeat(3, axis=1).repeat(3, axis=2)[..., None], 3, axis=3)


def batches(chips: np.ndarray, size: int) -> list[np.ndarray]:
    return [chips[i : i + size] for i in range(0, len(chips), size)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """BLAS on a busy machine is quicker so."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    return pictures(530)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "whitened"])
def fitted(request: pytest.FixtureRequest, chips: np.ndarray) -> Pca:
    return fit(batches(chips, 70), dims=RANK, whiten=request.param)


@pytest.fixture(scope="module")
def small(chips: np.ndarray) -> Pca:
    return fit([chips[:40]], dims=10, whiten=False, side=25)


# --- fitting ----------------------------------------------------------------------------------------------------


def test_patterns_of_the_pictures_explain_their_variance(fitted):
    assert fitted.explained_variance_ratio.sum() == pytest.approx(1, abs=2e-3)


def test_incremental_fit_is_that_of_one_batch(chips):
    """530 chips are two steps. The pictures have as many directions as the fit, so no step loses anything."""
    steps = fit(batches(chips, 70), dims=RANK, whiten=False)
    whole = PCA(RANK, svd_solver="full").fit(reduce(chips, SIDE, normalise=True))
    np.testing.assert_allclose(steps.explained_variance, whole.explained_variance_, rtol=1e-3)
    assert np.linalg.svd(steps.components @ whole.components_.T)[1].min() > 0.9999  # they span the same space


@pytest.mark.parametrize("count", [40, 513])
def test_no_chip_is_lost_whatever_the_batches(chips, count):
    fitted = fit(batches(chips[:count], 7), dims=10, whiten=False)
    assert fitted.chips == count
    np.testing.assert_allclose(fitted.mean, reduce(chips[:count], SIDE, normalise=True).mean(axis=0), atol=1e-6)


def test_empty_batches_change_nothing(chips):
    fitted = fit([chips[:0], chips[:40], chips[:0]], dims=10, whiten=False)
    assert fitted.chips == 40


def test_whitening_gives_every_dimension_variance_one(chips):
    fitted = fit([chips], dims=RANK, whiten=True)
    (embeddings,) = run_onnx(build(fitted), chips=chips)
    np.testing.assert_allclose(embeddings.var(axis=0, ddof=1), 1, atol=5e-3)


@pytest.mark.parametrize(("normalise", "invariant"), [(True, True), (False, False)])
def test_light_changes_an_embedding_only_without_normalisation(chips, normalise, invariant):
    fitted = fit([chips], dims=10, whiten=False, normalise=normalise)
    darker = np.rint(chips[:5] * 0.5 + 30).astype(np.uint8)
    (bright,), (dark,) = (run_onnx(build(fitted), chips=shown) for shown in (chips[:5], darker))
    moved = np.linalg.norm(bright - dark, axis=1) / np.linalg.norm(bright, axis=1)
    assert (moved.max() < 0.02) == invariant


def test_same_person_is_a_distance_between_near_neighbours(fitted, chips):
    (embeddings,) = run_onnx(build(fitted), chips=chips)
    apart = np.linalg.norm(embeddings[:, None] - embeddings, axis=2) + 1e9 * np.eye(len(chips))
    assert fitted.same_person == pytest.approx(np.percentile(apart.min(axis=1), 1), rel=1e-3)


def test_copies_of_a_chip_are_not_neighbours(chips):
    once, twice = (fit([shown], dims=10, whiten=False) for shown in (chips[:60], np.repeat(chips[:60], 2, axis=0)))
    assert twice.same_person == pytest.approx(once.same_person, rel=1e-3)


def test_same_seed_fits_the_same(chips):
    one, other = (fit(batches(chips[:100], 30), dims=10, whiten=False, seed=3) for _ in range(2))
    assert one.same_person == other.same_person
    np.testing.assert_array_equal(one.components, other.components)


def test_too_few_faces_are_refused_with_their_number(chips):
    with pytest.raises(ConversionError, match="10 faces were found, and 10 dimensions need 11"):
        fit([chips[:10]], dims=10, whiten=False)


@pytest.mark.parametrize("count", [20, 300])
def test_copies_of_one_face_are_refused(chips, count):
    with pytest.raises(ConversionError, match="differ in 0 directions only"):
        fit([np.repeat(chips[:1], count, axis=0)], dims=10, whiten=False)


@pytest.mark.parametrize(("dims", "side"), [(9, 50), (257, 50), (10, 40)])
def test_dimensions_or_side_out_of_range_are_refused(dims, side):
    with pytest.raises(ConversionError):
        Fitter(dims, whiten=False, side=side)


# --- the graph --------------------------------------------------------------------------------------------------


def test_graph_agrees_with_scikit_learn(fitted):
    parity = check(fitted, build(fitted))
    assert parity.value < 1e-5
    assert parity.tolerance <= 1e-4


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("side", [25, 75])
def test_graph_agrees_for_other_pictures_and_sides(chips, normalise, side):
    fitted = fit([chips[:80]], dims=10, whiten=True, normalise=normalise, side=side)
    assert check(fitted, build(fitted), chips[80:120]).value < 1e-5


def test_graph_agrees_with_a_pca_fitted_by_scikit_learn(chips):
    """The whole way once more without our arrays: their luma, their means of cells, their fit and transform."""
    import cv2

    def read(chip: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(chip.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()

    colourful = np.clip(chips[:50] * np.array([1.0, 0.8, 0.6]), 0, 255).astype(np.uint8)
    theirs = PCA(10, svd_solver="full").fit(np.array([read(chip) for chip in colourful], np.float64))
    ours = fit([colourful], dims=10, whiten=False, normalise=False)
    expected = theirs.transform(np.array([read(chip) for chip in colourful]))
    (found,) = run_onnx(build(ours), chips=colourful)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0, 255])
def test_chip_without_contrast_has_a_finite_embedding(fitted, value):
    (embedding,) = run_onnx(build(fitted), chips=np.full((1, 150, 150, 3), value, np.uint8))
    assert np.isfinite(embedding).all()


# --- publishing -------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(small: Pca, tmp_path: Path) -> Path:
    small.save(tmp_path / "mine.npz")
    convert_file("pca", tmp_path / "mine.npz", "faces", tmp_path / "repository", Options())
    return tmp_path / "repository"


def test_published_embedder_is_found_by_its_name(repository, small):
    row = find_embedder("faces", repository)
    assert (row.model, row.dims, row.chip_px) == ("faces", 10, 150)
    assert row.aligner == "centerface5-look192-similarity150"
    assert row.same_person == small.same_person


def test_published_graph_computes_what_was_fitted(repository, small, chips):
    model = onnx.load(repository / "faces" / "1" / "model.onnx")
    assert check(small, model, chips[:5]).value < 1e-5


def test_card_tells_how_it_was_fitted(repository, small):
    card = check_model(repository, "faces")["card"]
    assert (card["chips"], card["side"], card["whiten"]) == (40, 25, False)
    assert card["explained_variance"] == pytest.approx(small.explained_variance_ratio.sum(), abs=1e-5)
    assert len(card["first_ratios"]) == 10
    assert card["nodes"] == len(onnx.load(repository / "faces" / "1" / "model.onnx").graph.node)


def test_values_beyond_floats_are_not_published(small, tmp_path):
    """The file adds up, but its embeddings overflow: the comparison with scikit-learn notices."""
    huge = replace(small, mean=np.full_like(small.mean, 3e38), whiten=True)
    huge.save(tmp_path / "mine.npz")
    with pytest.raises(ConversionError), np.errstate(all="ignore"):
        convert_file("pca", tmp_path / "mine.npz", "faces", tmp_path / "repository", Options())
    assert not list(tmp_path.rglob("faces*"))

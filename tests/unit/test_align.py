"""Landmarks give the similarity that made them, and warps put pixels where it says, to a fraction of one."""

import numpy as np
import pytest

from services.anonymizer.align import (
    ALIGNERS,
    DLIB_CHIP_150,
    FFHQ_LANDMARKS,
    cut_chips,
    halves_of,
    misfit,
    scale_of,
    similarity,
    warp,
    warp_halved,
)

DLIB = "centerface5-look192-similarity150"


def matrix_of(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([(c, -s, shift[0]), (s, c, shift[1])])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("scale", [0.03, 1.0, 40.0])
@pytest.mark.parametrize("degrees", [-170, -45, 0, 30, 90])
def test_similarity_recovers_scale_rotation_and_shift(scale, degrees):
    known = matrix_of(scale, degrees, (12.5, -300))
    found = similarity(FFHQ_LANDMARKS * 512, moved(FFHQ_LANDMARKS * 512, known))
    np.testing.assert_allclose(found, known, rtol=1e-9, atol=1e-9)


def test_similarity_is_the_least_squares_one():
    """No nearby similarity fits noisy points better."""
    rng = np.random.default_rng(0)
    source, target = FFHQ_LANDMARKS * 100, rng.normal(size=(5, 2)) * 5 + FFHQ_LANDMARKS * 300
    best = similarity(source, target)

    def error(matrix: np.ndarray) -> float:
        return ((moved(source, matrix) - target) ** 2).sum()

    for nudge in rng.normal(size=(50, 4)) * (1e-3, 1e-3, 0.1, 0.1):
        a, b, x, y = nudge
        assert error(best + np.array([(a, -b, x), (b, a, y)])) > error(best)


def test_mirrored_landmarks_are_not_explained_by_a_mirror():
    mirrored = FFHQ_LANDMARKS * (-1, 1)
    assert np.linalg.det(similarity(FFHQ_LANDMARKS, mirrored)[:, :2]) > 0
    assert misfit(FFHQ_LANDMARKS, mirrored) > 0.5


def test_scale_is_pixels_of_target_for_one_of_source():
    assert scale_of(matrix_of(0.37, 64, (5, 5))) == pytest.approx(0.37)


def test_misfit_of_a_tilted_scaled_face_is_zero():
    assert misfit(FFHQ_LANDMARKS, moved(FFHQ_LANDMARKS, matrix_of(220, 33, (50, 60)))) == pytest.approx(0, abs=1e-9)


def test_misfit_of_a_profile_is_large():
    """In profile both eyes, and both corners of the mouth, fall together and the nose lies to their side."""
    profile = np.array([(0.40, 0.475), (0.41, 0.48), (0.20, 0.60), (0.38, 0.735), (0.39, 0.74)])
    assert misfit(FFHQ_LANDMARKS, profile) > 0.55


def test_misfit_does_not_depend_on_size():
    rough = FFHQ_LANDMARKS + np.random.default_rng(1).normal(size=(5, 2)) * 0.05
    assert misfit(FFHQ_LANDMARKS, rough * 700 + 90) == pytest.approx(misfit(FFHQ_LANDMARKS, rough))


def wave(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """A smooth picture known at every real-valued position; three channels with different phases."""
    turn = 2 * np.pi / period
    return np.stack([127.5 + 100 * np.sin(turn * (x + c)) * np.cos(turn * 0.7 * y) for c in (0, 3, 8)], axis=-1)


@pytest.mark.parametrize("scale", [0.1, 0.23, 0.5, 0.74, 0.76, 1.0, 2.0])
@pytest.mark.parametrize("degrees", [0, 25])
@pytest.mark.parametrize("warp", [warp, lambda image, *how: warp_halved(halves_of(image, 16), *how)])
def test_warp_puts_pixels_where_the_similarity_says(scale, degrees, warp):
    """The wave's steepest slope is 16 grey levels a pixel of the result, so 3 levels are a fifth of a pixel."""
    period, side, size = 40 / scale, 16 * round(90 / scale / 16), (50, 44)
    y, x = np.mgrid[0:side, 0:side]
    image = np.round(wave(x, y, period)).astype(np.uint8)
    matrix = matrix_of(scale, degrees, (0, 0))
    matrix[:, 2] = np.array([25.3, 21.6]) - matrix[:, :2] @ (side / 2, side / 2)
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    v, u = np.mgrid[0 : size[1], 0 : size[0]]
    source = moved(np.stack([u, v], axis=-1), back)
    expected = wave(source[..., 0], source[..., 1], period)
    assert np.abs(warp(image, matrix, size) - expected).max() <= 3


def test_shrinking_does_not_alias():
    """A checkerboard of single pixels, at a fifth of its size, is its mean and not a coarser checkerboard."""
    board = np.repeat((np.indices((300, 300)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = warp(board, matrix_of(0.2, 0, (0, 0)), (60, 60))
    assert np.abs(small.astype(int) - 127).max() <= 12


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_shrinking_by_a_power_of_two_is_the_mean_of_cells(factor):
    """Of noise, so that a shift by a single pixel would be seen; halving in steps may round once a step."""
    image = np.random.default_rng(2).integers(0, 256, (20 * factor, 30 * factor, 3), dtype=np.uint8)
    centre = (factor - 1) / 2  # of the first cell
    small = warp(image, matrix_of(1 / factor, 0, (-centre / factor, -centre / factor)), (30, 20))
    means = image.reshape(20, factor, 30, factor, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 2


def test_halves_are_the_means_of_cells_down_to_the_smallest():
    image = np.random.default_rng(4).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    levels = halves_of(image, smallest=64)
    assert [level.shape[:2] for level in levels] == [(384, 512), (192, 256), (96, 128)]
    cells = image.reshape(96, 4, 128, 4, 3).mean(axis=(1, 3))
    assert np.abs(levels[2] - cells).max() <= 1
    assert [level.shape[:2] for level in halves_of(image[:383])] == [(383, 512)]


def test_beyond_the_image_its_border_is_repeated():
    image = np.full((20, 20, 3), 90, np.uint8)
    assert (warp(image, matrix_of(1, 0, (40, 40)), (30, 30)) == 90).all()


@pytest.mark.parametrize(("size", "degrees"), [(40, 0), (150, -30), (700, 20)])
def test_chips_have_their_landmarks_at_the_template(size, degrees):
    """Each landmark is a bright spot; its centre of mass in the chip is where dlib's template wants it."""
    landmarks = moved(DLIB_CHIP_150, matrix_of(size / 150, degrees, (0, 0)))
    landmarks += 500 - landmarks.mean(axis=0)
    y, x = np.mgrid[0:1000, 0:1000]
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (size / 30) ** 2)) for px, py in landmarks)
    image = np.repeat(np.round(255 * np.minimum(spots, 1)).astype(np.uint8)[..., None], 3, axis=2)
    (chip,) = cut_chips(image, landmarks[None], DLIB, 150)
    v, u = np.mgrid[0:150, 0:150]
    for px, py in DLIB_CHIP_150:
        near = np.where(np.hypot(u - px, v - py) < 12, chip[..., 0].astype(float), 0)
        centre = np.array([(near * u).sum(), (near * v).sum()]) / near.sum()
        np.testing.assert_allclose(centre, (px, py), atol=0.4)


def test_chips_of_no_faces_are_an_empty_batch():
    assert cut_chips(np.zeros((50, 50, 3), np.uint8), np.empty((0, 5, 2)), DLIB, 150).shape == (0, 150, 150, 3)


@pytest.mark.parametrize("aligner", ALIGNERS.values(), ids=list(ALIGNERS))
def test_aligner_brings_a_face_of_its_own_proportions_to_its_template(aligner):
    """A face as the template shows it, less the stretch, anywhere in a photo."""
    natural = aligner.template * (1 / aligner.stretch, 1)
    points = moved(natural, matrix_of(300, 25, (400, 300)))
    matrix = aligner.matrix(points, 160)
    np.testing.assert_allclose(moved(points, matrix), aligner.template * 160, atol=1e-6)

"""What is kept of pictures of which it is known: nothing changed, blurred, moved, gone."""

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS
from services.report.faces import ORIGINAL, RELEASED, Faces, Version
from services.report.results import Estimate, Measure
from services.report.utility.downstream import HOG, MOST, TRAINED, Downstream
from services.report.utility.measures import ABOUT, FEWEST, utility
from services.report.utility.quality import MOST_DB, QUALITIES, measure_quality, ssim

SIDE = 256
FACE = (FFHQ_LANDMARKS * SIDE / 2 + SIDE / 4).astype(np.float32)  # in the middle of a picture, half as wide
LANDMARKS = FACE[None]
INSIDE = (slice(100, 160), slice(100, 160))


def texture(seed: int = 0, shape: tuple[int, ...] = (SIDE, SIDE, 3)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1)


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """With a blurred face."""
    changed = pixels.copy()
    changed[INSIDE] = cv2.GaussianBlur(pixels, (0, 0), sigma)[INSIDE]
    return changed


def quality(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measure_quality(before, after, LANDMARKS).items()}


def test_ssim_of_flat_pictures_is_that_of_their_light() -> None:
    # Without structure, equation 13 of Wang et al. is left with its first factor.
    one, other = np.full((32, 32), 100.0), np.full((32, 32), 150.0)
    c1 = (0.01 * 255) ** 2
    known = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(one, other) == pytest.approx(known, abs=1e-9)


def test_ssim_is_that_of_another_implementation() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    one, other = (texture(seed)[:, :, 0].astype(float) for seed in (1, 2))
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, known = metrics.structural_similarity(one, other, full=True, **options)
    assert np.abs(ssim(one, other) - known)[8:-8, 8:-8].max() < 1e-9  # at the border they differ by choice


def test_a_photo_beside_itself_is_perfect() -> None:
    same = quality(texture(), texture())
    assert same.keys() == QUALITIES.keys()
    assert same["SSIM of the face"] == same["SSIM around the face"] == same["sharpness of the face"] == 1
    assert same["step at the edge"] == 0
    assert same["PSNR around the face"] == MOST_DB


def test_the_stronger_the_blur_the_less_sharp_and_alike_is_the_face() -> None:
    weak, strong = (quality(texture(), blurred(texture(), sigma)) for sigma in (1, 4))
    for name in ("SSIM of the face", "sharpness of the face"):
        assert 1 > weak[name] > strong[name] > 0


def test_what_changes_far_from_the_face_is_not_the_face() -> None:
    after = texture()
    after[:30, :30] = 0
    found = quality(texture(), after)
    assert found["SSIM of the face"] == 1
    assert found["SSIM around the face"] < 1


def test_noise_of_one_level_around_a_face_is_48_db() -> None:
    before = np.full((SIDE, SIDE, 3), 100, np.uint8)
    assert quality(before, before + 1)["PSNR around the face"] == pytest.approx(20 * np.log10(255), abs=0.01)


def test_what_lies_beyond_the_photo_is_not_around_a_face() -> None:
    before = texture()[64:192, 64:192]  # a face that fills its photo
    after = before.copy()
    after[[0, -1]] = 0  # an edge that would be repeated beyond it
    outside = measure_quality(before, after, LANDMARKS - 64)["SSIM around the face"][0]
    assert outside > 0.5


def test_each_face_is_measured_by_itself() -> None:
    pair = np.hstack([texture(1), texture(2)])
    after = pair.copy()
    after[:, :SIDE] = blurred(after[:, :SIDE], 4)
    both = np.stack([FACE, FACE + np.array([SIDE, 0])]).astype(np.float32)
    sharp = measure_quality(pair, after, both)["sharpness of the face"]
    assert sharp[0] < 0.9
    assert sharp[1] == 1


def test_photos_without_faces_have_no_rows() -> None:
    none = measure_quality(texture(), texture(), np.empty((0, 5, 2)))
    assert none.keys() == QUALITIES.keys()
    assert all(len(values) == 0 for values in none.values())


N, TAKES = 12, 3
FACES = Faces(
    tuple(f"person {one}" for one in range(N)),
    np.repeat(np.arange(N), TAKES),
    tuple(f"{row}.jpg" for row in range(N * TAKES)),
    np.arange(N * TAKES),
    np.tile(np.arange(TAKES), N),
    np.zeros(N * TAKES, np.int64),
    np.full(N * TAKES, "enrolled"),
)
ROWS = len(FACES)
EVERY = np.ones(ROWS, bool)
PLACES = np.repeat(LANDMARKS, ROWS, axis=0)
ITSELF = Version(ORIGINAL, "", EVERY, EVERY, PLACES, {}, {"gender": np.full(ROWS, "female")}, {})


def measured(version: Version, original: Version = ITSELF) -> dict[str, Measure]:
    return {one.name: one for one in utility(FACES, original, version, 0)}


def value(measures: dict[str, Measure], name: str) -> float:
    found = measures[name].estimate
    assert isinstance(found, Estimate)
    return found.value


def test_originals_beside_themselves_keep_everything() -> None:
    found = measured(ITSELF)
    assert value(found, "faces found") == value(found, "gender kept") == value(found, "gender certain") == 1
    for name in ABOUT.keys() - {"faces found"}:
        assert value(found, name) == pytest.approx(0, abs=1e-9)
    assert all(found[name].estimate is None for name in QUALITIES)  # none were taken of it


def test_landmarks_that_all_move_by_a_tenth_of_the_eyes_distance_err_by_that() -> None:
    shift = 0.1 * np.linalg.norm(FACE[1] - FACE[0]) * np.array([0.6, 0.8])
    found = measured(replace(ITSELF, landmarks=(PLACES + shift).astype(np.float32)))
    assert value(found, "landmark error") == pytest.approx(0.1, abs=1e-5)
    assert value(found, "mouth error") == pytest.approx(0, abs=1e-5)


def test_the_error_of_landmarks_is_in_distances_of_the_originals_eyes() -> None:
    twice = replace(ITSELF, landmarks=PLACES * 2)
    once, double = measured(twice), measured(ITSELF, twice)
    assert value(once, "landmark error") == pytest.approx(2 * value(double, "landmark error"), rel=1e-5)


@pytest.mark.parametrize("start", [0.0, 170.0])  # past 180 degrees it goes on at -180
def test_a_tilted_head_errs_by_its_tilt(start: float) -> None:
    before, after = (replace(ITSELF, landmarks=tilted(angle)) for angle in (start, start + 20))
    found = measured(after, before)
    assert value(found, "roll error") == pytest.approx(20, abs=0.1)
    assert value(found, "yaw error") == pytest.approx(0, abs=0.1)


def tilted(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return np.repeat(((FACE - FACE.mean(axis=0)) @ turn)[None], ROWS, axis=0).astype(np.float32)


def test_a_wider_mouth_is_another_expression() -> None:
    smiling = PLACES.copy()
    smiling[:, 4, 0] += 0.2 * np.linalg.norm(FACE[1] - FACE[0])
    assert value(measured(replace(ITSELF, landmarks=smiling)), "mouth error") == pytest.approx(0.2, abs=0.01)


def test_faces_of_which_nothing_is_shown_count_as_not_found() -> None:
    half = FACES.takes == 0
    version = replace(ITSELF, shown=~half, found=EVERY, landmarks=np.where(half[:, None, None], np.nan, PLACES))
    found = measured(version)
    assert value(found, "faces found") == pytest.approx(2 / 3)
    told = found["landmark error"].estimate
    assert told is not None
    assert told.trials == ROWS - half.sum()


def test_only_what_is_certain_in_the_original_is_asked_of_a_version() -> None:
    told = np.where(FACES.takes == 0, "", "female")
    now = np.where(FACES.takes == 1, "", "female")
    before, after = (replace(ITSELF, attributes={"gender": words}) for words in (told, now))
    found = measured(after, before)
    assert value(found, "gender kept") == value(found, "gender certain") == 0.5
    kept = found["gender kept"].estimate
    assert kept is not None
    assert kept.trials == 2 * N


def test_faces_that_are_in_no_photo_have_no_place() -> None:
    version = replace(ITSELF, landmarks=np.full_like(PLACES, np.nan))
    assert measured(version)["landmark error"].estimate is None


def test_what_few_people_have_a_value_of_is_no_figure() -> None:
    for people, told in ((FEWEST - 1, False), (FEWEST, True)):
        seen = FACES.identities < people
        version = replace(ITSELF, landmarks=np.where(seen[:, None, None], PLACES, np.nan))
        assert (measured(version)["landmark error"].estimate is not None) == told


def test_few_people_altogether_have_figures_of_all_of_them() -> None:
    few = FACES.identities < FEWEST - 2
    found = utility(FACES.of(few), ITSELF.of(few), ITSELF.of(few), 0)
    assert next(one for one in found if one.name == "landmark error").estimate is not None


def pictured(seed: int, marked: bool) -> tuple[np.ndarray, np.ndarray]:
    """A pattern that a detector learns quickly, somewhere in noise; or its place alone."""
    pixels = texture(seed, (200, 200, 3))
    x, y = np.random.default_rng((seed, 1)).integers(10, 100, 2)
    if marked:
        pixels[y : y + 80, x : x + 80] = 60
        cv2.circle(pixels, (int(x) + 40, int(y) + 40), 30, (230, 230, 230), -1)
        cv2.rectangle(pixels, (int(x) + 30, int(y) + 30), (int(x) + 50, int(y) + 60), (20, 20, 20), -1)
    return pixels, np.array([x, y, x + 80, y + 80], np.float32)


def collected(marked: bool, order: list[int]) -> dict[tuple[str, str], Measure]:
    """A next task in photos, two a person, whose released versions hold what is looked for, or do not."""
    task = Downstream({f"{number}.jpg": [number // 2] for number in order})
    for number in order:
        pixels, box = pictured(number, marked=True)
        task.add(ORIGINAL, f"{number}.jpg", pixels, [box])
        task.add(RELEASED, f"{number}.jpg", pictured(number, marked)[0], [box])
    return {(one.version, one.name): one for one in task.measure()}


def test_a_detector_learns_from_what_is_published_only_what_it_shows() -> None:
    pytest.importorskip("dlib")
    shown, hidden = (collected(marked, list(range(24))) for marked in (True, False))
    rows = (shown[ORIGINAL, TRAINED], shown[RELEASED, TRAINED], hidden[RELEASED, TRAINED])
    first, same, lost = (one.estimate for one in rows)
    assert first is not None
    assert first == same
    assert first.value > 0.9
    assert first.people == 4  # one in three is held out, with all photos
    assert lost is not None
    assert lost.value < 0.2


def test_no_photo_of_those_who_are_held_out_is_trained_on() -> None:
    pytest.importorskip("dlib")
    seven = collected(True, list(range(14)))  # three are held out, and eight photos are too few
    assert seven[RELEASED, HOG].estimate is not None
    assert seven[RELEASED, TRAINED].estimate is None


def test_the_order_of_photos_does_not_matter() -> None:
    pytest.importorskip("dlib")
    onwards, back = collected(True, list(range(24))), collected(True, list(range(24))[::-1])
    assert onwards == back


def test_which_photos_are_kept_does_not_hang_on_their_order() -> None:
    pytest.importorskip("dlib")
    blank, box = np.zeros((8, 8, 3), np.uint8), np.array([0, 0, 8, 8], np.float32)
    numbers, faces = list(range(MOST + 20)), []
    for order in (numbers, numbers[::-1], numbers[90:] + numbers[:90]):
        task = Downstream()
        for number in order:
            task.add(ORIGINAL, f"{number}.jpg", blank, [box] * (number + 1))
        (told,) = [one.estimate for one in task.measure() if one.name == HOG]
        assert told is not None
        faces.append((told.trials, told.people))
    assert faces[0] == faces[1] == faces[2]
    assert faces[0][1] == MOST


def test_what_was_not_published_is_not_found_and_pictures_are_bounded() -> None:
    pytest.importorskip("dlib")
    task = Downstream()
    blank, box = np.zeros((8, 8, 3), np.uint8), np.array([0, 0, 8, 8], np.float32)
    for number in range(MOST + 20):
        task.add(ORIGINAL, f"{number}.jpg", blank, [box])
    task.add(RELEASED, "0.jpg", blank, [box])
    found = {(one.version, one.name): one for one in task.measure()}
    for version in (ORIGINAL, RELEASED):
        told = found[version, HOG].estimate
        assert told is not None
        assert told.trials == MOST
        assert told.value == 0
    assert found[RELEASED, TRAINED].estimate is None  # too few to train on
    assert "not known here who" in found[RELEASED, TRAINED].about


def test_without_dlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    found = collected(True, [0, 1])
    assert [one.estimate for one in found.values()] == [None, None]
    assert all("anonfaces[convert]" in one.about for one in found.values())

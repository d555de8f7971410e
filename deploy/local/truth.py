"""Photos in which every face is known: generated people, pasted at known places and sizes, and made hard to see."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.detect import BOX_HEIGHT

SIZES = (24, 28, 32, 40, 48, 64, 96, 150, 240, 350, 500, 700)  # pixels of a face's box
SHAPES = ((1024, 1024), (1024, 683), (768, 1024), (640, 480), (1920, 1080), (1500, 1000), (2600, 1950))  # width, height
FACES = 12  # most in one photo
FEWEST = 6  # of a condition and size, over as many photos as that takes
CELL = 1.25  # sides of a pasted picture from one face to the next


@dataclass(frozen=True)
class Truth:
    """One face that is there."""

    centre: np.ndarray  # float64 [2], the middle of its landmarks in pixels of the photo
    side: float  # pixels of its box


@dataclass(frozen=True)
class Board:
    """A photo and every face in it."""

    condition: str
    size: int  # of its faces, one of SIZES
    pixels: np.ndarray  # uint8 [H, W, 3] RGB
    truths: list[Truth]


def _unchanged(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return picture


def _dark(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.round(picture * rng.uniform(0.1, 0.25)).astype(np.uint8)


def _bright(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(picture * rng.uniform(1.5, 1.9) + 30, 0, 255).astype(np.uint8)


def _half_hidden(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A third of the face behind something: the mouth, the eyes, or one side."""
    picture, side = picture.copy(), len(picture)
    rows, columns = ((0.66, 1.0), (0.1, 0.9)), ((0.40, 0.53), (0.2, 0.8))
    (y0, y1), (x0, x1) = (rows, columns, ((0.0, 1.0), (0.0, 0.38)))[rng.integers(3)]
    colour = rng.integers(10, 245, 3)
    picture[round(y0 * side) : round(y1 * side), round(x0 * side) : round(x1 * side)] = colour
    return picture


def _noisy(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.clip(photo + rng.normal(0, 18, photo.shape), 0, 255).astype(np.uint8)


def _blurred(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), max(0.7, 0.03 * size)))


def _compressed(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 22])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def _same(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return photo


@dataclass(frozen=True)
class _Condition:
    """What is done to each face, to the finished photo, and by how many degrees faces may be tilted."""

    face: Callable[[np.ndarray, np.random.Generator], np.ndarray] = _unchanged
    photo: Callable[[np.ndarray, int, np.random.Generator], np.ndarray] = _same
    tilt: float = 12.0


CONDITIONS = {
    "plain": _Condition(),
    "tilted": _Condition(tilt=50.0),
    "dark": _Condition(face=_dark),
    "bright": _Condition(face=_bright),
    "half hidden": _Condition(face=_half_hidden),
    "noisy": _Condition(photo=_noisy),
    "blurred": _Condition(photo=_blurred),
    "compressed": _Condition(photo=_compressed),
}


def boards(people: np.ndarray, seed: int, sizes: tuple[int, ...] = SIZES) -> list[Board]:
    """Every size under every condition, in photos of changing shapes.

    Args:
        people: uint8 [n, S, S, 3] RGB, aligned as FFHQ aligns.
    """
    rng = np.random.default_rng(seed)
    made: list[Board] = []
    for condition in CONDITIONS:
        for size in sizes:
            found = 0
            while found < FEWEST:
                board = _board(people, condition, size, SHAPES[len(made) % len(SHAPES)], rng)
                found += len(board.truths)
                made.append(board)
    return made


def _board(people: np.ndarray, condition: str, size: int, shape: tuple[int, int], rng: np.random.Generator) -> Board:
    """Faces of one size on a cluttered background; a photo too small for one of them becomes larger."""
    how, side = CONDITIONS[condition], size / BOX_HEIGHT
    grow = max(1.0, 1.02 * side / min(shape))
    width, height = (round(extent * grow) for extent in shape)
    photo = _clutter(width, height, rng)
    across, down = (max(1, int(extent // (CELL * side))) for extent in (width, height))
    cells = rng.permutation(across * down)[:FACES]
    truths = []
    for cell in cells.tolist():
        room = np.array([width / across, height / down])
        middle = (np.array([cell % across, cell // across]) + 0.5) * room
        middle = middle + rng.uniform(-0.5, 0.5, 2) * np.maximum(room - side, 0) * 0.6
        picture = how.face(people[rng.integers(len(people))], rng)
        truths.append(_paste(photo, picture, middle, side, float(rng.uniform(-how.tilt, how.tilt))))
    return Board(condition, size, how.photo(photo, size, rng), truths)


def _clutter(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A background with structure at several scales and a few straight edges. uint8 [height, width, 3]."""
    photo = np.full((height, width, 3), rng.uniform(60, 190, 3), np.float32)
    for cells in (3, 9, 40):
        coarse = rng.normal(0, 28, (cells, cells, 3)).astype(np.float32)
        photo += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        x, y = rng.integers(0, width), rng.integers(0, height)
        corner = (int(x + rng.integers(20, width // 2)), int(y + rng.integers(20, height // 2)))
        cv2.rectangle(photo, (int(x), int(y)), corner, rng.uniform(20, 235, 3).tolist(), int(rng.integers(1, 14)))
    return np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8)


def _paste(photo: np.ndarray, picture: np.ndarray, middle: np.ndarray, side: float, angle: float) -> Truth:
    """Draws a head, turned, into `photo`; what is beyond the head fades out. Returns where its face then is."""
    count = len(picture)
    y, x = (np.mgrid[0:count, 0:count] + 0.5) / count
    weight = np.clip((1 - np.hypot((x - 0.5) / 0.49, (y - 0.5) / 0.495)) / 0.1, 0, 1).astype(np.float32)
    if side < count:
        small = (max(1, round(side)),) * 2
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    half = len(picture) / 2
    matrix = cv2.getRotationMatrix2D((half - 0.5, half - 0.5), angle, side / len(picture))
    x0, y0 = (int(v) for v in np.floor(middle - 0.75 * side))
    extent = (int(np.ceil(1.5 * side)) + 1,) * 2
    matrix = matrix + np.column_stack([np.zeros((2, 2)), middle - (half - 0.5) - (x0, y0)])
    drawn = cv2.warpAffine(picture, matrix, extent).astype(np.float32)
    cover = cv2.warpAffine(weight, matrix, extent)[..., None]
    low = np.maximum((y0, x0), 0)
    high = np.minimum((y0 + extent[1], x0 + extent[0]), photo.shape[:2])
    on_photo = (slice(low[0], high[0]), slice(low[1], high[1]))
    on_drawn = (slice(low[0] - y0, high[0] - y0), slice(low[1] - x0, high[1] - x0))
    part = photo[on_photo]
    photo[on_photo] = np.round(part + (drawn[on_drawn] - part) * cover[on_drawn])
    centre = FFHQ_LANDMARKS.mean(axis=0) * len(picture)
    return Truth(matrix[:, :2] @ centre + matrix[:, 2] + (x0, y0), BOX_HEIGHT * side)

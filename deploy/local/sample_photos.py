"""Sample photos of people who do not exist: fresh pictures of enrolled people, and people whom nobody enrolled."""

from dataclasses import dataclass

import cv2
import numpy as np

from services.anonymizer.latents import PSI
from services.anonymizer.triton import Triton
from services.population.demo import person_name
from services.population.index import ClusterIndex
from services.population.sample import Sampler

UNSEEN_SEED = 1_000_003  # of people outside every demo population
FRESH = 0.2  # how far a fresh picture is from the enrolled one, as a share of the way to another person
BOARD = (164, 146, 122)
PAPER = (250, 249, 246)


@dataclass(frozen=True)
class Sample:
    """A photo to anonymise."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3] RGB


async def fresh_pictures(count: int, index: ClusterIndex, sampler: Sampler, triton: Triton) -> np.ndarray:
    """New pictures of the first enrolled people: another expression, light and background. uint8 [count, S, S, 3]."""
    provenance = index.manifest["provenance"]
    numbers = [i for i in range(2 * count) if person_name(i) in set(index.enrolled.identities.tolist())][:count]
    latents = (await sampler.latents(max(numbers) + 1, provenance["seed"], triton))[numbers]
    other = await sampler.latents(count, UNSEEN_SEED + 1, triton)
    return await sampler.pictures(latents + FRESH / PSI * (other - sampler.mean), triton)


async def unseen_pictures(count: int, sampler: Sampler, triton: Triton) -> np.ndarray:
    """People outside the population. uint8 [count, S, S, 3]."""
    return await sampler.pictures(await sampler.latents(count, UNSEEN_SEED, triton), triton)


def pinboard(pictures: np.ndarray, columns: int, cell: int, seed: int, rows: int | None = None) -> np.ndarray:
    """Prints of different sizes, pinned at different angles: uint8 [rows * cell, columns * cell, 3].

    Args:
        pictures: uint8 [n, S, S, 3].
        cell: pixels of board for one print.
        rows: of cells; None: as many as the pictures need.
    """
    rng = np.random.default_rng(seed)
    rows = rows or -(-len(pictures) // columns)
    board = np.empty((rows * cell, columns * cell, 3), np.uint8)
    board[:] = BOARD
    grain = cv2.GaussianBlur(rng.normal(0, 12, board.shape[:2]), (0, 0), 1.2)
    board[:] = np.clip(np.asarray(board, np.float64) + np.asarray(grain, np.float64)[..., None], 0, 255)
    for number, picture in enumerate(pictures):
        centre = ((number % columns + 0.5) * cell, (number // columns + 0.5) * cell)
        angle = float(rng.uniform(-22, 22))
        size = cell * float(rng.uniform(0.55, 0.82))
        paste(board, framed(picture), centre, size, angle)
    return board


def framed(picture: np.ndarray) -> np.ndarray:
    """A picture with a white margin, as prints have."""
    margin = len(picture) // 24
    return cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=PAPER)


def paste(board: np.ndarray, picture: np.ndarray, centre: tuple[float, float], size: float, angle: float) -> None:
    """Draws a square picture onto the board, turned by `angle` degrees, `size` pixels wide."""
    side = len(picture)
    small = cv2.resize(picture, (round(size), round(size)), interpolation=cv2.INTER_AREA) if size < side else picture
    matrix = cv2.getRotationMatrix2D((len(small) / 2, len(small) / 2), angle, size / len(small))
    middle = len(small) / 2
    matrix = matrix + np.array([(0, 0, centre[0] - middle), (0, 0, centre[1] - middle)])
    extent = (board.shape[1], board.shape[0])
    cover = cv2.warpAffine(np.full(small.shape[:2], 255, np.uint8), matrix, extent)
    shadow = cv2.GaussianBlur(np.roll(cover, (5, 4), axis=(0, 1)), (0, 0), 5)[..., None] / 255
    board[:] = np.round(board * (1 - 0.35 * shadow * (cover == 0)[..., None]))
    weight = cover[..., None] / 255
    board[:] = np.round(board * (1 - weight) + cv2.warpAffine(small, matrix, extent) * weight)


async def sample_photos(index: ClusterIndex, sampler: Sampler, triton: Triton) -> list[Sample]:
    """Ten people on one board (five enrolled, five not), a photo of a real person, and portraits of several kinds."""
    fresh = await fresh_pictures(8, index, sampler, triton)
    unseen = await unseen_pictures(12, sampler, triton)
    group = np.stack([picture for pair in zip(fresh[:5], unseen[:5], strict=True) for picture in pair])
    samples = [Sample("group", pinboard(group, 5, 320, seed=11)), Sample("astronaut", real_portrait())]
    for number, picture in enumerate((*fresh[5:8], *unseen[5:8])):
        samples.append(Sample(f"portrait-{number + 1}", picture))
    tilted = pinboard(unseen[:0], 1, 900, seed=3, rows=1)
    paste(tilted, framed(unseen[8]), (450, 450), 640, 38.0)
    tiny = pinboard(unseen[9:12], 3, 160, seed=5)
    return [*samples, Sample("large-and-tilted", tilted), Sample("small", tiny)]


def real_portrait() -> np.ndarray:
    """A photo of a real person that scikit-image ships (NASA, public domain): uint8 [512, 512, 3]."""
    from skimage import data

    return np.asarray(data.astronaut())

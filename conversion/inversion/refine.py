"""Refines latents by gradient descent: what StyleGAN-encoder did, on the embedder that serves.

A regression gives the average of all w that fit an embedding. From there Adam (Kingma and Ba 2015, arXiv:1412.6980)
moves w to where the picture's face, cut out as the service cuts it and seen by the service's embedder, comes nearer to
the wanted embedding, and a pull back to the start keeps it a face: far from it there are pictures that please the
embedder and nobody else. As in Image2StyleGAN (Abdal et al. 2019, arXiv:1904.03189) each layer's w may go its own way.

The landmarks by which faces are cut out are those of the start, although the face moves a little: a distance that is
told to anyone needs a new look. Nothing is drawn at random; but threads and GPUs add up in any order, so that the same
call differs in the last digits (with one thread, in none).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from conversion.inversion.torch_graph import TorchGraph, functional, straight_through, torch
from services.anonymizer.align import ALIGNERS, scale_of

RATE = 0.05  # of Adam's steps, in units of the start's root mean square
PULL = 0.3  # a usual weight of the pull, see `refine`
DECAY = 0.1  # the last step's rate, as a share of the first's
BATCHES = {"cuda": 4}  # faces at a time; a CPU is no faster with several

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Refined:
    """n latents, and how far their faces are from the wanted embeddings. A distance is NaN where nothing was tried.

    What is kept is what had the smallest loss, so that no distance grows.
    """

    latents: np.ndarray  # float32 [n, *latent_shape]
    first: np.ndarray  # float32 [n], Euclidean, of the start
    last: np.ndarray  # float32 [n], of what was kept; never above `first`


def refine(
    latents: np.ndarray,
    embeddings: np.ndarray,
    landmarks: np.ndarray,
    generator_onnx: Path,
    embedder_onnx: Path,
    aligner: str,
    chip_px: int,
    latent_name: str,
    steps: int,
    pull: float,
    device: str | None = None,
    report: Report = lambda done, total: None,
) -> Refined:
    """Moves each latent to where its face comes nearer to an embedding, and keeps the best seen of each.

    Args:
        latents: float32 [n, *latent_shape], where to start from.
        embeddings: float32 [n, d], what the faces are to look like to the embedder.
        landmarks: float [n, 5, 2], of the face in the picture of the start, in pixels of that picture.
        generator_onnx: latent -> image uint8 [N, H, W, 3]; its hash was checked.
        embedder_onnx: chips uint8 [N, chip_px, chip_px, 3] -> embedding [N, d]; its hash was checked.
        aligner: how the embedder's chips are cut, a row of `align.ALIGNERS`.
        latent_name: the generator's input.
        steps: gradients taken for each face; 0 only measures.
        pull: weight of the squared way from the start, in units of the start's mean square, beside the squared
            distance of the embeddings.
        device: PyTorch's name of it; a GPU if there is one.
        report: told after each step how many are done, of how many; a step of one face counts as one.

    Returns:
        What came of it. A face whose latent, embedding or landmarks are not finite is left as it is.

    Raises:
        ConversionError: a graph has nodes that are not covered, or takes other inputs.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    generator, embedder = (TorchGraph(path, device) for path in (generator_onnx, embedder_onnx))
    camera = Camera(generator, embedder, latent_name, aligner, chip_px)
    result = Refined(np.array(latents, np.float32), *np.full((2, len(latents)), np.nan, np.float32))
    rows = _finite_rows(latents, embeddings, landmarks)
    size = BATCHES.get(device.split(":")[0], 1)
    for begin in range(0, len(rows), size):
        batch = rows[begin : begin + size]
        start, wanted = (torch.tensor(x[batch], dtype=torch.float32, device=device) for x in (latents, embeddings))
        search = _Search(camera, start, wanted, landmarks[batch], pull)
        for done in search.run(steps):
            report(begin * steps + done * len(batch), len(rows) * steps)
        result.latents[batch] = search.best.cpu().numpy()
        result.first[batch], result.last[batch] = search.first.cpu().numpy(), search.last.cpu().numpy()
    return result


def _finite_rows(*columns: np.ndarray) -> np.ndarray:
    """Which rows hold numbers only, in every array."""
    finite = [np.isfinite(column).all(axis=tuple(range(1, column.ndim))) for column in columns]
    return np.flatnonzero(np.logical_and.reduce(finite))


@dataclass(frozen=True)
class Camera:
    """Renders latents and sees their faces as the service would, in one differentiable piece."""

    generator: TorchGraph
    embedder: TorchGraph
    latent_name: str
    aligner: str
    chip_px: int

    def embeddings(self, latents: torch.Tensor, landmarks: np.ndarray) -> torch.Tensor:
        """float32 [n, d] of `latents float32 [n, *latent_shape]`, cut at `landmarks float [n, 5, 2]` in pixels."""
        (pictures,) = self.generator(**{self.latent_name: latents})
        chips = [
            cut_chip(picture, points, self.aligner, self.chip_px)
            for picture, points in zip(pictures, landmarks, strict=True)
        ]
        (embeddings,) = self.embedder(**{self.embedder.inputs[0]: torch.stack(chips)})
        return embeddings


class _Search:
    """The way of some faces. It is counted in units of each start's root mean square, so that one rate suits all."""

    def __init__(
        self, camera: Camera, start: torch.Tensor, wanted: torch.Tensor, landmarks: np.ndarray, pull: float
    ) -> None:
        self.camera, self.start, self.wanted, self.landmarks, self.pull = camera, start, wanted, landmarks, pull
        self.unit = start.square().mean(dim=tuple(range(1, start.ndim)), keepdim=True).sqrt()
        self.way = torch.zeros_like(start, requires_grad=True)
        self.best = start.clone()
        self.first = self.last = torch.full_like(start.flatten(1)[:, 0], torch.nan)
        self.lowest = torch.full_like(self.last, torch.inf)

    def run(self, steps: int) -> Iterator[int]:
        """Gives the number of steps taken, after each."""
        adam = torch.optim.Adam([self.way], lr=RATE)
        rates = torch.optim.lr_scheduler.LinearLR(adam, 1.0, DECAY, max(1, steps - 1))
        for step in range(steps):
            loss = self._look()
            (gradient,) = torch.autograd.grad(loss.sum(), self.way)
            lost = ~(torch.isfinite(loss) & torch.isfinite(gradient).flatten(1).all(dim=1))
            self.way.grad = self._where(lost, torch.zeros_like(gradient), gradient)
            adam.step()
            with torch.no_grad():
                self.way.copy_(self._where(lost, (self.best - self.start) / self.unit, self.way))
            rates.step()
            yield step + 1
        with torch.no_grad():
            self._look()

    def _look(self) -> torch.Tensor:
        """The loss of where the faces are, float32 [n], and notes the best of each."""
        latents = self.start + self.unit * self.way
        squares = (self.camera.embeddings(latents, self.landmarks) - self.wanted).square().sum(dim=1)
        loss = squares + self.pull * self.way.flatten(1).square().mean(dim=1)
        with torch.no_grad():
            self.first = torch.where(self.first.isnan(), squares.sqrt(), self.first)
            better = loss < self.lowest
            self.best = self._where(better, latents, self.best)
            self.last = torch.where(better, squares.sqrt(), self.last)
            self.lowest = torch.where(better, loss, self.lowest)
        return loss

    def _where(self, rows: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
        return torch.where(rows.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def cut_chip(picture: torch.Tensor, landmarks: np.ndarray, aligner: str, side: int) -> torch.Tensor:
    """A face as `align.cut_chips` cuts it, differentiable: the same cells halved, the same points between them.

    Args:
        picture: float32 [H, W, 3], 0 to 255.
        landmarks: float [5, 2], x and y in pixels.
        aligner: a row of `align.ALIGNERS`.
        side: of the chip in pixels.

    Returns:
        float32 [side, side, 3], whole numbers.
    """
    matrix = ALIGNERS[aligner].matrix(landmarks, side)
    part = picture.permute(2, 0, 1)[None]
    step = 2 ** max(0, int(np.log2(1 / max(scale_of(matrix), 1e-6))))
    if step > 1:
        part, matrix = _shrunk(part, matrix, side, step)
    inverse = cv2.invertAffineTransform(matrix)
    points = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) @ inverse[:, :2].T + inverse[:, 2]
    # PyTorch's places go from -1 at the left edge of the first pixel to 1 at the right edge of the last.
    places = (2 * points + 1) / np.array(part.shape[:1:-1]) - 1
    grid = torch.from_numpy(places.astype(np.float32)).to(part.device)[None]
    chip = functional.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return straight_through(chip, chip.round())[0].permute(1, 2, 0)


def _shrunk(picture: torch.Tensor, matrix: np.ndarray, side: int, step: int) -> tuple[torch.Tensor, np.ndarray]:
    """Cuts out what the chip needs, and takes means of cells of `step`; with the similarity from there to the chip.

    Args:
        picture: float32 [1, 3, H, W].
        matrix: float64 [2, 3], picture -> chip.
    """
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([(0, 0), (side, 0), (0, side), (side, side)]) @ inverse[:, :2].T + inverse[:, 2]
    height, width = picture.shape[2:]
    low, high = np.floor(corners.min(axis=0)) - 2 * step, np.ceil(corners.max(axis=0)) + 2 * step
    x0, y0 = (int(v) for v in np.clip(low, 0, (max(0, width - step), max(0, height - step))))
    x1, y1 = (int(v) for v in np.clip(high, (x0 + 1, y0 + 1), (width, height)))
    part = picture[:, :, y0:y1, x0:x1]
    missing = (0, -(x1 - x0) % step, 0, -(y1 - y0) % step)
    part = functional.avg_pool2d(functional.pad(part, missing, mode="replicate"), step)
    to_picture = np.array([(step, 0, x0 + 0.5 * step - 0.5), (0, step, y0 + 0.5 * step - 0.5), (0, 0, 1)])
    return part, matrix @ to_picture

"""photo -> faces: the whole photo once, and tiles of it where that would miss small faces."""

from dataclasses import dataclass
from itertools import product
from math import ceil

import cv2
import numpy as np

from services.anonymizer.models import Detector
from services.anonymizer.triton import Triton

IOU = 0.3  # boxes that overlap more than this are one face
OVERLAP = 128  # pixels of input shared by neighbouring tiles
EDGE = 4  # a box this near to a tile's inner edge is cut by it; the neighbour holds the whole face


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the photo."""

    box: np.ndarray  # float32 [4]: x0, y0, x1, y1; may reach beyond the photo
    landmarks: np.ndarray  # float32 [5, 2]: left eye, right eye, nose, left and right corner of the mouth
    score: float  # 0..1

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True)
class _View:
    """A part of the photo at one scale: input pixel = (photo pixel - (x, y)) * scale."""

    x: float
    y: float
    width: float
    height: float
    scale: float


def plan_views(width: int, height: int, side: int, scale_wanted: float) -> list[_View]:
    """What to look at: the whole photo, and overlapping tiles at `scale_wanted` if the whole does not reach it.

    Args:
        width, height: of the photo, in pixels.
        side: side of the detector's input.
        scale_wanted: input pixels for one pixel of the photo at which the smallest face of interest is found.
    """
    scale = min(1.0, side / max(width, height))
    views = [_View(0, 0, width, height, scale)]
    if scale < min(1.0, scale_wanted):
        tile, step = side / scale_wanted, (side - OVERLAP) / scale_wanted
        columns, rows = (max(1, ceil((extent - tile) / step) + 1) for extent in (width, height))
        for column, row in product(range(columns), range(rows)):
            x, y = (min(i * step, max(0.0, extent - tile)) for i, extent in ((column, width), (row, height)))
            views.append(_View(x, y, min(tile, width), min(tile, height), scale_wanted))
    return views


def _render(pixels: np.ndarray, view: _View, side: int) -> np.ndarray:
    """The view as a square input, top left, the rest black."""
    x, y = round(view.x), round(view.y)
    part = pixels[y : y + ceil(view.height), x : x + ceil(view.width)]
    if view.scale < 1:
        size = (min(side, round(part.shape[1] * view.scale)), min(side, round(part.shape[0] * view.scale)))
        part = cv2.resize(part, (max(1, size[0]), max(1, size[1])), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: part.shape[0], : part.shape[1]] = part
    return canvas


def _cut_by_tile(boxes: np.ndarray, view: _View, width: int, height: int) -> np.ndarray:
    """Which boxes (photo pixels) touch an edge of the view that is not an edge of the photo."""
    near = EDGE / view.scale
    return (
        ((boxes[:, 0] < view.x + near) & (view.x > 0))
        | ((boxes[:, 1] < view.y + near) & (view.y > 0))
        | ((boxes[:, 2] > view.x + view.width - near) & (view.x + view.width < width - 1))
        | ((boxes[:, 3] > view.y + view.height - near) & (view.y + view.height < height - 1))
    )


async def detect(pixels: np.ndarray, triton: Triton, detector: Detector, min_score: float, min_px: float) -> list[Face]:
    """Finds faces, best first.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        min_score: from which score on a detection is a face, 0..1.
        min_px: faces with at least this many pixels are looked for; smaller ones may be found as well.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    height, width = pixels.shape[:2]
    sides = sorted(detector.models)
    side = next((s for s in sides if s >= max(width, height)), sides[-1])
    views = plan_views(width, height, side, min(1.0, detector.smallest_px / min_px))
    images = np.stack([_render(pixels, view, side) for view in views])
    answer = await triton.infer(detector.models[side], {"image": images}, "boxes", "scores", "landmarks")
    found: list[Face] = []
    for view, boxes, scores, points in zip(views, *answer, strict=True):
        keep = scores >= min_score
        at = np.array([view.x, view.y], np.float32)
        boxes = boxes[keep] / view.scale + np.tile(at, 2)
        points = points[keep] / view.scale + at
        whole = ~_cut_by_tile(boxes, view, width, height)
        rows = zip(boxes[whole], points[whole], scores[keep][whole], strict=True)
        found += [Face(box, five, float(score)) for box, five, score in rows]
    return _suppress(found, min_score)


def _suppress(faces: list[Face], min_score: float) -> list[Face]:
    """One face where several boxes overlap: the best of them."""
    if not faces:
        return []
    boxes = [(*f.box[:2].tolist(), *(f.box[2:] - f.box[:2]).tolist()) for f in faces]
    kept = cv2.dnn.NMSBoxes(boxes, [f.score for f in faces], min_score, IOU)
    return sorted((faces[i] for i in np.asarray(kept).ravel()), key=lambda f: -f.score)

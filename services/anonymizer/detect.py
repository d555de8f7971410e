"""photo -> faces: the photo, with tiles for small ones, and a thumbnail; then a second look at each face.

CenterFace's boxes hold at any size, its landmarks only on faces of 60 to 200 pixels: on a face of 700 they are off by
a tenth of it. The second look shows it each face upright at one size, so that landmarks, and with them chips and
embeddings, do not depend on how large or how tilted a face is in its photo. The thumbnail, looked at meanwhile, is for
faces too large for the first look.
"""

import asyncio
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

import cv2
import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, misfit, shrink, similarity, warp
from services.anonymizer.models import INPUT_STEP, Detector
from services.anonymizer.threads import in_thread
from services.anonymizer.triton import Triton
from services.errors import TooManyFaces

SAME_CENTRE = 0.3  # two detections whose centres are nearer than this share of the larger side are one face
SMALL_SHARE = 0.45  # but not if one is this much smaller than the other
CANDIDATE_SCORE = 0.15  # from here on a second look is worth its time: it costs little, and finds many that are faces
CONFIRMED_SCORE = 0.5  # of the second look, where true faces nearly all have more than 0.8
MAX_CANDIDATES = 512
TILE_OVERLAP = 128  # pixels of input shared by neighbouring tiles
EDGE = 4  # a box this near to a tile's inner edge is cut by it; the neighbour holds the whole face
OUTPUTS = ("boxes", "scores", "landmarks")
DOUBTFUL = 0.55  # landmarks that misfit a frontal face by more say nothing of its tilt
BOX_HEIGHT = 0.74  # a detected box in FFHQ's alignment, as a share of the picture


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the photo."""

    box: np.ndarray  # float32 [4]: x0, y0, x1, y1; may reach beyond the photo
    landmarks: np.ndarray  # float32 [5, 2]: left eye, right eye, nose, left and right corner of the mouth
    score: float  # 0..1
    confirmed: bool = False  # the second look found it as well, and gave the landmarks

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def centre(self) -> np.ndarray:
        """The middle of the landmarks, float32 [2]."""
        return self.landmarks.mean(axis=0)


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
        tile, step = side / scale_wanted, (side - TILE_OVERLAP) / scale_wanted
        columns, rows = (max(1, ceil((extent - tile) / step) + 1) for extent in (width, height))
        for column, row in product(range(columns), range(rows)):
            x, y = (min(i * step, max(0.0, extent - tile)) for i, extent in ((column, width), (row, height)))
            views.append(_View(x, y, min(tile, width), min(tile, height), scale_wanted))
    return views


def _input_size(view: _View) -> tuple[int, int]:
    """Height and width of the smallest input that holds the view; all tiles of a photo have the same."""
    height, width = (
        INPUT_STEP * ceil(round(extent * view.scale, 3) / INPUT_STEP) for extent in (view.height, view.width)
    )
    return height, width


def _render(pixels: np.ndarray, view: _View, canvas: np.ndarray) -> None:
    """Draws the view into a black input, top left."""
    x, y = round(view.x), round(view.y)
    part = pixels[y : y + ceil(view.height), x : x + ceil(view.width)]
    if view.scale < 1:
        height, width = (
            max(1, min(side, round(extent * view.scale)))
            for side, extent in zip(canvas.shape[:2], part.shape[:2], strict=True)
        )
        part = shrink(part, (width, height))
    canvas[: part.shape[0], : part.shape[1]] = part


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
        min_score: from which score on a detection is a face, 0..1; the better score of the two looks counts.
        min_px: faces with at least this many pixels are looked for; smaller ones may be found as well.

    Raises:
        TooManyFaces: more than the detector can tell apart.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    looks = [
        asyncio.ensure_future(_first_look(pixels, triton, detector, min(1.0, detector.smallest_px / min_px))),
        asyncio.ensure_future(_look_at_thumbnail(pixels, triton, detector)),
    ]
    try:
        candidates, large = await asyncio.gather(*looks)
    finally:
        for look in looks:  # the first failure, or a caller that gives up, ends the other one
            look.cancel()
    found = _suppress(candidates)
    if len(found) > MAX_CANDIDATES:
        raise TooManyFaces(f"{len(found)} places look like faces; at most {MAX_CANDIDATES} are looked at in one photo")
    looked = await _look_again(pixels, found, triton, detector)
    missed = [face for face in _suppress(large) if not _known(face, looked)]
    looked += await _look_again(pixels, missed, triton, detector)
    return _suppress([face for face in looked if face.score >= min_score])


async def _first_look(pixels: np.ndarray, triton: Triton, detector: Detector, scale_wanted: float) -> list[Face]:
    """The candidates of every view; views of one shape go together."""
    height, width = pixels.shape[:2]
    by_size: dict[tuple[int, int], list[_View]] = {}
    for view in plan_views(width, height, detector.longest_px, scale_wanted):
        by_size.setdefault(_input_size(view), []).append(view)
    found = []
    for size, views in by_size.items():
        images = await in_thread(_render_all, pixels, views, size)
        answer = await triton.infer(detector.first_look, {"image": images}, *OUTPUTS)
        for view, boxes, scores, points in zip(views, *answer, strict=True):
            found += _faces_of_view(view, boxes, scores, points, width, height)
    return found


async def _look_at_thumbnail(pixels: np.ndarray, triton: Triton, detector: Detector) -> list[Face]:
    """The candidates of a photo as small as the second look's input; none if the photo itself is."""
    height, width = pixels.shape[:2]
    side = detector.look_px
    if max(width, height) <= side:
        return []
    view = plan_views(width, height, side, 0)[0]
    images = await in_thread(_render_all, pixels, [view], (side, side))
    boxes, scores, points = await triton.infer(detector.look, {"image": images}, *OUTPUTS)
    return _faces_of_view(view, boxes[0], scores[0], points[0], width, height)


def _render_all(pixels: np.ndarray, views: list[_View], size: tuple[int, int]) -> np.ndarray:
    """The views as inputs of that height and width, uint8 [n, height, width, 3]; the photo itself if it is one."""
    if pixels.shape[:2] == size and [view.scale for view in views] == [1.0]:
        return pixels[None]
    images = np.zeros((len(views), *size, 3), np.uint8)
    for view, canvas in zip(views, images, strict=True):
        _render(pixels, view, canvas)
    return images


def _faces_of_view(
    view: _View, boxes: np.ndarray, scores: np.ndarray, points: np.ndarray, width: int, height: int
) -> list[Face]:
    """The candidates of one view, in pixels of the photo of that width and height."""
    keep = scores >= CANDIDATE_SCORE
    if keep.all():
        raise TooManyFaces(f"more than {len(keep)} faces in one part of the photo; send it in smaller parts")
    at = np.array([view.x, view.y], np.float32)
    boxes = boxes[keep] / view.scale + np.tile(at, 2)
    points = points[keep] / view.scale + at
    whole = ~_cut_by_tile(boxes, view, width, height)
    rows = zip(boxes[whole], points[whole], scores[keep][whole], strict=True)
    return [Face(box, five, float(score)) for box, five, score in rows]


def _upright(face: Face, side: int) -> np.ndarray:
    """The similarity [2, 3] from the photo to the second look: the face upright, five sixths of the picture."""
    inner = FFHQ_LANDMARKS * side * 5 / 6 + side / 12
    if misfit(FFHQ_LANDMARKS, face.landmarks) < DOUBTFUL:
        return similarity(face.landmarks, inner)
    # Landmarks that make no face: the box alone, as high as boxes are in FFHQ's alignment.
    scale = BOX_HEIGHT * side * 5 / 6 / max(face.side, 1.0)
    centre = (face.box[:2] + face.box[2:]) / 2
    return np.column_stack([np.eye(2) * scale, np.array([side / 2, side * 0.56]) - scale * centre])


async def _look_again(pixels: np.ndarray, faces: list[Face], triton: Triton, detector: Detector) -> list[Face]:
    """The faces, their landmarks and scores replaced where the second look confirms them."""
    if not faces:
        return []
    side = detector.look_px
    matrices = [_upright(face, side) for face in faces]

    def render() -> np.ndarray:
        return np.stack([warp(pixels, matrix, (side, side)) for matrix in matrices])

    _, scores, points = await triton.infer(detector.look, {"image": await in_thread(render)}, *OUTPUTS)
    rows = zip(faces, matrices, scores, points, strict=True)
    return [_confirm(face, matrix, of_it, five, side) for face, matrix, of_it, five in rows]


def _confirm(face: Face, matrix: np.ndarray, scores: np.ndarray, points: np.ndarray, side: int) -> Face:
    """The face with what the second look found in its middle, if it found anything there."""
    expected = face.centre @ matrix[:, :2].T + matrix[:, 2]
    off = np.linalg.norm(points.mean(axis=1) - expected, axis=1)
    near = np.where(off < side / 6, scores, 0)
    best = near.argmax()
    face = replace(face, score=max(face.score, float(near[best])))
    if near[best] < CONFIRMED_SCORE:
        return face
    inverse = cv2.invertAffineTransform(matrix)
    landmarks = (points[best] @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
    return replace(face, landmarks=landmarks, confirmed=True)


def _suppress(faces: list[Face]) -> list[Face]:
    """One face where several detections mean the same one: the best of them. Best first.

    A face half behind another one must survive, so that it is replaced as well: what counts is how near the centres of
    the landmarks are, not how much boxes share.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: (-f.confirmed, -f.score)):
        if not _known(face, kept):
            kept.append(face)
    return kept


def _known(face: Face, kept: list[Face]) -> bool:
    """Whether `face` may be dropped because one of `kept` stands for it."""
    if not kept:
        return False
    centres = np.array([other.centre for other in kept])
    sides = np.array([other.side for other in kept])
    near = np.linalg.norm(centres - face.centre, axis=1) < SAME_CENTRE * np.maximum(sides, face.side)
    near &= sides >= SMALL_SHARE * face.side  # replacing a small one would leave most of a large one as it was
    if face.confirmed:
        near &= face.side >= SMALL_SHARE * sides  # a small face before a large one
    return bool(near.any())

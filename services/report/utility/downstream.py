"""A next task: a face detector of another kind, as it is and trained on what was published."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.faces import ORIGINAL, RELEASED
from services.report.results import Estimate, Measure

LONGEST = 320  # pixels of the longer side of a kept picture
MOST = 160  # photos of which pictures are kept
HELD_OUT = 3  # one photo of so many is for testing, and no training sees it
OVERLAP = 0.4  # intersection over union from which on a face is found
TRAINED_ON = (ORIGINAL, RELEASED)
HOG, TRAINED = "found by another detector", "found by a detector trained on it"
ABOUT = {
    HOG: "share of faces that dlib's HOG detector finds, which had no part in anything here; more is better.",
    TRAINED: "a HOG detector trained on this version's photos alone, scored on originals it has not seen; more is better.",
}


class Downstream:
    """Keeps small pictures of every version of some photos, and at the end sets the task on them."""

    def __init__(self) -> None:
        self._paths: dict[str, int] = {}
        self._pictures: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
        self._boxes: dict[int, list[np.ndarray]] = {}

    def add(self, version: str, path: str, pixels: np.ndarray, boxes: Sequence[np.ndarray]) -> None:
        """Keeps a picture, uint8 [H, W, 3], with where its original's faces are, float [4]: x0, y0, x1, y1."""
        if path not in self._paths and len(self._paths) >= MOST:
            return
        number = self._paths.setdefault(path, len(self._paths))
        scale = min(1.0, LONGEST / max(pixels.shape[:2]))
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        self._pictures[version][number] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        self._boxes[number] = [np.asarray(box, np.float64) * scale for box in boxes]

    def measure(self) -> list[Measure]:
        """Sets the task. Without dlib nothing is measured, and the reason is said."""
        try:
            import dlib  # here: an extra, and slow to load
        except ModuleNotFoundError:
            absent = "dlib is not installed: pip install 'anonfaces[convert]'"
            return [Measure(RELEASED, name, absent, None) for name in ABOUT]
        detector = dlib.get_frontal_face_detector()
        told = [Measure(name, HOG, ABOUT[HOG], self._recall(detector, name, every=True)) for name in self._pictures]
        for name in TRAINED_ON:
            if name in self._pictures:
                trained = self._train(dlib, name)
                found = None if trained is None else self._recall(trained, ORIGINAL, every=False)
                told.append(Measure(name, TRAINED, ABOUT[TRAINED], found))
        return told

    def _train(self, dlib: Any, version: str) -> Any:
        """A detector trained on a version, but for what is held out; None if there is too little."""
        numbers = [number for number in sorted(self._pictures[version]) if number % HELD_OUT]
        boxes = [[_square(dlib, box) for box in self._boxes[number]] for number in numbers]
        if len(numbers) < 10:
            return None
        options = dlib.simple_object_detector_training_options()
        options.C, options.num_threads, options.be_verbose = 5, 2, False
        options.detection_window_size = 48 * 48
        return dlib.train_simple_object_detector(
            [self._pictures[version][number] for number in numbers], boxes, options
        )

    def _recall(self, detector: Any, version: str, every: bool) -> Estimate | None:
        """Share of faces found in a version's pictures: in all of them, or in those that are held out."""
        hits: list[float] = []
        owners: list[int] = []
        for number, picture in sorted(self._pictures[version].items()):
            if every or number % HELD_OUT == 0:
                found = [_sides(one) for one in detector(picture)]
                hits += [
                    float(any(_overlap(_squared(box), one) > OVERLAP for one in found)) for box in self._boxes[number]
                ]
                owners += [number] * len(self._boxes[number])
        if not hits:
            return None
        return estimate_mean(np.array(hits), np.array(owners), seed=0)


def _squared(box: np.ndarray) -> np.ndarray:
    """A square of the box's mean side about its middle, since detectors of one window find squares."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).mean() / 2
    return np.concatenate([middle - half, middle + half])


def _square(dlib: Any, box: np.ndarray) -> Any:
    return dlib.rectangle(*(round(float(value)) for value in _squared(box)))


def _sides(found: Any) -> np.ndarray:
    return np.array([found.left(), found.top(), found.right(), found.bottom()], np.float64)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - shared)

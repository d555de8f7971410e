"""A next task: a face detector of another kind, as it is and trained on what was published."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import cv2
import numpy as np

from services.report.attacks.interval import estimate_mean
from services.report.faces import ORIGINAL, RELEASED
from services.report.results import Estimate, Measure

LONGEST = 320  # pixels of the longer side of a kept picture
MOST = 160  # photos of which pictures are kept; in grey, 16 MB a version at most
HELD_OUT = 3  # one person of so many is for testing, and no training sees their photos
WINDOW = 48  # side of what the trained detector looks through; smaller faces teach it nothing
FEWEST = 10  # photos to train on
OVERLAP = 0.4  # intersection over union from which on a face is found
TRAINED_ON = (ORIGINAL, RELEASED)
HOG, TRAINED = "found by another detector", "found by a detector trained on it"
ABOUT = {
    HOG: "Share of faces that dlib's HOG detector finds, which had no part in anything here; a photo that was not "
    "published has none. More is better.",
    TRAINED: "Share of faces that a HOG detector finds which was trained on this version's photos alone, in originals "
    "of other people. More is better.",
}
BY_PHOTO = " It is not known here who is in which photo: each counts as another person's."


class Downstream:
    """Keeps small pictures of every version of some photos, and at the end sets the task on them.

    Which photos are kept depends on their paths, not on the order in which they come.
    """

    def __init__(self, people: Mapping[str, Sequence[int]] | None = None) -> None:
        """Args: people: for each path who its faces are, in the order of the boxes; None: not known."""
        self._people = people
        self._boxes: dict[str, list[np.ndarray]] = {}
        self._pictures: dict[str, dict[str, np.ndarray]] = {}

    def add(self, version: str, path: str, pixels: np.ndarray, boxes: Sequence[np.ndarray]) -> None:
        """Keeps a picture, uint8 [H, W, 3], with where its original's faces are, float [4]: x0, y0, x1, y1."""
        if path not in self._boxes and len(self._boxes) >= MOST:
            last = max(self._boxes, key=_rank)
            if _rank(path) > _rank(last):
                return
            del self._boxes[last]
            for kept in self._pictures.values():
                kept.pop(last, None)
        scale = min(1.0, LONGEST / max(pixels.shape[:2]))
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        self._pictures.setdefault(version, {})[path] = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        self._boxes[path] = [np.asarray(box, np.float64) * scale for box in boxes]

    def measure(self) -> list[Measure]:
        """Sets the task. Without dlib nothing is measured, and the reason is said."""
        try:
            import dlib  # here: an extra, and slow to load
        except ModuleNotFoundError:
            absent = "dlib is not installed: pip install 'anonfaces[convert]'"
            return [Measure(RELEASED, name, absent, None) for name in ABOUT]
        about = {name: words + ("" if self._people else BY_PHOTO) for name, words in ABOUT.items()}
        owners = self._owners()
        tested = _held_out({person for people in owners.values() for person in people})
        detector = dlib.get_frontal_face_detector()
        told = [
            Measure(name, HOG, about[HOG], self._recall(detector, name, owners, list(owners)))
            for name in self._pictures
        ]
        unseen = [path for path, people in owners.items() if tested.issuperset(people)]
        seen = [path for path, people in owners.items() if tested.isdisjoint(people)]
        for name in TRAINED_ON:
            if name in self._pictures:
                trained = self._train(dlib, name, seen)
                found = None if trained is None else self._recall(trained, ORIGINAL, owners, unseen)
                told.append(Measure(name, TRAINED, about[TRAINED], found))
        return told

    def _owners(self) -> dict[str, Sequence[int]]:
        """Whose the faces of each photo are, in the order of paths; by photo where people are not known."""
        paths = sorted(self._boxes)
        if self._people is not None:
            return {path: self._people[path] for path in paths}
        return {path: [number] * len(self._boxes[path]) for number, path in enumerate(paths)}

    def _train(self, dlib: Any, version: str, paths: Sequence[str]) -> Any:
        """A detector trained on some photos of a version; None if there are too few, or it cannot learn from them."""
        pictures, boxes = [], []
        for path in paths:
            squares = [_squared(box) for box in self._boxes[path]]
            large = all(square[2] - square[0] >= WINDOW for square in squares)
            if squares and large and path in self._pictures[version]:
                pictures.append(self._pictures[version][path])
                boxes.append([dlib.rectangle(*(round(float(side)) for side in square)) for square in squares])
        if len(pictures) < FEWEST:
            return None
        options = dlib.simple_object_detector_training_options()
        options.C, options.num_threads, options.be_verbose = 5, 2, False
        options.detection_window_size = WINDOW**2
        try:
            return dlib.train_simple_object_detector(pictures, boxes, options)
        except RuntimeError:  # boxes that no window fits: faces beyond the photo's edge, or that overlap
            return None

    def _recall(
        self, detector: Any, version: str, owners: Mapping[str, Sequence[int]], paths: Sequence[str]
    ) -> Estimate | None:
        """Share of the faces of some photos that are found in a version; None if there are no faces."""
        hits: list[bool] = []
        for path in paths:
            picture = self._pictures[version].get(path)
            found = [] if picture is None else [_sides(one) for one in detector(picture)]
            hits += [any(_overlap(_squared(box), one) > OVERLAP for one in found) for box in self._boxes[path]]
        if not hits:
            return None
        people = np.array([person for path in paths for person in owners[path]])
        return estimate_mean(np.array(hits, np.float64), people, seed=0)


def _rank(name: str) -> bytes:
    """An order that has nothing to do with what names say."""
    return blake2b(name.encode(errors="surrogateescape")).digest()


def _held_out(people: set[int]) -> set[int]:
    """Who is for testing."""
    return set(sorted(people, key=lambda person: _rank(str(person)))[::HELD_OUT])


def _squared(box: np.ndarray) -> np.ndarray:
    """A square of the box's mean side about its middle, since detectors of one window find squares."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).mean() / 2
    return np.concatenate([middle - half, middle + half])


def _sides(found: Any) -> np.ndarray:
    return np.array([found.left(), found.top(), found.right(), found.bottom()], np.float64)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - shared)

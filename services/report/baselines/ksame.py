"""k-Same and k-Same-M: each crowd's mean face, of pixels as they are, or of faces warped onto one shape."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from services.anonymizer.synthesise import Surrogate
from services.report.baselines.contract import SIDE, First
from services.report.baselines.pictured import Pictured, surrogate_of
from services.report.faces import Faces

SAME, SAME_M = "k-Same", "k-Same-M"
ABOUT = {
    SAME: "The pixel mean of aligned faces, one photo a person (Newton, Sweeney and Malin 2005)",
    SAME_M: "The mean of faces warped onto their mean landmarks (after Gross et al. 2006; five landmarks and a thin-"
    "plate spline in place of an appearance model)",
}
EDGE = np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)]) * (SIDE - 1)  # stays put


def same(name: str, faces: Faces, firsts: Mapping[int, First]) -> Pictured:
    """The way of that name: SAME or SAME_M. Faces without a crowd get no picture."""
    pictures: dict[int, Surrogate] = {}
    sizes = []
    enrolled = faces.outcomes == "enrolled"
    for crowd in np.unique(faces.crowds[enrolled]).tolist():
        members = np.unique(faces.identities[enrolled & (faces.crowds == crowd)]).tolist()
        people = [firsts[person] for person in members if person in firsts]
        if len(people) > 1:  # one person's own face is nobody's mean
            sizes.append(len(people))
            landmarks = np.mean([first.landmarks for first in people], axis=0)
            mean = mean_picture(people) if name == SAME else mean_warped(people, landmarks)
            surrogate = surrogate_of(crowd, mean, landmarks, drawn=False)
            pictures |= {int(row): surrogate for row in np.flatnonzero(faces.crowds == crowd)}
    of = f", over those of each of the release's crowds who are here, {min(sizes)} or more" if sizes else ""
    return Pictured(name, f"{ABOUT[name]}{of}; blended as surrogates are, in the photo's own light.", pictures)


def mean_picture(people: Sequence[First]) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3], the mean of aligned pictures."""
    return np.round(np.mean([first.picture for first in people], axis=0)).astype(np.uint8)


def mean_warped(people: Sequence[First], landmarks: np.ndarray) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3], the mean of pictures whose landmarks were brought to `landmarks float [5, 2]`."""
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2).astype(np.float64)
    total = np.zeros((SIDE, SIDE, 3))
    for first in people:
        there = RBFInterpolator(
            np.vstack([landmarks, EDGE]), np.vstack([first.landmarks, EDGE]), kernel="thin_plate_spline"
        )(grid)
        x, y = there.reshape(SIDE, SIDE, 2).astype(np.float32).transpose(2, 0, 1)
        total += cv2.remap(
            first.picture,
            np.ascontiguousarray(x),
            np.ascontiguousarray(y),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return np.round(total / len(people)).astype(np.uint8)

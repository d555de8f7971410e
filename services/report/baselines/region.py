"""Ways that spoil the face's own pixels: blur, mosaic, the ellipse of `deface`, a bar of one colour."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from services.report.baselines.contract import face_at

GROWN = 1.3  # of the box that is spoilt: hair and chin belong to a face as well
DEFACE_GROWN = 1.6  # deface makes the detector's boxes larger by 0.3 at each side

Kind = Literal["blur", "mosaic", "deface", "black"]


@dataclass(frozen=True)
class Region:
    """Spoils the box of each face, the ellipse in it where deface does."""

    name: str
    about: str
    kind: Kind
    strength: float = 0.0  # of blur: sigma as a share of the face's width; of a mosaic: blocks across the face

    def hide(self, pixels: np.ndarray, landmarks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Baseline`."""
        result = pixels.copy()
        height, width = pixels.shape[:2]
        for points in landmarks:
            box = face_at(points).box
            grown = DEFACE_GROWN if self.kind == "deface" else GROWN
            centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * grown
            x0, y0 = np.maximum(np.floor(centre - half), 0).astype(int)
            x1, y1 = np.minimum(np.ceil(centre + half), (width, height)).astype(int)
            if x1 > x0 and y1 > y0:
                part = result[y0:y1, x0:x1]
                part[:] = self._spoil(part, float(box[2] - box[0]), centre - (x0, y0), half)
        return result

    def _spoil(self, part: np.ndarray, width: float, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
        """Args: part uint8 [h, w, 3]; the whole box's width; its middle in the part; half its sides."""
        if self.kind == "black":
            return np.zeros_like(part)
        if self.kind == "blur":
            return cv2.GaussianBlur(part, (0, 0), max(0.5, self.strength * width), borderType=cv2.BORDER_REPLICATE)
        if self.kind == "mosaic":
            block = max(1.0, width / self.strength)
            small = (max(1, round(part.shape[1] / block)), max(1, round(part.shape[0] / block)))
            few = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.resize(few, part.shape[1::-1], interpolation=cv2.INTER_NEAREST))
        kernel = (max(1, part.shape[1] // 2), max(1, part.shape[0] // 2))
        y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
        inside = ((x + 0.5 - centre[0]) / half[0]) ** 2 + ((y + 0.5 - centre[1]) / half[1]) ** 2 <= 1
        return np.where(inside[..., None], cv2.blur(part, kernel), part)


REGIONS = (
    Region(
        "blur, weak", "Gaussian blur of the face's box, sigma 5 % of the face's width: hardly blurred.", "blur", 0.05
    ),
    Region(
        "blur, strong",
        "Gaussian blur of the face's box, sigma 20 % of the face's width: no feature left to the eye.",
        "blur",
        0.2,
    ),
    Region("mosaic, 16 blocks", "Blocks of one colour, 16 across the face.", "mosaic", 16),
    Region("mosaic, 8 blocks", "Blocks of one colour, 8 across the face.", "mosaic", 8),
    Region("deface", "A box blur of half the box within its ellipse, as the tool `deface` 1.5.0 by default.", "deface"),
    Region("black box", "The face's box in black.", "black"),
)

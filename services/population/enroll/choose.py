"""The faces of a photo -> the one that is its person's, or why there is none."""

from dataclasses import dataclass
from typing import Literal

from services.anonymizer.detect import Face
from services.population.enroll.rows import AMBIGUOUS, FACELESS, UNFIT
from services.population.enroll.sources import Rules
from services.population.faces import is_certain, is_fit
from services.settings import Settings

Several = Literal["dominant", "largest", "skip"]
DOMINANT = 2.0  # times the area of the next largest face


@dataclass(frozen=True)
class Choice:
    """The face of a photo's person; or none, with what the photo is instead and why."""

    faces: int  # that the photo shows for certain, whether they can be used or not
    face: Face | None = None
    status: str = ""
    reason: str = ""


def choose_face(faces: list[Face], several: Several, settings: Settings) -> Choice:
    """Chooses the face that an identity's photo is of.

    Args:
        faces: all that were detected.
        several: of several faces, `dominant` takes the largest if it has twice the area of the next one, and else none;
            `largest` takes the largest that can be used; `skip` takes none.
        settings: from where on a face can be used, which is where the service replaces it.
    """
    certain = sorted((face for face in faces if is_certain(face, settings)), key=area, reverse=True)
    count = len(certain)
    if not faces:
        return Choice(count, status=FACELESS, reason="no face was found")
    if not certain:
        return Choice(count, status=UNFIT, reason="it is not certain that there is a face")
    if several == "skip" and count > 1:
        return Choice(count, status=AMBIGUOUS, reason="several faces")
    if several == "dominant" and count > 1 and area(certain[0]) < DOMINANT * area(certain[1]):
        return Choice(count, status=AMBIGUOUS, reason="several faces, and none is twice as large as the others")
    if several == "largest":
        certain = [face for face in certain if is_fit(face, settings)] or certain
    face = certain[0]
    if is_fit(face, settings):
        return Choice(count, face)
    small = face.side < settings.replace_min_px
    return Choice(count, status=UNFIT, reason="its face is too small" if small else "its face is turned away")


def area(face: Face) -> float:
    """Of a face's box, in pixels."""
    x0, y0, x1, y1 = face.box
    return float((x1 - x0) * (y1 - y0))


def rules_of(several: Several, settings: Settings) -> Rules:
    """What decides about a photo, as it is stored beside it."""
    s = settings
    return Rules(several, f"{s.detect_score} {s.detect_min_px} {s.replace_score} {s.replace_min_px}")

"""The same figures for groups of people: does the release treat them alike?"""

from collections.abc import Sequence

import cv2
import numpy as np

from services.report.attacks.run import attack
from services.report.faces import Faces, Version
from services.report.results import Group
from services.report.utility.measures import utility

FEWEST = 5  # people of a group with figures; of fewer, figures would be of persons
# Individual typology angle in degrees (Chardon, Cretois and Hourseau 1991), its six classes joined in pairs.
TONES = ((41.0, "light"), (10.0, "medium"), (-90.0, "dark"))
CHEEK = 0.6  # of the way from an eye to the corner of the mouth below it
PATCH = 0.12  # half a patch's side, in distances of the eyes
NAMES = {"age_group": "age group", "gender": "gender", "skin_tone": "skin tone"}


def skin_tone(pixels: np.ndarray, landmarks: np.ndarray) -> list[str]:
    """light, medium or dark: the median ITA of both cheeks, in CIELAB. Light and cameras move it as much as skin does.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        landmarks: float [n, 5, 2].

    Returns:
        n words; "" where no cheek is in the photo.
    """
    return [_tone(pixels, points) for points in landmarks]


def groups(
    faces: Faces, original: Version, versions: Sequence[Version], recognisers: Sequence[str], seed: int
) -> list[Group]:
    """Utility and attacks of each group; probes are of the group, the gallery is everybody's.

    Args:
        versions: that are measured.
        recognisers: that had no part in choosing the crowds.
    """
    found = []
    for attribute, values in original.attributes.items():
        of_person = _by_person(faces, values)
        for value in sorted({word for word in of_person.values() if word}):
            among = np.array([of_person[person] == value for person in faces.identities.tolist()])
            people = len(np.unique(faces.identities[among]))
            if people < FEWEST:
                found.append(Group(NAMES.get(attribute, attribute), value, people, int(among.sum()), (), ()))
                continue
            measures, attacks = [], []
            for version in versions:
                measures += utility(faces.of(among), original.of(among), version.of(among), seed)
                for recogniser in recognisers:
                    attacks += attack(faces, original, version, recogniser, False, seed, among)
            told = (tuple(measures), tuple(attacks))
            found.append(Group(NAMES.get(attribute, attribute), value, people, int(among.sum()), *told))
    return found


def _by_person(faces: Faces, values: np.ndarray) -> dict[int, str]:
    """What most of a person's originals say, of those that say anything; "" if none does, or two say as much."""
    told = {}
    for person in np.unique(faces.identities).tolist():
        words, counts = np.unique(values[(faces.identities == person) & (values != "")], return_counts=True)
        best = counts == counts.max() if len(counts) else np.zeros(0, bool)
        told[person] = str(words[best][0]) if best.sum() == 1 else ""
    return told


def _tone(pixels: np.ndarray, points: np.ndarray) -> str:
    eyes = float(np.linalg.norm(points[1] - points[0]))
    half = max(1, round(PATCH * eyes))
    patches = []
    for eye, corner in ((0, 3), (1, 4)):
        x, y = np.round(points[eye] + CHEEK * (points[corner] - points[eye])).astype(int)
        patch = pixels[max(0, y - half) : max(0, y + half + 1), max(0, x - half) : max(0, x + half + 1)]
        patches.append(patch.reshape(-1, 3))
    skin = np.concatenate(patches)
    if len(skin) == 0:
        return ""
    lightness, _, yellow = np.median(cv2.cvtColor(skin[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0], axis=0)
    angle = np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-6)))
    return next(name for least, name in TONES if angle > least or least == TONES[-1][0])

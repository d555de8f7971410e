"""The same figures for groups of people: does the release treat them alike?

Groups of fewer than five people are listed with their numbers alone. Their figures can still be had from the whole's
and the other groups': a report is for the owner of the photos, and disclosure.py makes of it what others may read.
"""

from collections.abc import Container, Mapping, Sequence

import cv2
import numpy as np

from services.population.people import Population
from services.report.attacks.run import attack
from services.report.faces import Faces, Version
from services.report.results import Group
from services.report.utility.measures import FEWEST, utility

# Individual typology angle in degrees (Chardon, Cretois and Hourseau 1991), its six classes joined in pairs.
TONES = ((41.0, "light"), (10.0, "medium"), (-90.0, "dark"))
CHEEK = 0.6  # of the way from an eye to the corner of the mouth below it
PATCH = 0.12  # half a patch's side, in distances of the eyes
DARK, BRIGHT = 5, 250  # levels up to and from which a pixel has lost its colour
LEAST = 0.25  # share of the patches' pixels that must have one
NOT_KNOWN = "not known"
NAMES = {"age_group": "age group", "gender": "gender", "skin_tone": "skin tone"}


def skin_tone(pixels: np.ndarray, landmarks: np.ndarray) -> list[str]:
    """light, medium or dark: the median ITA of both cheeks, in CIELAB.

    It is how light a face looks in this photo. Light and cameras move it as much as skin does, shade and beards too, so
    that photos of one person often differ. It says nothing of where somebody is from.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        landmarks: float [n, 5, 2].

    Returns:
        n words; "" where too little of the cheeks is in the photo, or it is black or blown out.
    """
    return [_tone(pixels, points) for points in landmarks]


def attributes_of(population: Population) -> dict[str, dict[str, str]]:
    """What a population holds of its people: attribute -> person -> value; whose is not known is left out."""
    people = population.identities.tolist()
    held = {name: zip(people, values.tolist(), strict=True) for name, values in population.attributes.items()}
    return {name: {person: value for person, value in pairs if value} for name, pairs in held.items()}


def groups(
    faces: Faces,
    original: Version,
    versions: Sequence[Version],
    recognisers: Sequence[str],
    seed: int,
    known: Mapping[str, Mapping[str, str]] | None = None,
    of_photos: Container[str] = (),
) -> list[Group]:
    """Utility and attacks of each group; probes are of the group, the gallery is everybody's.

    Args:
        versions: that are measured.
        recognisers: that had no part in choosing the crowds.
        known: attribute -> person -> value, as somebody stated it; goes before what the originals look like.
        of_photos: attributes that change from photo to photo, such as emotions: nobody is grouped by them.

    Raises:
        ReportError: there are fewer than two people.
    """
    known = known or {}
    found = []
    for attribute in dict.fromkeys(name for name in (*original.attributes, *known) if name not in of_photos):
        stated = known.get(attribute, {})
        name = NAMES.get(attribute, attribute) + (", as the population holds it, or else predicted" if stated else "")
        of_person = _by_person(faces, original.attributes.get(attribute))
        of_person |= {one: stated[who] for one in of_person if stated.get(who := faces.people[one])}
        # Values by name, and those of whom none is known at the end.
        for value in sorted(set(of_person.values()), key=lambda word: (not word, word)):
            among = np.array([of_person[person] == value for person in faces.identities.tolist()])
            found.append(_group(name, value, among, faces, original, versions, recognisers, seed))
    return found


def _group(
    attribute: str,
    value: str,
    among: np.ndarray,
    faces: Faces,
    original: Version,
    versions: Sequence[Version],
    recognisers: Sequence[str],
    seed: int,
) -> Group:
    """One group; `among` bool [n] are its faces. Without figures where it is too small, or no group at all."""
    people, n = len(np.unique(faces.identities[among])), int(among.sum())
    if people < FEWEST or not value:
        return Group(attribute, value or NOT_KNOWN, people, n, (), ())
    measures, attacks = [], []
    for version in versions:
        measures += utility(faces.of(among), original.of(among), version.of(among), seed)
        for recogniser in recognisers:
            attacks += attack(faces, original, version, recogniser, False, seed, among)
    return Group(attribute, value, people, n, tuple(measures), tuple(attacks))


def _by_person(faces: Faces, values: np.ndarray | None) -> dict[int, str]:
    """What most of a person's originals say, of those that say anything; "" if none does, or two say as much."""
    told = {}
    values = np.full(len(faces), "") if values is None else values
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
    coloured = ((skin > DARK) & (skin < BRIGHT)).all(axis=1)
    if coloured.sum() < max(1, LEAST * 2 * (2 * half + 1) ** 2):
        return ""
    skin = skin[coloured]
    lightness, _, yellow = np.median(cv2.cvtColor(skin[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0], axis=0)
    angle = np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-6)))
    return next(name for least, name in TONES if angle > least or least == TONES[-1][0])

"""The journal of a release -> photos whose people are known: what a report looks at."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.population.index.enrolment import Enrolment
from services.release.records import FaceRecord, Record
from services.release.whose import Whose

REFUSED = "refused"


@dataclass(frozen=True)
class Known:
    """A face whose person is known."""

    person: str
    place: tuple[float, float, float] | None  # middle and longer side, see `FaceRecord`; None: the largest of the photo
    crowd: int  # -1: none
    outcome: str  # enrolled, stranger, masked, refused


@dataclass(frozen=True)
class Shot:
    """A photo, and its faces whose people are known."""

    path: str
    sha256: str  # of the original
    released: bool
    faces: tuple[Known, ...]


def shots_of(records: Iterable[Record], whose: Whose, enrolment: Enrolment | None) -> tuple[list[Shot], Counter[str]]:
    """Photos with faces whose people are known: as somebody says, or else as the release recognised them.

    A photo of one face and one name is that person's. Among several faces, one is somebody's whom the release took for
    a person who is said to be there.

    Returns:
        The photos by path; and how many faces or photos cannot be used, by the reason.
    """
    names = _names(enrolment)
    shots, without = [], Counter[str]()
    for record in sorted(records, key=lambda record: record.path):
        (entry,) = whose.entries([record.path])
        said = tuple(dict.fromkeys(_canonical(name, enrolment, names) for name in entry.identities))
        if record.released:
            faces = [_known(face, said, names, len(record.faces)) for face in record.faces]
            without["faces of whom nobody says who they are"] += sum(face is None for face in faces)
            found = {
                face.person: face for face in reversed(faces) if face
            }  # the first one counts, if it is there twice
        elif len(said) == 1 and record.sha256:
            found = {said[0]: Known(said[0], None, -1, REFUSED)}
        else:
            without["refused photos of whom nobody says who is in them"] += 1
            found = {}
        if found:
            shots.append(Shot(record.path, record.sha256, record.released, tuple(reversed(found.values()))))
    return shots, +without


def choose_people(shots: Sequence[Shot], most: int, seed: int) -> list[Shot]:
    """The photos of at most so many people, drawn at random; everybody's if there are no more."""
    people = sorted({face.person for shot in shots for face in shot.faces})
    if len(people) > most:
        drawn = np.random.default_rng(seed).choice(len(people), most, replace=False)
        kept = {people[row] for row in drawn}
        shots = [replace(shot, faces=tuple(face for face in shot.faces if face.person in kept)) for shot in shots]
    return [shot for shot in shots if shot.faces]


def _known(face: FaceRecord, said: tuple[str, ...], names: dict[int, str], faces: int) -> Known | None:
    """Whose face it is; None: nobody says."""
    taken_for = None if face.person is None else names.get(face.person)
    if len(said) == 1 and faces == 1:
        person = said[0]
    elif taken_for is None or (said and taken_for not in said):
        return None
    else:
        person = taken_for
    return Known(person, face.place, -1 if face.crowd is None else face.crowd, face.outcome)


def _names(enrolment: Enrolment | None) -> dict[int, str]:
    """One name for every enrolled person, by their number."""
    names: dict[int, list[str]] = defaultdict(list)
    if enrolment is not None:
        for name, person in zip(enrolment.identities.tolist(), enrolment.person.tolist(), strict=True):
            names[person].append(name)
    return {person: min(of) for person, of in names.items()}


def _canonical(name: str, enrolment: Enrolment | None, names: dict[int, str]) -> str:
    """The one name of a person who has several."""
    if enrolment is None:
        return name
    rows = np.flatnonzero(enrolment.identities == name)
    return names[int(enrolment.person[rows[0]])] if len(rows) else name

"""Whose faces count: as somebody says, or as the release recognised them; the rest is counted by its reason."""

import numpy as np

from services.population.index.enrolment import Enrolment
from services.release.records import FaceRecord, Record
from services.release.whose import Whose
from services.report.shots import choose_people, shots_of

PLACE = (10.0, 10.0, 8.0)
ENROLLED = Enrolment(np.array(["anna", "anna-2", "ben"]), np.zeros((3, 2)), np.array([0, 0, 1]), np.array([0, 0, 1]))
BY_FOLDER = Whose(by_folder=True)


def face(person: int | None, outcome="enrolled", crowd: int | None = 0) -> FaceRecord:
    return FaceRecord(outcome, crowd, person, PLACE)


def photo(path: str, *faces: FaceRecord, code: str = "") -> Record:
    return Record(path, 1, 1, "0" * 64, code=code, faces=faces)


def people_of(shots):
    return [(shot.path, known.person, known.outcome, known.crowd) for shot in shots for known in shot.faces]


def test_single_face_is_who_is_said_whomever_it_was_taken_for():
    shots, without = shots_of(
        [photo("ben/1.jpg", face(0)), photo("zoe/1.jpg", face(None, "stranger"))], BY_FOLDER, ENROLLED
    )
    assert people_of(shots) == [("ben/1.jpg", "ben", "enrolled", 0), ("zoe/1.jpg", "zoe", "stranger", 0)]
    assert not without


def test_names_of_one_person_are_one():
    shots, _ = shots_of([photo("anna-2/1.jpg", face(0)), photo("anna/1.jpg", face(0))], BY_FOLDER, ENROLLED)
    assert {known[1] for known in people_of(shots)} == {"anna"}


def test_among_several_faces_those_count_who_are_said_to_be_there():
    whose = Whose(table={"party.jpg": ("anna", "zoe")})
    shots, without = shots_of([photo("party.jpg", face(0), face(1), face(None, "stranger"))], whose, ENROLLED)
    assert people_of(shots) == [("party.jpg", "anna", "enrolled", 0)]
    assert without.total() == 2


def test_nobody_says_so_those_count_who_were_recognised():
    shots, without = shots_of([photo("x.jpg", face(1), face(None, "stranger"))], Whose(), ENROLLED)
    assert people_of(shots) == [("x.jpg", "ben", "enrolled", 0)]
    assert without.total() == 1


def test_masked_and_refused_faces_have_no_crowd():
    shots, without = shots_of(
        [
            photo("anna/1.jpg", face(None, "masked", None)),
            photo("ben/1.jpg", code="bad_photo"),
            photo("loose.jpg", code="bad_photo"),
        ],
        BY_FOLDER,
        ENROLLED,
    )
    assert people_of(shots) == [("anna/1.jpg", "anna", "masked", -1), ("ben/1.jpg", "ben", "refused", -1)]
    assert [shot.released for shot in shots] == [True, False]
    assert without.total() == 1


def test_people_are_drawn_whole_and_the_same_ones_each_time():
    records = [photo(f"p{person}/{take}.jpg", face(None, "stranger")) for person in range(20) for take in range(3)]
    shots, _ = shots_of(records, BY_FOLDER, None)
    some = choose_people(shots, 5, seed=1)
    assert len(some) == 15
    assert some == choose_people(shots, 5, seed=1)
    assert some != choose_people(shots, 5, seed=2)
    assert choose_people(shots, 20, seed=1) == shots

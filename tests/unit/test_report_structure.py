"""What a report says it rests on: counted from the index and the journal, not taken from their word."""

import pytest

from services.population.index import read_index
from services.release.records import FaceRecord, Record
from services.release.terms import Terms
from services.report.structure import structure_of

HEADER = {"options": {"format": "jpeg"}, "settings": {"stranger": "assign"}, "condensation": {"people": 2}, "proof": {}}
TERMS = Terms("photos", "/originals", "town", "0001-abc", "enrolled-first", "folders", {}, {})


def face(outcome: str, crowd: int | None = None, person: int | None = None) -> FaceRecord:
    return FaceRecord(outcome, crowd, person, (50.0, 50.0, 10.0))


def photo(name: str, *faces: FaceRecord, code: str = "") -> Record:
    return Record(name, 100, 0, "0" * 64, code=code, faces=faces)


@pytest.fixture
def told(pristine):
    records = (
        photo("a.jpg", face("enrolled", 0, 1), face("stranger", 1)),
        photo("b.jpg", face("enrolled", 0, 1), face("masked")),
        photo("c.jpg", face("enrolled", 2, 7), code="no_face"),
        photo("d.jpg", code="no_face"),
        photo("e.jpg", code="bad_photo"),
        photo("f.jpg", *(face("enrolled", 1, person) for person in (3, 4, 5))),
    )
    return structure_of(read_index(pristine), HEADER, TERMS, records)


def test_crowds_are_counted_in_people_of_the_index(told):
    assert (told["k"], told["smallest"], told["largest"], told["people"], told["crowds"]) == (3, 3, 4, 10, 3)
    assert told["sizes"] == {"3": 2, "4": 1}


def test_what_was_refused_masked_or_strange_is_counted_from_the_journal(told):
    assert told["refused"] == {"bad_photo": 1, "no_face": 2}
    assert (told["masked_faces"], told["strangers"]) == (1, 1)


def test_crowds_of_few_people_of_these_photos_are_told(told):
    assert (told["thin_crowds"], told["crowds_in_release"]) == (1, 2)  # what was refused shows nobody


def test_index_models_and_settings_can_be_checked(told, pristine):
    index = read_index(pristine)
    assert (told["checksum"], told["index_version"]) == (index.manifest["checksum"], index.version)
    assert told["models"].keys() <= index.manifest["provenance"].keys()
    assert told["options"] == {"format": "jpeg"}
    assert told["settings"] == {"stranger": "assign"}
    assert told["built"] == index.ledger[-1].model_dump(mode="json", exclude_none=True)

"""Groups of people in whose photos it is known what has to come out, and faces of known colours."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from services.anonymizer.align import FFHQ_LANDMARKS
from services.population.people import Population
from services.report.faces import ORIGINAL, RELEASED, Faces, Version
from services.report.fairness import NOT_KNOWN, attributes_of, groups, skin_tone
from services.report.results import Group
from services.report.utility.measures import FEWEST

TAKES, D = 2, 16
OLD, YOUNG = FEWEST + 1, FEWEST + 3  # people
N = OLD + YOUNG
ROWS = N * TAKES
FACES = Faces(
    tuple(f"person {one}" for one in range(N)),
    np.repeat(np.arange(N), TAKES),
    tuple(f"{row}.jpg" for row in range(ROWS)),
    np.arange(ROWS),
    np.tile(np.arange(TAKES), N),
    np.zeros(ROWS, np.int64),
    np.full(ROWS, "enrolled"),
)
IS_OLD = FACES.identities < OLD
EVERY = np.ones(ROWS, bool)


def version(name: str, embeddings: np.ndarray, found: np.ndarray = EVERY) -> Version:
    places = np.repeat(FFHQ_LANDMARKS[None] * 100, ROWS, axis=0).astype(np.float32)
    ages = np.where(IS_OLD, "senior", "young")
    return Version(name, "", EVERY, found, places, {"one": embeddings.astype(np.float32)}, {"age_group": ages}, {})


PEOPLE = np.random.default_rng(0).normal(size=(N, D))[FACES.identities]
NOBODY = np.random.default_rng(1).normal(size=D)
BEFORE = version(ORIGINAL, PEOPLE)
# The young are hidden behind one face, the old are not, and no face is found of them any more.
AFTER = version(RELEASED, np.where(IS_OLD[:, None], PEOPLE, NOBODY), ~IS_OLD)


def told(original: Version = BEFORE, known: dict[str, dict[str, str]] | None = None) -> dict[str, Group]:
    return {one.value: one for one in groups(FACES, original, [AFTER], ["one"], 0, known)}


def with_ages(ages: np.ndarray) -> Version:
    return replace(BEFORE, attributes={"age_group": ages})


def test_a_group_that_is_treated_worse_shows() -> None:
    found = told()
    assert [(one.people, one.faces) for one in found.values()] == [(OLD, OLD * TAKES), (YOUNG, YOUNG * TAKES)]
    for value, share in (("senior", 0.0), ("young", 1.0)):
        (kept,) = [one.estimate for one in found[value].measures if one.name == "faces found"]
        assert kept is not None
        assert kept.value == share
    naive = {value: next(one for one in group.attacks if one.attack == "naive") for value, group in found.items()}
    assert naive["senior"].rank1.value == 1
    assert naive["young"].rank1.value < 0.3


def test_probes_are_the_groups_and_the_gallery_is_everybodys() -> None:
    for group in told().values():
        for one in group.attacks:
            assert one.rank1.people == group.people
            assert one.gallery == N


def test_groups_of_few_people_have_numbers_and_no_figures() -> None:
    ages = np.where(
        FACES.identities < FEWEST - 1, "senior", np.where(FACES.identities < 2 * FEWEST - 1, "adult", "young")
    )
    found = told(with_ages(ages))
    assert (found["senior"].people, found["senior"].measures, found["senior"].attacks) == (FEWEST - 1, (), ())
    assert found["adult"].people == FEWEST
    assert found["adult"].measures


def test_a_person_is_what_most_photos_say_and_nothing_where_they_disagree() -> None:
    ages = BEFORE.attributes["age_group"].copy()
    ages[0] = ""  # the other photo of this person still says senior
    ages[-1] = "senior"  # one photo says young, one senior
    found = told(with_ages(ages))
    assert (found["senior"].people, found["young"].people, found[NOT_KNOWN].people) == (OLD, YOUNG - 1, 1)


def test_nobody_knows_what_those_share_of_whom_nothing_is_known() -> None:
    found = told(with_ages(np.full(ROWS, "")))
    assert list(found) == [NOT_KNOWN]
    assert found[NOT_KNOWN].people == N
    assert found[NOT_KNOWN].measures == found[NOT_KNOWN].attacks == ()


def test_what_is_stated_goes_before_what_is_predicted() -> None:
    found = told(known={"age_group": {"person 0": "young"}, "club": dict.fromkeys(FACES.people, "red")})
    assert (found["senior"].people, found["young"].people, found["red"].people) == (OLD - 1, YOUNG + 1, N)
    assert "the population holds" in found["young"].attribute
    assert "the population holds" not in told()["young"].attribute


def test_nobody_is_grouped_by_what_changes_from_photo_to_photo() -> None:
    shown = replace(BEFORE, attributes={**BEFORE.attributes, "emotion": np.full(ROWS, "happy")})
    known = {"emotion": dict.fromkeys(FACES.people, "sad")}  # of a population that says so of people
    found = groups(FACES, shown, [AFTER], ["one"], 0, known, of_photos={"emotion"})
    assert {one.attribute for one in found} == {"age group"}
    assert "happy" in {one.value for one in groups(FACES, shown, [AFTER], ["one"], 0)}


def face_of(angle: float, lightness: float = 60.0) -> np.ndarray:
    """A picture of one colour with an individual typology angle, in degrees."""
    yellow = (lightness - 50) / np.tan(np.radians(angle))
    colour = np.array([[(lightness, 8, yellow)]], np.float32)
    pixel = np.round(255 * cv2.cvtColor(colour, cv2.COLOR_LAB2RGB))
    return np.broadcast_to(pixel, (200, 200, 3)).astype(np.uint8)


PLACE = (FFHQ_LANDMARKS * 200)[None].astype(np.float32)


@pytest.mark.parametrize(
    ("angle", "lightness", "tone"),
    [(60, 75, "light"), (44, 70, "light"), (38, 65, "medium"), (13, 55, "medium"), (7, 53, "dark"), (-40, 35, "dark")],
)
def test_tones_are_told_by_the_published_angles(angle: float, lightness: float, tone: str) -> None:
    assert skin_tone(face_of(angle, lightness), PLACE) == [tone]


def test_hair_background_and_glints_do_not_change_the_tone() -> None:
    pixels = face_of(7, 53)
    pixels[:90], pixels[:, :50] = 0, (0, 90, 0)
    pixels[np.arange(200) % 5 < 3] = 255  # in most of the cheeks as well
    assert skin_tone(pixels, PLACE) == ["dark"]


def test_no_tone_is_told_of_cheeks_that_show_none() -> None:
    black, blown = np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 255, np.uint8)
    for pixels, place in (
        (black, PLACE),
        (blown, PLACE),
        (face_of(44, 70), PLACE + 1000),
        (face_of(44, 70), PLACE - 500),
    ):
        assert skin_tone(pixels, place) == [""]
    assert skin_tone(black, np.empty((0, 5, 2), np.float32)) == []


def test_what_a_population_holds_of_its_people_is_known_and_what_it_does_not_is_not() -> None:
    names = np.array(["anna", "ben"])
    held = Population("town", {}, names, np.zeros((2, 4)), None, np.ones(2, int), {"club": np.array(["red", ""])})
    assert attributes_of(held) == {"club": {"anna": "red"}}

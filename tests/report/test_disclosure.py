"""What a public report must not let anybody work out."""

import json
from dataclasses import replace

from services.report.disclosure import less_told
from services.report.page import page_of
from services.report.results import Attack, Estimate, Group, Measure
from services.report.utility.measures import FEWEST
from tests.report.test_page import report_of


def share(people: int) -> Estimate:
    return Estimate(0.6, 0.5, 0.7, 2 * people, people)


def naive(people: int) -> Attack:
    rate = share(people)
    return Attack("naive", "released", "other", False, "another", rate, rate, {"0.001": rate}, rate, 9, 9, 9, 0)


def kept(people: int | None) -> Measure:
    return Measure("released", "emotion kept", "share", None if people is None else share(people))


def group(attribute: str, value: str, people: int, certain: int | None = 0) -> Group:
    """A group; 0 of its people certain: as many as there are. None: too few to be told of."""
    if people < FEWEST:
        return Group(attribute, value, people, 2 * people, (), ())
    return Group(attribute, value, people, 2 * people, (kept(people if certain == 0 else certain),), (naive(people),))


def told(*groups: Group, whole: int | None = None, certain: int | None = None) -> tuple[set[str], set[str]]:
    """Whose emotions are told, and whose attacks, where the whole is of so many people."""
    people = whole or sum(one.people for one in groups)
    found = less_told(groups, [kept(certain or people)], [naive(people)])
    emotions = {one.value for one in found if any(measure.estimate for measure in one.measures)}
    return emotions, {one.value for one in found if one.attacks}


def test_a_small_group_is_not_the_whole_less_the_other():
    assert told(group("gender", "female", 30), group("gender", "male", FEWEST - 1)) == (set(), set())


def test_the_smallest_others_go_first_and_no_more_than_need_to():
    ages = [group("age", value, people) for value, people in (("adult", 40), ("young", 9), ("senior", 7), ("child", 1))]
    assert told(*ages) == ({"adult", "young"}, {"adult", "young"})


def test_several_small_groups_hide_each_other_where_they_are_enough_together():
    few = [group("age", value, FEWEST // 2 + 1) for value in ("child", "senior")]
    assert told(group("age", "adult", 40), *few) == ({"adult"}, {"adult"})


def test_a_figure_of_few_people_of_a_large_group_is_not_the_whole_less_the_other():
    """Of 6 men 2 are certain: no figure is theirs, and it would follow from the women's."""
    groups = [group("gender", "female", 30, certain=20), group("gender", "male", 6, certain=None)]
    assert told(*groups, certain=22) == (set(), {"female", "male"})
    assert told(*groups, certain=20) == ({"female"}, {"female", "male"})  # nobody's would follow


def test_attributes_are_looked_at_one_by_one_and_groups_keep_their_order_and_numbers():
    groups = [group("tone", "light", 32), group("gender", "female", 30), group("gender", "male", 2)]
    assert told(*groups, whole=32) == ({"light"}, {"light"})
    found = less_told(groups, [kept(32)], [naive(32)])
    assert [(one.value, one.people, one.faces) for one in found] == [(g.value, g.people, g.faces) for g in groups]


def test_nothing_is_left_out_where_everybody_is_told():
    groups = [group("gender", "female", 30), group("gender", "male", FEWEST)]
    assert less_told(groups, [kept(30 + FEWEST)], [naive(30 + FEWEST)]) == groups


def test_page_and_json_for_others_say_less_than_the_owners():
    groups = (group("gender", "female", 31), group("gender", "male", 2))
    report = replace(report_of(0.6), groups=groups, attacks=(*report_of(0.6).attacks, naive(33)))
    for others, figures in ((True, 0), (False, 1)):
        assert sum(len(one["attacks"]) for one in json.loads(json.dumps(report.as_dict(others)))["groups"]) == figures
        row = page_of(report, others).split("<td>female</td>")[1].split("</tr>")[0]
        assert ("not compared" in row) is others

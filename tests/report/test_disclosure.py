"""What a public report must not let anybody work out."""

import json
from dataclasses import replace

from services.report.disclosure import less_told
from services.report.page import page_of
from services.report.results import Group
from services.report.utility.measures import FEWEST
from tests.report.test_page import attack, report_of


def group(attribute: str, value: str, people: int, told: bool = True) -> Group:
    return Group(attribute, value, people, 2 * people, (), (attack("naive", "released", 0.6),) if told else ())


def told(*groups: Group) -> set[str]:
    return {one.value for one in less_told(groups) if one.attacks}


def test_a_small_group_is_not_the_whole_less_the_other():
    assert told(group("gender", "female", 30), group("gender", "male", FEWEST - 1, told=False)) == set()


def test_the_smallest_others_go_first_and_no_more_than_need_to():
    ages = [
        group("age", "adult", 40),
        group("age", "young", 9),
        group("age", "senior", 7),
        group("age", "child", 1, False),
    ]
    assert told(*ages) == {"adult", "young"}


def test_several_small_groups_hide_each_other_where_they_are_enough_together():
    few = [group("age", value, FEWEST // 2 + 1, told=False) for value in ("child", "senior")]
    assert told(group("age", "adult", 40), *few) == {"adult"}


def test_attributes_are_looked_at_one_by_one_and_groups_keep_their_order_and_numbers():
    groups = [group("tone", "light", 30), group("gender", "female", 30), group("gender", "male", 2, told=False)]
    found = less_told(groups)
    assert [(one.attribute, one.value, one.people) for one in found] == [
        (one.attribute, one.value, one.people) for one in groups
    ]
    assert told(*groups) == {"light"}


def test_nothing_is_left_out_where_everybody_is_told():
    groups = [group("gender", "female", 30), group("gender", "male", FEWEST)]
    assert less_told(groups) == groups


def test_page_and_json_for_others_say_less_than_the_owners():
    report = replace(report_of(0.6), groups=(group("gender", "female", 31), group("gender", "male", 2, told=False)))
    for others, figures in ((True, 0), (False, 1)):
        assert sum(len(one["attacks"]) for one in json.loads(json.dumps(report.as_dict(others)))["groups"]) == figures
        row = page_of(report, others).split("<td>female</td>")[1].split("</tr>")[0]
        assert ("not compared" in row) is others

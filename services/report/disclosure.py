"""Groups of a report -> those that others may read: no figure of a few people, not even by subtraction.

Where one small group of an attribute is left out, its figures are the whole's less those of all other groups. So
further groups are left out, the smallest first, until what is missing is enough people: complementary suppression, as
statistical offices do it (Hundepool et al. 2012, Statistical Disclosure Control, chapter 4).
"""

from collections.abc import Sequence
from dataclasses import replace

from services.report.results import Group
from services.report.utility.measures import FEWEST


def less_told(groups: Sequence[Group]) -> list[Group]:
    """The same groups in the same order; some have their numbers of people alone."""
    hidden = {id(one) for attribute in {one.attribute for one in groups} for one in _further(groups, attribute)}
    return [replace(one, measures=(), attacks=()) if id(one) in hidden else one for one in groups]


def _further(groups: Sequence[Group], attribute: str) -> list[Group]:
    """Groups that are told and must not be."""
    of = sorted((one for one in groups if one.attribute == attribute), key=lambda one: one.people)
    told = [one for one in of if one.measures or one.attacks]
    missing, more = sum(one.people for one in of) - sum(one.people for one in told), []
    while told and 0 < missing < FEWEST:
        more.append(told.pop(0))
        missing += more[-1].people
    return more

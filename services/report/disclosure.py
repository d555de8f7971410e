"""Groups of a report -> those that others may read: no figure of a few people, not even by subtraction.

A figure that is told of all but a few people of the whole tells of those few: it is the whole's less those of the
groups that have it. So it is taken from further groups of that attribute, the smallest first, until those without it
are enough people: complementary suppression, as statistical offices do it (Hundepool et al. 2012, Statistical
Disclosure Control, chapter 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from services.report.results import Attack, Group, Measure
from services.report.utility.measures import FEWEST

Figure = tuple[str, ...]  # a measure by its version and name; an attack by its own, and who looked at what


def less_told(groups: Sequence[Group], measures: Sequence[Measure], attacks: Sequence[Attack]) -> list[Group]:
    """The same groups in the same order; some have fewer figures.

    Args:
        measures, attacks: of the whole.
    """
    hidden: dict[int, set[Figure]] = {number: set() for number in range(len(groups))}
    for figure, people in _told(measures, attacks):
        for attribute in {one.attribute for one in groups}:
            for number in _further(groups, attribute, figure, people):
                hidden[number].add(figure)
    return [_without(group, hidden[number]) for number, group in enumerate(groups)]


def _told(measures: Sequence[Measure], attacks: Sequence[Attack]) -> Iterator[tuple[Figure, int]]:
    """What is told, and of how many people."""
    yield from ((_of_measure(one), one.estimate.people) for one in measures if one.estimate)
    yield from ((_of_attack(one), one.rank1.people) for one in attacks)


def _further(groups: Sequence[Group], attribute: str, figure: Figure, people: int) -> list[int]:
    """Groups, by number, that are not to tell a figure that is told of so many people of the whole."""
    of = ((n, dict(_told(one.measures, one.attacks))) for n, one in enumerate(groups) if one.attribute == attribute)
    told = sorted(((figures[figure], n) for n, figures in of if figure in figures))
    missing, more = people - sum(count for count, _ in told), []
    while told and 0 < missing < FEWEST:
        count, number = told.pop(0)
        missing += count
        more.append(number)
    return more


def _without(group: Group, hidden: set[Figure]) -> Group:
    return replace(
        group,
        measures=tuple(replace(one, estimate=None) if _of_measure(one) in hidden else one for one in group.measures),
        attacks=tuple(one for one in group.attacks if _of_attack(one) not in hidden),
    )


def _of_measure(one: Measure) -> Figure:
    return (one.version, one.name)


def _of_attack(one: Attack) -> Figure:
    return (one.version, one.attack, one.recogniser, one.photos)

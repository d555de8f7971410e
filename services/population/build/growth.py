"""How a population grows without breaking k: crowds are frozen, newcomers wait until they make crowds of their own.

Rebuilding singles people out: whoever holds two builds knows who shared a crowd in both. So within an epoch nobody
changes crowd, nobody joins one that was there before, and people who are removed keep counting in theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from services.population.index import Enrolment
from services.population.index.seal import tags
from services.population.people import Population
from services.population.surrogates import mean_by

WAITS = -1  # the crowd of who has none yet


@dataclass(frozen=True)
class People:
    """The people behind the identities of a population: those enrolled under several names count once."""

    of: np.ndarray  # int64 [n], the person of each identity, 0..p-1
    embeddings: np.ndarray  # float32 [p, d], means over a person's identities
    latents: np.ndarray | None  # float32 [p, l]
    attributes: dict[str, np.ndarray]  # str [p], of a person's first identity that has one

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class Plan:
    """Where everybody goes in the next version."""

    step: Literal["built", "grown", "refreshed"] | None  # None: nothing has changed
    enrolment: Enrolment
    new: np.ndarray  # int64 [q], people (rows of `People`) who make new crowds
    labels: np.ndarray  # int64 [q], their crowds, counted from 0
    waiting: int  # people who wait
    people_removed: int  # identities removed since the version before


def people_of(population: Population, duplicates: np.ndarray) -> People:
    """Joins identities that are likely one person, so that nobody counts twice towards k.

    Args:
        duplicates: int64 [p, 2], pairs of rows; chains are followed.
    """
    n = len(population.identities)
    pairs = duplicates.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (n, n))
    count, of = connected_components(graph, directed=False)
    of = of.astype(np.int64)
    if count == n:  # components are numbered by their first row
        return People(of, population.embeddings, population.latents, population.attributes)
    attributes = {name: _first_known(values, of, count) for name, values in population.attributes.items()}
    latents = population.latents
    return People(
        of,
        mean_by(population.embeddings, of),
        None if latents is None else mean_by(latents, of),
        attributes,
    )


def _first_known(values: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    found = np.full(count, "", values.dtype)
    for row in range(len(values) - 1, -1, -1):
        if values[row]:
            found[of[row]] = values[row]
    return found


def first_plan(population: Population, people: People, partition: Callable[[np.ndarray], np.ndarray]) -> Plan:
    """Everybody into crowds, for a first version or a new epoch.

    Args:
        partition: rows of people int64 [q] -> their crowds int64 [q].
    """
    everybody = np.arange(len(people))
    labels = partition(everybody)
    enrolment = Enrolment(population.identities, population.embeddings, labels[people.of], people.of)
    return Plan("built", enrolment, everybody, labels, 0, 0)


def next_plan(
    population: Population,
    people: People,
    before: Enrolment,
    crowds: int,
    key: bytes,
    servable: Callable[[np.ndarray], np.ndarray],
    partition: Callable[[np.ndarray], np.ndarray],
) -> Plan:
    """What has changed since a version, with its crowds as they were.

    Whoever is, or was, enrolled keeps their crowd, a person who comes back and a second name of a person included.

    Args:
        before: the enrolment of the version before.
        crowds: how many crowds that version has.
        key: the operator's; knows who was removed.
        servable: rows of people -> those of whom crowds can be made; the others wait.
        partition: as of `first_plan`; called only with people who are servable, if there are any.
    """
    crowd, person = _known(population, people, before, key)
    names = population.identities.tolist()
    strangers = np.unique(people.of[person < 0])
    new = servable(strangers)
    labels = partition(new) if len(new) else np.empty(0, np.int64)
    numbers = max(before.person.max(initial=-1), before.removed_person.max(initial=-1)) + 1 + np.arange(len(new))
    for row in np.flatnonzero(np.isin(people.of, new)):
        place = np.searchsorted(new, people.of[row])
        crowd[row], person[row] = crowds + labels[place], numbers[place]
    gone = set(before.identities.tolist()) - set(names)
    left = before.without(gone, key)
    returned = np.isin(left.removed_tags, tags(names, key)) if len(left.removed_tags) else np.empty(0, bool)
    here = crowd != WAITS
    enrolment = Enrolment(
        population.identities[here],
        population.embeddings[here],
        crowd[here],
        person[here],
        left.removed_tags[~returned],
        left.removed_crowd[~returned],
        left.removed_person[~returned],
    )
    step: Literal["grown", "refreshed"] | None = "grown" if len(new) else "refreshed"
    if step == "refreshed" and _same(enrolment, before):
        step = None
    return Plan(step, enrolment, new, labels, len(strangers) - len(new), len(gone))


def _known(population: Population, people: People, before: Enrolment, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Crowd and person of each identity as the version before has them, by name or through another name of theirs."""
    names = population.identities.tolist()
    places = {
        name: (c, p)
        for name, c, p in zip(before.identities.tolist(), before.crowd.tolist(), before.person.tolist(), strict=True)
    }
    if len(before.removed_tags):
        removed = dict(
            zip(
                before.removed_tags.tolist(),
                zip(before.removed_crowd.tolist(), before.removed_person.tolist(), strict=True),
                strict=True,
            )
        )
        places |= {name: removed[t] for name, t in zip(names, tags(names, key), strict=True) if t in removed}
    found = np.array([places.get(name, (WAITS, -1)) for name in names], np.int64).reshape(-1, 2)
    by_person: dict[int, np.ndarray] = {}
    for row in np.flatnonzero(found[:, 1] >= 0):
        by_person.setdefault(int(people.of[row]), found[row])
    for row in np.flatnonzero(found[:, 1] < 0):
        if int(people.of[row]) in by_person:
            found[row] = by_person[int(people.of[row])]
    return found[:, 0].copy(), found[:, 1].copy()


def _same(one: Enrolment, other: Enrolment) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("identities", "embeddings", "crowd", "person", "removed_tags")
    )

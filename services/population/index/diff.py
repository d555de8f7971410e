"""What somebody who holds two versions of an index, and what was published with each, could single out.

Whoever sees a person's photo twice, once under each version, knows two crowds the person is in, and so that the person
is among the people who share both. Those groups are counted here; crowds that stay as they were give none below k.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.population.index.enrolment import Enrolment
from services.population.index.seal import tags
from services.population.index.version import ClusterIndex

NOWHERE = -1


@dataclass(frozen=True)
class Exposure:
    """The groups of people who cannot be told apart by their crowds in two versions together."""

    people: int  # in either version
    newcomers: int
    gone: int  # removed without a trace; those that the later version marks as removed still count in their crowd
    smallest_group: int
    below_k: int  # people in groups smaller than k
    singled_out: int  # people in groups of one


@dataclass(frozen=True)
class Difference:
    """How one version of an index differs from another."""

    old: str
    new: str
    k: int  # the smaller of both
    kept: int  # crowds that are the same to the last bit, under the same number
    changed: int
    added: int
    dropped: int
    exposure: Exposure | None  # None: an enrolment map is missing, so nothing can be said of people

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(old: ClusterIndex, new: ClusterIndex, key: bytes | None = None) -> Difference:
    """Compares two versions: their crowds, and, where both enrolments are here, what they give away together.

    Args:
        key: the operator's, with which the maps were sealed; without it, nothing is said of people.
    """
    same = old.crowds.same_as(new.crowds)
    k = min(old.k, new.k)
    exposure = None
    if old.enrolment is not None and new.enrolment is not None and key is not None:
        exposure = expose(old.enrolment, new.enrolment, k, key)
    return Difference(
        old.version,
        new.version,
        k,
        int(same.sum()),
        int((~same).sum()),
        max(0, len(new.crowds) - len(old.crowds)),
        max(0, len(old.crowds) - len(new.crowds)),
        exposure,
    )


def expose(old: Enrolment, new: Enrolment, k: int, key: bytes) -> Exposure:
    """Groups people by their crowds in both versions; a crowd that they are not in counts as a place of its own.

    The adversary is given the most: both versions, every published photo, and who is in them. A newcomer who is put
    into a crowd that was there before is a group of one, and so is a person whom a rebuild separates from all others.
    """
    before, after = _members(old, key), _members(new, key)
    person_now = {tag: person for tag, _, person in after}
    places: dict[int, list[int]] = {}  # person of the new version, or below zero of the old one -> both crowds
    for tag, crowd, person in before:
        places.setdefault(person_now.get(tag, -1 - person), [NOWHERE, NOWHERE])[0] = crowd
    for _, crowd, person in after:
        places.setdefault(person, [NOWHERE, NOWHERE])[1] = crowd
    both = np.array(list(places.values()), np.int64).reshape(-1, 2)
    _, groups = np.unique(both, axis=0, return_counts=True)
    return Exposure(
        people=len(both),
        newcomers=int((both[:, 0] == NOWHERE).sum()),
        gone=int((both[:, 1] == NOWHERE).sum()),
        smallest_group=int(groups.min()) if len(groups) else 0,
        below_k=int(groups[groups < k].sum()),
        singled_out=int((groups == 1).sum()),
    )


def _members(enrolment: Enrolment, key: bytes) -> list[tuple[str, int, int]]:
    """(tag of an identity, crowd, person), those removed since included: their photos were published."""
    told = [*tags(enrolment.identities.tolist(), key), *enrolment.removed_tags.tolist()]
    crowds = np.concatenate([enrolment.crowd, enrolment.removed_crowd]).tolist()
    people = np.concatenate([enrolment.person, enrolment.removed_person]).tolist()
    return list(zip(told, crowds, people, strict=True))

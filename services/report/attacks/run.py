"""Faces, originals and a version of them -> every attack on it, measured. Whom is looked for among whom: `protocol`.

Which side is published:

    attack            probe       gallery
    none              original    original
    naive             original    published    Whose of the published faces is that of the person I have a photo of?
    reverse           published   original     Who, of those I have photos of, is that published face?
    parrot            published   published    The same, with my photos hidden in the same way.
    adapted parrot    published   published    The same, after learning from other people how hiding changes a face.

"The same" photo as the published one is tried by the naive and the reverse attack. The adapted parrot is left out where
there are too few people to learn from, and every attack that finds no probe, or less than two people in the gallery.
"""

from collections.abc import Callable

import numpy as np

from services.report.attacks.adapt import folds
from services.report.attacks.identify import credit
from services.report.attacks.interval import estimate_mean
from services.report.attacks.pairs import Pairs, joined, pair, step_of
from services.report.attacks.protocol import Roles, Setting, check_people, side_of
from services.report.attacks.verify import verify
from services.report.faces import Faces, Version
from services.report.results import Attack, AttackName

Pairing = Callable[[Roles], Pairs]


def attack(
    faces: Faces,
    original: Version,
    version: Version,
    recogniser: str,
    clustered: bool,
    seed: int,
    among: np.ndarray | None = None,
) -> list[Attack]:
    """Attacks a version in every way.

    Args:
        recogniser: whose embeddings the attacker compares; by Euclidean distance.
        clustered: whether it took part in choosing the crowds.
        among: bool [n], the faces that may be probes; None: all. The gallery is always everybody's.

    Raises:
        ReportError: there are less than two people.
    """
    check_people(faces)
    before, after = side_of(original, recogniser), side_of(version, recogniser)
    ways: list[tuple[AttackName, Setting]] = [
        ("naive", Setting(faces, before, after, "another", among)),
        ("naive", Setting(faces, before, after, "the same", among)),
        ("reverse", Setting(faces, after, before, "another", among)),
        ("reverse", Setting(faces, after, before, "the same", among)),
        ("parrot", Setting(faces, after, after, "another", among)),
        ("adapted parrot", Setting(faces, after, after, "another", among)),
    ]
    done = [_measure(name, setting, version.name, recogniser, clustered, seed) for name, setting in ways]
    return [one for one in done if one]


def unprotected(
    faces: Faces, original: Version, recogniser: str, clustered: bool, seed: int, among: np.ndarray | None = None
) -> list[Attack]:
    """What recognition is worth with nothing hidden. Arguments and errors as of `attack`; nobody has two photos: []."""
    check_people(faces)
    before = side_of(original, recogniser)
    setting = Setting(faces, before, before, "another", among)
    done = _measure("none", setting, original.name, recogniser, clustered, seed)
    return [done] if done else []


def _measure(
    name: AttackName, setting: Setting, version: str, recogniser: str, clustered: bool, seed: int
) -> Attack | None:
    """One attack; None: nobody to look for, nobody to take for them, or too few to learn from."""
    tried = setting.trials()
    if not tried:
        return None
    pairing = _adapted(setting) if name == "adapted parrot" else _plain(setting)
    if pairing is None:
        return None
    galleries = [pairing(roles) for roles in tried]
    owners = np.concatenate([one.owners for one in galleries])
    first, fifth = (
        estimate_mean(np.concatenate([credit(one, rank) for one in galleries]), owners, seed) for rank in (1, 5)
    )
    told = verify(galleries, seed)
    return Attack(
        attack=name,
        version=version,
        recogniser=recogniser,
        clustered=clustered,
        photos=setting.photos,
        rank1=first,
        rank5=fifth,
        tar=told.tar,
        eer=told.eer,
        probes=len(np.unique(np.concatenate([roles.probes for roles in tried]))),
        gallery=len(np.unique(np.concatenate([one.people for one in galleries]))),
        impostors=told.impostors,
        hidden=setting.hidden(),
    )


def _plain(setting: Setting) -> Pairing:
    """By distances of the embeddings as they are."""
    ids, probe, gallery = setting.faces.identities, setting.probe, setting.gallery
    step = step_of(probe.embeddings[probe.seen], gallery.embeddings[gallery.seen])

    def by(roles: Roles) -> Pairs:
        probes, others = probe.embeddings[roles.probes], gallery.embeddings[roles.gallery]
        return pair(probes, ids[roles.probes], others, ids[roles.gallery], step)

    return by


def _adapted(setting: Setting) -> Pairing | None:
    """By distances that were adapted, for each part of the people, on the others; None if these are too few."""
    ids, published = setting.faces.identities, setting.gallery
    parts = folds(setting.faces, published.embeddings, published.seen)
    if parts is None:
        return None
    step = step_of(published.embeddings[published.seen] @ parts[0].change)

    def by(roles: Roles) -> Pairs:
        found = []
        for part in parts:
            probes = roles.probes[np.isin(ids[roles.probes], part.people)]
            some, others = (published.embeddings[rows] @ part.change for rows in (probes, roles.gallery))
            found.append(pair(some, ids[probes], others, ids[roles.gallery], step))
        return joined(found)

    return by

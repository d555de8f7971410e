"""journal -> figures: how many people and faces went in, and how few surrogates stand for them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from services.release.records import Record


def counts(records: Iterable[Record], refused: int) -> dict[str, Any]:
    """Photos and faces by what became of them.

    Args:
        refused: what never became a record: links, other formats.
    """
    photos, faces = Counter[str](), Counter[str]()
    for record in records:
        photos["released" if record.released else "refused"] += 1
        if record.released:
            faces.update(face.outcome for face in record.faces)
    kinds = ("enrolled", "stranger", "masked")
    return {
        "photos": {"released": photos["released"], "refused": photos["refused"] + refused},
        "faces": {"all": faces.total(), **{kind: faces[kind] for kind in kinds}},
    }


def condensation(records: Iterable[Record], sizes: np.ndarray, bytes_out: int) -> dict[str, Any]:
    """What one surrogate for many comes to. Sums over all photos.

    Args:
        sizes: int [m], distinct people of each crowd of the index.
        bytes_out: of the photos, or of the surrogates where they alone are released.

    Returns:
        `people_in`: enrolled people who were recognised, each once; strangers cannot be told apart, and are not in it.
        `people_stood_for`: of all crowds whose surrogates were used, whether they are in the photos or not.
    """
    people, used, faces, bytes_in = set[int](), set[int](), 0, 0
    for record in records:
        if record.released:
            bytes_in += record.bytes
            faces += len(record.crowds)
            used.update(record.crowds)
            people.update(face.person for face in record.faces if face.person is not None)
    return {
        "faces_in": faces,
        "people_in": len(people),
        "surrogates_out": len(used),
        "people_stood_for": int(sizes[sorted(used)].sum()),
        "bytes_in": int(float(f"{bytes_in:.2e}")),  # of a release of one photo, it would be that original's size
        "bytes_out": bytes_out,
    }


def thin_crowds(records: Iterable[Record], k: int) -> tuple[int, int]:
    """Crowds of enrolled people of whom fewer than k are in these photos, and all crowds of such people.

    k counts the people of the index. Who knows that only these photos' people can be meant has fewer to choose from.
    """
    present: dict[int, set[int]] = defaultdict(set)
    for record in records:
        for face in record.faces if record.released else ():
            if face.person is not None and face.crowd is not None:
                present[face.crowd].add(face.person)
    return sum(len(people) < k for people in present.values()), len(present)

"""People, crowds and surrogates -> what each recogniser sees."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.anonymizer.models import Embedder
from services.population.partition import information_loss
from services.population.surrogates.report import BLOCK
from services.report.attacks.interval import estimate_mean
from services.report.sweep.cells import Cell, Look, Outcome

SEED = 0  # of the bootstrap


def look_at(
    recogniser: Embedder, clustered: bool, members: np.ndarray, surrogates: np.ndarray, labels: np.ndarray
) -> Look:
    """Measures what one recogniser sees.

    The naive attack holds a photo of each member and looks for it among the published faces. A crowd of c publishes
    the same face c times, so who finds it has found the person with 1 / c: the mean is at most 1 / k.

    Args:
        members: float [n, d], their embeddings.
        surrogates: float [m, d].
        labels: int64 [n], crowds 0..m-1.
    """
    own = np.linalg.norm(members.astype(np.float64) - surrogates[labels], axis=1)
    near = own < recogniser.same_person
    credit = (nearest(members, surrogates) == labels) / np.bincount(labels)[labels]
    people = np.arange(len(labels))
    return Look(
        recogniser.name,
        clustered,
        recogniser.same_person,
        float(own.mean()),
        estimate_mean(near.astype(float), people, SEED, share=True),
        estimate_mean(credit, people, SEED, share=True),
    )


def nearest(members: np.ndarray, surrogates: np.ndarray) -> np.ndarray:
    """Number of the surrogate nearest to each member, int64 [n], by blocks: a large population is not held squared."""
    points, faces = members.astype(np.float64), surrogates.astype(np.float64)
    squares = (faces**2).sum(axis=1)
    blocks = [
        (squares - 2 * points[start : start + BLOCK] @ faces.T).argmin(axis=1) for start in range(0, len(points), BLOCK)
    ]
    return np.concatenate(blocks)


def outcome_of(
    cell: Cell,
    labels: np.ndarray,
    members: Mapping[str, np.ndarray],
    surrogates: Mapping[str, np.ndarray],
    recognisers: Sequence[Embedder],
    note: str = "",
) -> Outcome:
    """Measures a cell.

    Args:
        members: by recogniser, float [n, d]; the cell's own embedder among them.
        surrogates: by recogniser, float [m, d]; empty where nothing was rendered.
    """
    sizes = np.bincount(labels)
    looks = tuple(
        look_at(one, one.name == cell.embedder, members[one.name], surrogates[one.name], labels)
        for one in recognisers
        if one.name in surrogates
    )
    loss = information_loss(members[cell.embedder], labels)
    return Outcome(cell, "", len(sizes), int(sizes.min()), int(sizes.max()), loss, looks, note)

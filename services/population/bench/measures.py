"""How good a partition is: the measures of the paper's table, and those that partitioners are compared by here."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.metrics import silhouette_score

from services.population.partition import information_loss

MOST_FOR_SILHOUETTE = 20_000  # people; it looks at all pairs


@dataclass(frozen=True)
class Measures:
    """Distances are Euclidean, in the embedding's units. A crowd counts as one, however large it is, but for `loss`,
    `to_centre` and `silhouette`, which count people."""

    loss: float  # SSE/SST
    to_centre: float  # mean distance of people to the mean of their crowd
    diameter: float  # mean over crowds of the largest distance between two members; the paper's "max dist"
    widest: float  # the largest diameter
    nearest: float  # mean over crowds of the smallest distance between two members; "min dist"
    apart: float  # mean over crowds of the mean distance between two members; "mean dist"
    silhouette: float | None  # mean over people; None: too many, or a single crowd
    crowds: int
    smallest: int
    mean_size: float
    largest: int


def measure(embeddings: np.ndarray, labels: np.ndarray) -> Measures:
    """Measures a partition.

    Args:
        embeddings: float [n, d].
        labels: int64 [n], 0..crowds - 1, none of them empty; crowds of one have no distances, and count as 0.
    """
    points = np.asarray(embeddings, np.float64)
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    people = np.split(points[order], np.cumsum(sizes)[:-1])
    to_centre = sum(np.linalg.norm(members - members.mean(axis=0), axis=1).sum() for members in people)
    pairs = [pdist(members) if len(members) > 1 else np.zeros(1) for members in people]
    diameters = np.array([distances.max() for distances in pairs])
    measured = 1 < len(sizes) < len(points) <= MOST_FOR_SILHOUETTE
    return Measures(
        loss=information_loss(points, labels),
        to_centre=float(to_centre / len(points)),
        diameter=float(diameters.mean()),
        widest=float(diameters.max()),
        nearest=float(np.mean([distances.min() for distances in pairs])),
        apart=float(np.mean([distances.mean() for distances in pairs])),
        silhouette=float(silhouette_score(points, labels)) if measured else None,
        crowds=len(sizes),
        smallest=int(sizes.min()),
        mean_size=float(sizes.mean()),
        largest=int(sizes.max()),
    )

"""The paper's curves (Le et al. 2020, WPES), to be drawn beside ours. They are of other photos, and never comparable
but in their shape."""

from dataclasses import dataclass, field
from pathlib import Path

from services.errors import PartitionError, ReportError
from services.population.bench.published import read_published

LOSS, RATE = "published_information_loss.csv", "published_reidentification_rate.csv"

# factor -> column -> its name. "adjusted": surrogates were moved until few enough members were recognised.
COLUMNS = {
    "embedder": {"hier_dlib_adjust": "dlib", "hier_facenet_adjust": "facenet", "hier_pca_adjust": "pca"},
    "algorithm": {"hier_dlib_adjust": "hierarchical", "kmeans_dlib_adjust": "kmeans", "knn_dlib_adjust": "knn"},
    "generator": {"stylegan_rafd": "stylegan, RaFD", "cnn_rafd": "cnn, RaFD", "aam_rafd": "aam, RaFD"},
    "weighting": {"hier_dlib_adjust": "adjusted"},
}

Curves = dict[str, dict[int, float]]  # column -> k -> figure


@dataclass(frozen=True)
class Published:
    """Both figures of the paper; empty where they are not known."""

    loss: Curves = field(default_factory=dict)  # mean distance of members to their surrogate
    rate: Curves = field(default_factory=dict)  # re-identification rate


def read_curves(folder: Path | None) -> Published:
    """Reads the two files of a folder.

    Raises:
        ReportError: one is missing, or is not a table of curves.
    """
    return Published() if folder is None else Published(_read(folder / LOSS), _read(folder / RATE))


def _read(path: Path) -> Curves:
    try:
        found = read_published(path)
    except PartitionError as refused:
        raise ReportError(f"--published: {refused}") from refused
    if not isinstance(found, dict):
        raise ReportError(f"--published: {path} has no curves over k; wanted are the columns k, ...")
    return found


def lines_of(curves: Curves, factor: str, ks: tuple[int, ...]) -> dict[str, list[tuple[int, float]]]:
    """The curves that belong to a factor, by name, between the least and the largest of our k."""
    found = {}
    for column, name in COLUMNS[factor].items():
        line = sorted((k, figure) for k, figure in curves.get(column, {}).items() if ks[0] <= k <= ks[-1])
        if line:
            found[f"published: {name}"] = line
    return found

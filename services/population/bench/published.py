"""The paper's own figures (Le et al. 2020, WPES) beside ours: which of them come out again, and why others cannot."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.errors import PartitionError
from services.population.bench.measures import Measures
from services.population.bench.trials import Job, Trial

K = 20  # of the paper's table
PEOPLE = 1001  # of the paper's table
SAMPLE, SAMPLE_RAFD = 979, 67  # people of its curves: of CelebA, of RaFD
DRAWS = 5  # times that as many people are left out as were never published, to see how much they matter

# The paper's columns, and what they were found to be: each a mean over crowds.
COLUMNS = {"max dist": "diameter", "min dist": "nearest", "mean dist": "apart"}
FEWER = "51 crowds of 19 or 20 people, so below k"
# (strategy, method) -> our name, and what else than the people keeps the row from coming out exactly
ROWS = {
    ("hierarchical partition", "average"): ("hierarchical (average)", FEWER),
    ("hierarchical partition", "complete"): ("hierarchical (complete)", FEWER),
    ("hierarchical partition", "ward"): (
        "hierarchical",
        f"{FEWER}; linkage ward.D of R, which takes distances where Ward's criterion takes their squares",
    ),
    ("k-means variance", "OTP"): (
        "oka-published",
        "draws whom crowds begin with; a centre is a single number, as theirs",
    ),
    ("k-means variance", "elki"): (
        "kmeans-published",
        f"{FEWER}; draws whom k-means begins with; joins people to the farthest centre, as theirs",
    ),
    ("k-means variance", "random"): (
        "kmeans-published (random)",
        f"{FEWER}; draws an order; joins people to the farthest centre, as theirs",
    ),
    ("knn variance", "k-same"): ("knn (random)", f"{FEWER}; draws whom crowds form around"),
    ("knn variance", "kmember"): (
        "kmember-published",
        "draws the first; who is left over joins the last crowd, as theirs",
    ),
    ("knn variance", "max dist"): ("knn", FEWER),
}
CURVES = {"hier_dlib_adjust": "hierarchical", "kmeans_dlib_adjust": "kmeans-published", "knn_dlib_adjust": "knn"}
RENDERED = (
    "These are figures of rendered faces: latents were averaged over a crowd, drawn by StyleGAN, and the picture was "
    "embedded again. The latents were not published, so they cannot be had again from embeddings."
)

Run = Callable[[Sequence[Job]], list[Trial]]


@dataclass(frozen=True)
class Row:
    """A row of the paper's table at k = 20."""

    strategy: str
    method: str
    figures: dict[str, float]  # COLUMNS, "size", "mean silhouette"


@dataclass(frozen=True)
class Beside:
    """A row of the paper's table, and what our likeness of its algorithm does."""

    row: Row
    algorithm: str
    trials: list[Trial]  # at k = 20; at 19 as well, where the paper's crowds are smaller than 20
    spread: dict[str, float]  # standard deviation of our figures where other people are left out
    why: str

    def deviation(self, column: str, trial: Trial) -> float:
        """By what share ours is larger."""
        assert trial.measures
        return float(getattr(trial.measures, COLUMNS[column]) / self.row.figures[column]) - 1


@dataclass(frozen=True)
class Curve:
    """One of the paper's curves over k, and what our measures are at the same k."""

    column: str
    algorithm: str
    ks: list[int]
    published: list[float]
    to_centre: list[float]
    apart: list[float]
    offset: list[float]  # how far from its crowd's mean a surrogate would be, if that is all that they differ by

    def verdict(self) -> str:
        """Whether the published figure is our mean distance to the crowd's mean."""
        ratios = np.array(self.published) / self.to_centre
        same = abs(ratios - 1).max() < 0.05
        told = f"{self.column}: {ratios.min():.2f} to {ratios.max():.2f} times our mean distance to the crowd's mean, "
        if len(self.ks) > 2:
            told += f"correlation {np.corrcoef(self.published, self.to_centre)[0, 1]:.3f}: "
        if same:
            return f"{told}the same quantity"
        return (
            f"{told}not the same quantity; as if the rendered face lay {min(self.offset):.2f} to "
            f"{max(self.offset):.2f} from that mean"
        )


def read_published(path: Path) -> list[Row] | dict[str, dict[int, float]]:
    """The rows of the paper's table, or curves: column -> k -> figure.

    Raises:
        PartitionError: neither of the two; says what is wanted.
    """
    try:
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        first = set(rows[0]) if rows else set()
        if {"strategy", "method", "size", "mean silhouette", *COLUMNS} <= first:
            figures = (*COLUMNS, "size", "mean silhouette")
            return [Row(row["strategy"], row["method"], {name: float(row[name]) for name in figures}) for row in rows]
        if "k" in first and len(first) > 1:
            return {name: {int(row["k"]): float(row[name]) for row in rows} for name in rows[0] if name != "k"}
    except (OSError, ValueError, TypeError, csv.Error) as broken:
        raise PartitionError(f"{path} is no table of the paper: {broken}") from broken
    raise PartitionError(f"{path} is no table of the paper: wanted are the columns strategy, method, ..., or k, ...")


def beside(rows: list[Row], n: int, run: Run) -> list[Beside]:
    """Runs our likeness of each row's algorithm on n people, and again without some of them."""
    found = []
    for row in rows:
        if (row.strategy, row.method) not in ROWS:
            raise PartitionError(f"the paper has no row {row.strategy!r}, {row.method!r}")
        algorithm, why = ROWS[row.strategy, row.method]
        ks = [K, K - 1] if row.figures["size"] < K else [K]
        missing = min(abs(PEOPLE - n), n // 10)
        others = [Job(algorithm, K, seed, missing) for seed in range(DRAWS)]
        trials = run([*(Job(algorithm, k) for k in ks), *others])
        drawn = [trial.measures for trial in trials[len(ks) :] if trial.measures]
        spread = {name: float(np.std([getattr(m, of) for m in drawn])) for name, of in COLUMNS.items() if drawn}
        found.append(Beside(row, algorithm, trials[: len(ks)], spread, why))
    return found


def curves(published: dict[str, dict[int, float]], ks: Sequence[int], variance: float, run: Run) -> list[Curve]:
    """Our measures at those of our k that the paper's curves have.

    Args:
        variance: mean squared distance of people to the mean of all.
    """
    found = []
    for column, algorithm in CURVES.items():
        figures = published.get(column, {})
        trials = run([Job(algorithm, k) for k in ks if k in figures])
        measured: list[tuple[int, Measures]] = [(t.job.k, t.measures) for t in trials if t.measures]
        if measured:
            squared = [figures[k] ** 2 - m.loss * variance for k, m in measured]
            found.append(
                Curve(
                    column,
                    algorithm,
                    [k for k, _ in measured],
                    [figures[k] for k, _ in measured],
                    [m.to_centre for _, m in measured],
                    [m.apart for _, m in measured],
                    [float(np.sqrt(max(value, 0))) for value in squared],
                )
            )
    return found


def are_rates(published: dict[str, dict[int, float]]) -> bool:
    """Whether curves are re-identification rates: counts of the paper's people, so whole numbers when multiplied."""
    figures = np.array([value for name in CURVES for value in published.get(name, {}).values()]) * SAMPLE
    return len(figures) > 0 and bool(abs(figures - figures.round()).max() < 0.01)

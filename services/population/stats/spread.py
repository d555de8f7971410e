"""Many numbers, summed up: a few quantiles and a histogram. Nothing of a single person remains."""

from dataclasses import dataclass

import numpy as np

BINS = 40


@dataclass(frozen=True)
class Spread:
    """`count` numbers out of `total` that there are (fewer where a sample was drawn)."""

    count: int
    total: int
    minimum: float
    p05: float
    median: float
    p95: float
    maximum: float
    mean: float
    deviation: float  # standard deviation
    edges: tuple[float, ...]  # of the bins, one more than counts
    counts: tuple[int, ...]


def spread(values: np.ndarray, edges: np.ndarray | None = None, total: int | None = None) -> Spread | None:
    """Sums numbers up; None where there are none.

    Args:
        values: float [m], finite.
        edges: of the histogram's bins, float [b + 1]; None: `BINS` from the least to the greatest value.
        total: how many numbers the values were drawn from; None: they are all.
    """
    if not len(values):
        return None
    values = np.asarray(values, np.float64)
    if edges is None:
        edges = edges_of(float(values.min()), float(values.max()))
    counts, _ = np.histogram(values, edges)
    low, p05, median, p95, high = np.percentile(values, [0, 5, 50, 95, 100])
    return Spread(
        count=len(values),
        total=len(values) if total is None else total,
        minimum=float(low),
        p05=float(p05),
        median=float(median),
        p95=float(p95),
        maximum=float(high),
        mean=float(values.mean()),
        deviation=float(values.std()),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def edges_of(low: float, high: float) -> np.ndarray:
    """Bins between two values, float64 [BINS + 1]; one unit wide where the values are the same."""
    return np.linspace(low, high if high > low else low + 1.0, BINS + 1)


def doubling_edges(most: int) -> np.ndarray:
    """Bins of whole numbers from 1 on, each twice as wide as the one before: 1, 2, 3 to 4, 5 to 8, ..."""
    edges = [0.5, 1.5]
    while edges[-1] < most:
        edges.append(2 * edges[-1] - 0.5)
    return np.array(edges)

"""What `anonfaces bench partition` found, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.isotonic import IsotonicRegression

from services.population.bench.trials import Trial

OURS = "swap"
BEST, OTHERS, INK = "#1f5a96", "#9a9aa0", "#4a4a50"
K = 10  # at which CPU time is drawn, where it was measured
LEAST_S = 1e-3  # what is quicker is drawn here
LINE = 0.036  # a line of text, as a share of the height


def draw(trials: Sequence[Trial], file: Path) -> None:
    """Two plots side by side: loss against k, a line for each algorithm; loss against CPU seconds, at one k."""
    measured = [trial for trial in trials if trial.measures]
    if not measured:
        return
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _loss_by_k(left, measured)
    ks = sorted({trial.job.k for trial in measured})
    _loss_by_time(right, measured, K if K in ks else ks[-1])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.savefig(file, dpi=140)


def _loss(trial: Trial) -> float:
    assert trial.measures
    return trial.measures.loss


def _loss_by_k(axes: Axes, trials: Sequence[Trial]) -> None:
    ends = []
    for name in dict.fromkeys(trial.job.algorithm for trial in trials):
        line = sorted((trial.job.k, _loss(trial)) for trial in trials if trial.job.algorithm == name)
        front = name.startswith(OURS)
        colour, width = (BEST, 2) if front else (OTHERS, 1)
        axes.plot(*zip(*line, strict=True), "o-", color=colour, ms=3, lw=width, zorder=1 + width)
        ends.append((float(line[-1][0]), line[-1][1], name))
    ks = sorted({trial.job.k for trial in trials})
    axes.set(xlabel="k, fewest people of a crowd", ylabel="information loss (SSE/SST)", xscale="log")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()
    axes.set_title("Loss at each k", loc="left", fontsize=10)
    name_at_edge(axes, ends)


def _loss_by_time(axes: Axes, trials: Sequence[Trial], k: int) -> None:
    points = [
        (max(trial.cpu_s or 0, LEAST_S), _loss(trial), trial.job.algorithm) for trial in trials if trial.job.k == k
    ]
    for seconds, loss, name in points:
        axes.plot(seconds, loss, "o", color=BEST if name.startswith(OURS) else OTHERS, ms=5, zorder=3)
    axes.set(xlabel="CPU seconds", ylabel="information loss (SSE/SST)", xscale="log")
    axes.set_title(f"Loss against CPU time at k = {k}", loc="left", fontsize=10)
    name_at_edge(axes, points)


def name_at_edge(axes: Axes, points: list[tuple[float, float, str]], ink: str = INK) -> None:
    """Names (x, y, name) at the right edge, as near to the height of what they name as there is room for."""
    points = sorted(points, key=lambda point: point[1])
    low, high = axes.get_ylim()
    steps = np.arange(len(points)) * (high - low) * LINE
    heights = np.array([y for _, y, _ in points])
    places = IsotonicRegression().fit_transform(steps, heights - steps) + steps  # nowhere nearer than a line
    axes.set_ylim(min(low, places[0] - steps[-1] / 60), max(high, places[-1] + steps[-1] / 60))
    for (x, y, name), place in zip(points, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.02, place),
            textcoords=axes.get_yaxis_transform(),
            color=BEST if name.startswith(OURS) else ink,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": OTHERS,
                "lw": 0.5,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 2,
            },
        )

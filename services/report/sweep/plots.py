"""Outcomes -> small drawings over k, each line named at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from sklearn.isotonic import IsotonicRegression

from services.population.stats.figures import BRIGHT, DARK, HALF, INK, SOFT, drawing
from services.report.results import Estimate

LINE = 0.062  # a line of text, as a share of the height
ROOM = 0.5  # for names, right of the lines, as a share of the lines' width
MARKERS = "osD^vP"
COLOURS = (DARK, BRIGHT, INK)

Points = Sequence[tuple[int, float | Estimate]]  # (k, figure), by k


@dataclass(frozen=True)
class Plot:
    """What one drawing shows."""

    name: str  # distinct within the page
    ylabel: str
    lines: Mapping[str, Points]  # ours
    published: Mapping[str, Points]  # the paper's
    share: bool  # an axis in per cent
    bound: bool = False  # the line 1 / k


def draw(plot: Plot) -> str:
    """An SVG element for the page."""
    with drawing(plot.name, "k (fewest people of a crowd)", plot.ylabel, HALF) as drawn:
        axes = drawn.axes
        ends: list[tuple[float, float, str, str]] = []
        for number, (name, points) in enumerate(plot.lines.items()):
            colour = COLOURS[number] if number < len(COLOURS) else SOFT
            ks, values = [k for k, _ in points], [_value(figure) for _, figure in points]
            axes.plot(ks, values, "-", marker=MARKERS[number % len(MARKERS)], markersize=4, color=colour)
            known = [(k, figure) for k, figure in points if isinstance(figure, Estimate)]
            if known:
                lows, highs = [one.low for _, one in known], [one.high for _, one in known]
                axes.vlines([k for k, _ in known], lows, highs, color=colour, linewidth=1, alpha=0.5)
            ends.append((ks[-1], values[-1], name, colour))
        for name, points in plot.published.items():
            ks, values = [k for k, _ in points], [_value(figure) for _, figure in points]
            axes.plot(ks, values, "--", color=SOFT, linewidth=1.2)
            ends.append((ks[-1], values[-1], name, SOFT))
        ks = sorted({k for points in (*plot.lines.values(), *plot.published.values()) for k, _ in points})
        if plot.bound:
            over = np.geomspace(ks[0], ks[-1], 60)
            axes.plot(over, 1 / over, ":", color=SOFT, linewidth=1.2)
            ends.append((ks[-1], 1 / ks[-1], "1/k", SOFT))
        _scale(axes, [k for k, _ in next(iter(plot.lines.values()))], ks, plot.share)
        _name(axes, ends)
    return drawn.svg


def _value(figure: float | Estimate) -> float:
    return figure.value if isinstance(figure, Estimate) else figure


def _scale(axes: Axes, ticks: list[int], ks: list[int], share: bool) -> None:
    """k on a logarithmic axis, the other one from 0."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.set_xticks([], minor=True)
    low, high = ks[0] / 1.1, ks[-1] * 1.1
    axes.set_xlim(low, high * (high / low) ** ROOM)
    axes.set_ylim(bottom=0)
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _name(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Names (x, y, name, colour) right of the lines' ends, as near to their height as there is room for."""
    ends = sorted(ends, key=lambda end: end[1])
    low, high = axes.get_ylim()
    steps = np.arange(len(ends)) * (high - low) * LINE
    least = low + (high - low) * LINE / 2
    fit = IsotonicRegression(y_min=least, y_max=max(least, high - steps[-1]))  # nowhere nearer than a line, and inside
    places = fit.fit_transform(steps, np.array([y for _, y, _, _ in ends]) - steps) + steps
    right = max(x for x, _, _, _ in ends) * 1.12
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (right, place),
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "color": SOFT, "lw": 0.5, "alpha": 0.6, "shrinkA": 0},
        )

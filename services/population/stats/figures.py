"""Statistics -> drawings, as SVG to be put into a page: no request, no script, and colours that the page chooses."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from services.population.stats.distances import Distances
from services.population.stats.spread import Spread
from services.population.stats.tradeoff import Tradeoff

# Drawn in these, then replaced by variables of the page. Dark, middle and light, so that they differ in grey as well.
INK, SOFT, FAINT = "#1b1b1d", "#6b6b70", "#dcdce0"
DARK, BRIGHT = "#1f5a96", "#d97f26"
VARIABLES = {INK: "--ink", SOFT: "--soft", FAINT: "--faint", DARK: "--dark", BRIGHT: "--bright"}
WIDE, HALF, LOW = (5.6, 3.4), (4.0, 3.2), (4.0, 2.3)  # inches: the full column, half of it, a histogram in half
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "anonfaces",  # the same drawing has the same names
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


class Drawing:
    """One plot being drawn; `svg` holds it when the block of `drawing` has ended."""

    def __init__(self, axes: Axes):
        self.axes = axes
        self.svg = ""


@contextmanager
def drawing(name: str, xlabel: str, ylabel: str, size: tuple[float, float]) -> Iterator[Drawing]:
    """A plot with labelled axes.

    Args:
        name: distinct within the page; element ids start with it.
        size: in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        canvas = FigureCanvasSVG(figure)
        drawn = Drawing(figure.add_subplot(xlabel=xlabel, ylabel=ylabel))
        yield drawn
        sink = io.StringIO()
        canvas.print_svg(sink)
    drawn.svg = _for_page(sink.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    """The bare element: no prolog, metadata or namespaces, ids of its own, colours by variable, size by the page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", svg)
    svg = re.sub(r'^<svg([^>]*?)\swidth="[^"]*"', r"<svg\1", svg)
    svg = re.sub(r'^<svg([^>]*?)\sheight="[^"]*"', r"<svg\1", svg)
    svg = re.sub(r" font-family: [^;]*;", "", svg)  # the page's own type
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", '<svg aria-hidden="true"', 1)  # the figure's caption says what is seen


def draw_distances(found: Distances, threshold: float | None) -> str:
    """Histograms of all that was measured, on common bins, each as a share of its own pairs."""
    with drawing("distances", "Euclidean distance (units of the embedder)", "share of pairs in a bin", WIDE) as drawn:
        axes = drawn.axes
        people = "two people" if found.between_of == "identities" else "photos of two people"
        for part, label, colour, line, filled in (
            (found.between, people, BRIGHT, "--", False),
            (found.nearest, "each person and their nearest other", INK, ":", False),
            (found.within, "photos of one person", DARK, "-", True),
        ):
            if part is not None:
                shares = [count / part.count for count in part.counts]
                if filled:
                    axes.stairs(shares, part.edges, fill=True, color=colour, alpha=0.18)
                axes.stairs(shares, part.edges, color=colour, linestyle=line, linewidth=2, label=label)
        if threshold is not None:
            axes.axvline(threshold, color=SOFT, linewidth=1, label="the embedder's threshold")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x", visible=False)
        axes.figure.legend(loc="outside upper left", ncols=1, borderaxespad=0.2)
    return drawn.svg


def draw_photos(found: Spread) -> str:
    """How many identities have how many photos, in bins that double."""
    firsts = [round(edge + 0.5) for edge in found.edges[:-1]]
    lasts = [round(edge - 0.5) for edge in found.edges[1:]]
    labels = [f"{a}" if a == b else f"{a} to {b}" for a, b in zip(firsts, lasts, strict=True)]
    with drawing("photos", "identities", "photos of an identity", (WIDE[0], 0.9 + 0.26 * len(labels))) as drawn:
        bars = drawn.axes.barh(labels, found.counts, color=DARK, height=0.7)
        drawn.axes.bar_label(bars, [f"{count:,}" for count in found.counts], padding=4)
        drawn.axes.invert_yaxis()
        drawn.axes.margins(x=0.12)
        drawn.axes.grid(axis="y", visible=False)
        drawn.axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return drawn.svg


def draw_spread(name: str, found: Spread, xlabel: str) -> str:
    """The histogram of one measure."""
    with drawing(name, xlabel, "photos", LOW) as drawn:
        drawn.axes.stairs(found.counts, found.edges, fill=True, color=DARK, alpha=0.85)
        drawn.axes.axvline(found.median, color=BRIGHT, linestyle="--", linewidth=2)
        drawn.axes.grid(axis="x", visible=False)
        drawn.axes.set_ylim(bottom=0)
        drawn.axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return drawn.svg


def draw_loss(found: Tradeoff) -> str:
    """Information loss against k, with crowds drawn at random for comparison."""
    ks = [row.k for row in found.expectations]
    with drawing("loss", "k (fewest people of a crowd)", "information loss (SSE/SST)", HALF) as drawn:
        axes = drawn.axes
        random = [row.loss_of_random_crowds for row in found.expectations]
        axes.plot(ks, random, "--", marker="s", markersize=4, color=BRIGHT, label="crowds drawn at random")
        loss = [row.information_loss for row in found.expectations]
        axes.plot(ks, loss, "-", marker="o", markersize=5, color=DARK, label=f"crowds of {found.algorithm}")
        axes.set_ylim(0, 1.02)
        _along_k(axes)
    return drawn.svg


def draw_centres(found: Tradeoff, threshold: float | None) -> str:
    """Distance of members to their crowd's mean vector, against k."""
    ks = [row.k for row in found.expectations]
    with drawing("centres", "k (fewest people of a crowd)", "distance to the mean", HALF) as drawn:
        axes = drawn.axes
        most = [row.distance_to_centre_p95 for row in found.expectations]
        axes.plot(ks, most, "--", marker="s", markersize=4, color=BRIGHT, label="95 % of members are nearer")
        mean = [row.distance_to_centre for row in found.expectations]
        axes.plot(ks, mean, "-", marker="o", markersize=5, color=DARK, label="mean over members")
        if threshold is not None:
            axes.axhline(threshold, color=SOFT, linewidth=1, label="the embedder's threshold")
        axes.set_ylim(bottom=0)
        _along_k(axes)
    return drawn.svg


def draw_near(found: Tradeoff) -> str:
    """Share of members nearer than the threshold to their crowd's mean vector, against k."""
    ks = [row.k for row in found.expectations]
    with drawing("near", "k (fewest people of a crowd)", "share of members", HALF) as drawn:
        axes = drawn.axes
        shares = [row.near_centre for row in found.expectations if row.near_centre is not None]
        axes.plot(ks, shares, "-", marker="o", markersize=5, color=DARK)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _along_k(axes)
    return drawn.svg


def _along_k(axes: Axes) -> None:
    """k on a logarithmic axis: from 2 to 5 as much happens as from 20 to 50."""
    axes.set_xscale("log")
    axes.set_xticks([2, 3, 5, 10, 20, 50], ["2", "3", "5", "10", "20", "50"])
    axes.set_xticks([], minor=True)
    axes.set_xlim(1.85, 54)
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside upper left", ncols=1, borderaxespad=0.2)

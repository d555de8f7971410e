"""The figures of a load test, drawn. Times are on logarithmic axes and say so, everything else begins at zero."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from deploy.load.figures import Stair, saturation
from deploy.load.k6 import Played
from deploy.load.watch import Sample

mpl.rcParams.update({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "svg.hashsalt": "anonfaces"})
SIZE, DPI = (8.0, 4.2), 110
COLOURS = {"http": "tab:blue", "grpc": "tab:orange"}
STYLES = {"p50": "-", "p95": "--", "p99": ":"}
MARKS = {
    "ok": ("o", "tab:blue"),
    "refused": ("x", "tab:orange"),
    "failed": ("s", "tab:red"),
    "uncounted": ("s", "tab:red"),
}


def latency_plot(ramps: dict[str, list[Stair]], path: Path) -> None:
    """Percentiles of finished requests against the rate at which requests came."""
    figure, axes = _new("requests sent a second", "time of finished requests, s (logarithmic)")
    for protocol, steps in ramps.items():
        rates = [step.rate for step in steps]
        for name, style in STYLES.items():
            values = [getattr(step.latency, name) for step in steps]
            drawn = [np.nan if value is None else value for value in values]
            axes.plot(rates, drawn, style, marker=".", color=COLOURS[protocol], label=f"{protocol} {name}")
        most = saturation(steps).most_served
        axes.axvline(
            most, color=COLOURS[protocol], alpha=0.35, linewidth=3, label=f"{protocol}: most served, {most:.1f}/s"
        )
    _logarithmic(axes)
    axes.set_xlim(left=0)
    _finish(figure, axes, "Latency against arrival rate", path)


def rates_plot(ramps: dict[str, list[Stair]], path: Path) -> None:
    """Requests served, refused and failed against the rate at which they came."""
    figure, axes = _new("requests sent a second", "requests a second")
    top = max(step.rate for steps in ramps.values() for step in steps)
    axes.plot([0, top], [0, top], color="grey", linewidth=1, label="all that is sent")
    for protocol, steps in ramps.items():
        rates = [step.rate for step in steps]
        colour = COLOURS[protocol]
        axes.plot(rates, [step.served for step in steps], "-", marker="o", color=colour, label=f"{protocol} finished")
        axes.plot(
            rates,
            [step.refused * step.rate for step in steps],
            "--",
            marker="x",
            color=colour,
            label=f"{protocol} refused (429)",
        )
        axes.plot(rates, [step.failed * step.rate for step in steps], ":", color="tab:red", label=f"{protocol} failed")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _finish(figure, axes, "What becomes of requests", path)


def spike_plot(played: Played, samples: Sequence[Sample], path: Path) -> None:
    """Each request of a spike by when it was sent, and the queue."""
    figure, axes = _new("seconds", "time of a request, s (logarithmic)")
    for outcome, (mark, colour) in MARKS.items():
        of_it = [request for request in played.requests if request.outcome == outcome]
        if of_it:
            at = [request.at - played.start for request in of_it]
            axes.plot(at, [request.seconds for request in of_it], mark, color=colour, markersize=4, label=outcome)
    _logarithmic(axes)
    seconds, rates = played.scenario.seconds, played.scenario.rates
    axes.axvspan(seconds, 2 * seconds, color="grey", alpha=0.15, label=f"{rates[1]:.1f}/s instead of {rates[0]:.1f}/s")
    queue = axes.twinx()
    queue.grid(visible=False)
    during = [sample for sample in samples if sample.metrics]
    depth = [sample.metrics["anonfaces_queue_depth"] for sample in during]
    queue.plot(
        [sample.at - played.start for sample in during], depth, color="tab:green", label="photos that wait (right)"
    )
    queue.set_ylabel("photos that wait")
    queue.set_ylim(bottom=0)
    handles = [found for one in (axes, queue) for found in one.get_legend_handles_labels()[0]]
    _finish(figure, axes, "A spike", path, handles)


def memory_plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory, and files with shared memory below it, over time."""
    figure = Figure(figsize=(SIZE[0], 6.0), dpi=DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    minutes = [(sample.at - samples[0].at) / 60 for sample in samples]
    for name in ("service", "triton", "models"):
        rss = [sample.groups[name].rss / 1e6 for sample in samples]
        above.plot(minutes, rss, label={"models": "models (Triton's stubs)"}.get(name, name))
        files = [np.nan if (n := sample.groups[name].files) is None else n for sample in samples]
        below.plot(minutes, files, label=f"{name}: open files")
    below.plot(minutes, [sample.shared_bytes / 1e6 for sample in samples], "--", label="shared memory, MB")
    above.set_ylabel("resident memory, MB")
    below.set_ylabel("open files; MB of shared memory")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    above.set_title("What the stack takes over time")
    figure.savefig(path)


def _new(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _finish(figure: Figure, axes: Axes, title: str, path: Path, handles: list[Any] | None = None) -> None:
    axes.set_title(title)
    axes.legend(
        handles=handles or axes.get_legend_handles_labels()[0],
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1.08 if handles else 1.0, 1.0),
    )
    figure.savefig(path)

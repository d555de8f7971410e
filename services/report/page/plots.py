"""Figures -> drawings: re-identification by way to hide, privacy against utility, loss over k."""

from collections.abc import Sequence

from matplotlib.ticker import PercentFormatter

from services.population.bench.drawing import name_at_edge
from services.population.stats.figures import BRIGHT, DARK, INK, SOFT, WIDE, drawing
from services.report.loss import OTHERS, OWN, LossRow
from services.report.report import Report
from services.report.results import Attack

MARKS = {  # label -> (attacks, photos, mark, colour, shift)
    "naive or reverse, another photo": (("naive", "reverse"), "another", "o", DARK, -0.25),
    "naive or reverse, the very photo": (("naive", "reverse"), "the same", "s", INK, 0.0),
    "parrot": (("parrot", "adapted parrot"), "another", "^", BRIGHT, 0.25),
}
STYLES = {
    "swap": ("o", DARK),
    "mdav": ("s", SOFT),
    "kmember": ("^", SOFT),
    "hierarchical": ("D", INK),
    "random": ("x", BRIGHT),
}


def draw_rates(of: Report, recogniser: str, name: str) -> str:
    """Rank-1 by way to hide, the worst attack of each kind, with intervals; the crowd's line is dashed."""
    ways = [way.name for way in of.ways if any(one.version == way.name for one in of.attacks)]
    with drawing(name, f"rank-1 by {recogniser}", "", (WIDE[0], 1.4 + 0.42 * len(ways))) as drawn:
        axes = drawn.axes
        for label, (attacks, photos, mark, colour, shift) in MARKS.items():
            found = [_worst(of.attacks, way, recogniser, attacks, photos) for way in ways]
            rows = [(place + shift, one.rank1) for place, one in enumerate(found) if one]
            if rows:
                places, rates = [place for place, _ in rows], [one for _, one in rows]
                axes.hlines(
                    places, [one.low for one in rates], [one.high for one in rates], color=colour, linewidth=1.5
                )
                axes.plot([one.value for one in rates], places, mark, color=colour, markersize=5, label=label)
        bare = [_worst(of.attacks, way, recogniser, ("none",), "another") for way in ways]
        rows = [(place, one.rank1) for place, one in enumerate(bare) if one]
        axes.plot([one.value for _, one in rows], [place for place, _ in rows], "D", color=SOFT, label="nothing hidden")
        axes.axvline(of.chance_here, color=SOFT, linestyle="--", linewidth=1, label="the crowd alone, in this gallery")
        axes.set_yticks(range(len(ways)), ways)
        axes.set_ylim(len(ways) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
    return drawn.svg


def draw_losses(rows: Sequence[LossRow]) -> str:
    """Information loss over k: other partitioners, and the release's own crowds."""
    with drawing("losses", "k (fewest people of a crowd)", "information loss (SSE/SST)", WIDE) as drawn:
        axes = drawn.axes
        for algorithm in OTHERS:
            found = sorted((row.k, row.loss) for row in rows if row.algorithm == algorithm)
            if found:
                mark, colour = STYLES[algorithm]
                axes.plot(
                    *zip(*found, strict=True), marker=mark, color=colour, markersize=5, linewidth=1.2, label=algorithm
                )
        own = [row for row in rows if row.algorithm == OWN]
        axes.plot([row.k for row in own], [row.loss for row in own], "*", color=DARK, markersize=14, label=OWN)
        axes.set_xscale("log")
        ticks = sorted({row.k for row in rows})
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 1.02)
        axes.figure.legend(loc="outside upper left", ncols=3, borderaxespad=0.2)
    return drawn.svg


def draw_tradeoff(points: Sequence[tuple[str, float, float]], measure: str) -> str:
    """Privacy against utility: (way, worst rank-1, measure) of each."""
    with drawing("tradeoff", "best attack's rank-1: less is more private", measure, WIDE) as drawn:
        axes = drawn.axes
        for name, risk, use in points:
            ours = name in ("released", "surrogate alone")
            axes.plot([risk], [use], "o", color=DARK if ours else SOFT, markersize=8 if ours else 5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.05, 1.05)
        name_at_edge(axes, [(risk, use, name) for name, risk, use in points], INK)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn.svg


def _worst(attacks: Sequence[Attack], way: str, recogniser: str, kinds: Sequence[str], photos: str) -> Attack | None:
    found = [
        one
        for one in attacks
        if (one.version, one.recogniser, one.photos) == (way, recogniser, photos) and one.attack in kinds
    ]
    return max(found, key=lambda one: one.rank1.value, default=None)

"""The first lines of a report, on a terminal."""

from pathlib import Path

from rich.console import Console

from services.report.faces import ORIGINAL, RELEASED, SURROGATE
from services.report.page.words import named, percent, rate
from services.report.report import Report


def show(of: Report, page: Path, console: Console) -> None:
    """Prints what matters most, and where the rest is."""
    lines = [f"k = {of.k}; who learns the crowd alone is right for {percent(of.chance_here)} of photos in this gallery"]
    for way in (ORIGINAL, SURROGATE, RELEASED):
        found = of.worst(way)
        if found is not None:
            worse = ", WORSE than the crowd alone" if way != ORIGINAL and of.above(way) is not None else ""
            lines.append(f"{way}: rank-1 {rate(found.rank1)} ({named(found)}){worse}")
    lines += [f"{len(of.misses)} faces and photos went wrong or stay recognisable", f"the page: {page}"]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

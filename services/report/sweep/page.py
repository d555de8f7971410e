"""A sweep -> one HTML file that needs nothing else: no request, no script. It shows figures of all people only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.errors import ReportError
from services.population.stats.document import document
from services.population.stats.markup import definitions, figure, paragraph, share, table, text, tile
from services.report.results import Estimate
from services.report.sweep.cells import FACTORS, Outcome, measured
from services.report.sweep.plots import Plot, draw
from services.report.sweep.published import Curves, Published, lines_of
from services.report.sweep.target import Pick, named

DEFINITIONS = {
    "SSE/SST": "Information loss of the partition: squared distances of members to their crowd's mean embedding, over "
    "those to the mean of all. No surrogate is needed for it.",
    "distance": "Mean distance of members to their own surrogate, as a recogniser sees its picture: what the paper "
    "calls information loss. Units differ from recogniser to recogniser.",
    "re-identification": "Share of members nearer to their surrogate than the recogniser's threshold, as the paper "
    "counts it. k does not bound it: who is recognised is known to be one of the crowd.",
    "rank 1": "Naive attack: with a picture of a member, the nearest surrogate is looked for. A crowd shares its "
    "surrogate, so finding it names the person with one over the crowd's size: at most 1/k on average.",
    "partitioned": "The recogniser whose embeddings the crowds were made of. The others took no part, and say more of "
    "what an attacker would see.",
}
LIMITS = (
    "Members are seen in the pictures that their latents give, not in other photos of them; on photos rates are lower.",
    "Intervals are of people drawn again. Members of one crowd share a surrogate, so with few crowds the truth may lie "
    "farther away.",
    "Published curves (Le et al. 2020) are of other photos, and of surrogates that were adjusted. Compare their shape.",
)


@dataclass(frozen=True)
class Swept:
    """What there is to show."""

    people: int
    source: str  # whom it is about, in words
    seed: int
    command: str
    recognisers: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    published: Published
    pick: Pick | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "people": self.people,
            "source": self.source,
            "seed": self.seed,
            "command": self.command,
            "recognisers": list(self.recognisers),
            "cells": [outcome.as_dict() for outcome in self.outcomes],
            "published": {"loss": self.published.loss, "rate": self.published.rate},
            "target": self.pick.as_dict() if self.pick else None,
        }


def write_page(of: Swept, file: Path) -> None:
    """Writes the page. Raises ReportError: the file cannot be written."""
    try:
        file.write_text(page(of))
    except OSError as refused:
        raise ReportError(f"{file} cannot be written: {refused.strerror or refused}") from refused


def page(of: Swept) -> str:
    """The whole file."""
    body = [
        "<h1>What k costs, and what it hides</h1>",
        paragraph(f"{of.people} people, {of.source}. Seed {of.seed}. {of.command}", True),
        *_target(of),
        *(part for factor in FACTORS for part in _factor(of, factor)),
        "<h2>All cells</h2>",
        _cells(of),
        *_missing(of),
        "<h2>What the words mean</h2>",
        definitions(DEFINITIONS),
        "<h2>Limits</h2>",
        *(paragraph(limit) for limit in LIMITS),
    ]
    return document("Sweep of k", body)


def _target(of: Swept) -> list[str]:
    """What was chosen for a risk."""
    if of.pick is None:
        return []
    judge = of.pick.aim.by or "the worst recogniser that did not partition"
    side = "upper end of the 95 % interval" if of.pick.aim.side == "upper" else "measured share"
    told = [f"<h2>A risk of at most {share(of.pick.aim.risk)}</h2>"]
    told.append(paragraph(f"Re-identification as {judge} has it, the {side}.", True))
    if of.pick.chosen:
        cell = of.pick.chosen.cell
        tiles = [tile(str(cell.k), "k"), tile(cell.algorithm, "algorithm"), tile(cell.weighting, "weighting")]
        told += [f'<div class="tiles">{"".join(tiles)}</div>']
    told += [paragraph(of.pick.why[0].upper() + of.pick.why[1:] + ".")]
    told += [paragraph(of.pick.command, True)] if of.pick.command else []
    rows = [
        (named(outcome.cell), share(of.pick.aim.risk_of(outcome)), _met(of.pick, outcome)) for outcome in of.pick.tried
    ]
    return [*told, table(("tried", "risk", ""), rows, "mixed")]


def _met(pick: Pick, outcome: Outcome) -> str:
    if outcome is pick.chosen:
        return "chosen"
    return outcome.reason or ("meets it" if pick.aim.met_by(outcome) else "misses it")


def _factor(of: Swept, factor: str) -> list[str]:
    """A section of small plots: lines for the values of one factor, all else at the first value that was asked for."""
    found = measured(of.outcomes)
    if not found:
        return []
    base = found[0].cell.along(factor)
    family: dict[str, list[Outcome]] = {}
    for outcome in sorted(found, key=lambda outcome: outcome.cell.k):
        if outcome.cell.along(factor) == base:
            family.setdefault(getattr(outcome.cell, factor), []).append(outcome)
    order = [name for name in dict.fromkeys(getattr(one.cell, factor) for one in found) if name in family]
    family = {name: family[name] for name in order}
    if len(family) < 2 and factor != "embedder":
        return []
    ks = tuple(sorted({outcome.cell.k for line in family.values() for outcome in line}))
    plots = _plots(of, factor, family, ks)
    fixed = ", ".join(getattr(found[0].cell, other) for other in FACTORS if other != factor)
    told = f"Lines: {factor}s; all else {fixed}. Bars: 95 % intervals."
    if of.published.loss:
        told += " Dashed: published, other photos."
    return [f"<h2>By {text(factor)}</h2>", paragraph(told, True), '<div class="pair">', *plots, "</div>"]


def _plots(of: Swept, factor: str, family: dict[str, list[Outcome]], ks: tuple[int, ...]) -> list[str]:
    first = of.recognisers[0]
    plots = []

    def add(name: str, seen: str, how: str, take: Callable[[Outcome], Any], curves: Curves, **kind: bool) -> None:
        lines = {value: _points(line, take) for value, line in family.items()}
        lines = {value: points for value, points in lines.items() if points}
        if lines:
            published = lines_of(curves, factor, ks)
            plots.append(figure(draw(Plot(f"{factor}-{name}", how, lines, published, **kind)), seen, ""))

    if factor in ("embedder", "algorithm"):
        add("loss", "Loss of the partition", "SSE/SST", lambda one: one.loss, {}, share=False)
    add(
        "distance",
        f"Distance, by {first}",
        "member to surrogate, mean",
        lambda one: look.distance if (look := one.look(first)) else None,
        of.published.loss,
        share=False,
    )
    for number, recogniser in enumerate(of.recognisers):
        curves = of.published.rate if recogniser == first else {}
        add(
            f"rate-{number}",
            f"Re-identified by {recogniser}",
            "share of members",
            _rate(recogniser),
            curves,
            share=True,
        )
    add(
        "rank1",
        f"Naive attack by {of.recognisers[-1]}",
        "rank 1",
        lambda one: look.rank1 if (look := one.look(of.recognisers[-1])) else None,
        {},
        share=True,
        bound=True,
    )
    return plots


def _rate(recogniser: str) -> Callable[[Outcome], Estimate | None]:
    return lambda one: look.recognised if (look := one.look(recogniser)) else None


def _points(line: Sequence[Outcome], take: Callable[[Outcome], float | Estimate | None]) -> list[Any]:
    pairs = [(outcome.cell.k, take(outcome)) for outcome in line]
    return [(k, value) for k, value in pairs if value is not None]


def _cells(of: Swept) -> str:
    heads = ["cell", "k", "crowds", "sizes", "SSE/SST"]
    for name in of.recognisers:
        heads += [f"distance, {name}", f"re-identified, {name}", f"rank 1, {name}"]
    return table(heads, [_row(of, outcome) for outcome in measured(of.outcomes)], "mixed")


def _row(of: Swept, outcome: Outcome) -> list[str]:
    cell = outcome.cell
    name = f"{cell.embedder}, {cell.algorithm}, {cell.generator}, {cell.weighting}"
    row = [name + (f" ({outcome.note})" if outcome.note else ""), str(cell.k), str(outcome.crowds)]
    row += [f"{outcome.smallest} to {outcome.largest}", "" if outcome.loss is None else f"{outcome.loss:.3f}"]
    for recogniser in of.recognisers:
        look = outcome.look(recogniser)
        if look is None:
            row += ["", "", ""]
            continue
        mark = " (partitioned)" if look.clustered else ""
        row += [f"{look.distance:.3f}{mark}", _interval(look.recognised), _interval(look.rank1)]
    return row


def _interval(of: Estimate) -> str:
    return f"{share(of.value)} ({100 * of.low:.1f} to {100 * of.high:.1f})"


def _missing(of: Swept) -> list[str]:
    rows = [
        (
            f"k = {one.cell.k}, {one.cell.embedder}, {one.cell.algorithm}, {one.cell.generator}, {one.cell.weighting}",
            one.reason,
        )
        for one in of.outcomes
        if one.reason
    ]
    return ["<h3>Not measured</h3>", table(("cell", "why"), rows, "words")] if rows else []

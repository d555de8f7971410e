"""The k, algorithm and weighting that meet a risk at the least loss.

The paper starts from the plain mean and moves surrogates away, again and again, until few enough members are
recognised (its code: `adjust_weights`); k stays what it is. Here k goes up from the smallest, and where plain
surrogates miss, tuned ones are tried (services/population/surrogates/risk.py), then ones tuned to half the share, as a
recogniser that took no part sees other members than the one that was tuned for. An algorithm is done with at the first
k at which its plain surrogates meet the risk: its larger crowds only lose more. Of all that met it, the least loss is
chosen.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from services.errors import ReportError
from services.report.attacks.interval import estimate_mean
from services.report.sweep.cells import RISK, WEIGHTINGS, Axes, Cell, Outcome, target_of

STRICTER = (1.0, 0.5)  # times the risk: what surrogates are tuned to, one after the other
Side = Literal["upper", "value"]


@dataclass(frozen=True)
class Aim:
    """What is to be met: a re-identification rate of at most `risk`."""

    risk: float  # share of members
    by: str | None = None  # which recogniser's; None: the worst of those that did not partition
    side: Side = "upper"  # of the 95 % interval, or the measured share itself

    def __post_init__(self) -> None:
        if not 0 <= self.risk <= 1:
            raise ReportError(f"--target-risk {self.risk:g}; it is a share of all people, 0 to 1")

    def risk_of(self, outcome: Outcome) -> float | None:
        """The share that counts; None: the cell was not measured, or nobody looked who may judge."""
        looks = [look for look in outcome.looks if (look.recogniser == self.by if self.by else not look.clustered)]
        rates = [look.recognised.high if self.side == "upper" else look.recognised.value for look in looks]
        return max(rates, default=None)

    def met_by(self, outcome: Outcome) -> bool:
        rate = self.risk_of(outcome)
        return rate is not None and rate <= self.risk


@dataclass(frozen=True)
class Pick:
    """What was tried, and what is chosen."""

    aim: Aim
    tried: tuple[Outcome, ...]  # in this order
    chosen: Outcome | None  # None: nothing met the risk
    nearest: Outcome | None  # what came nearest to it, if nothing met it
    why: str  # one sentence
    command: str  # that builds the chosen one; empty: there is none

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; tried cells by name."""
        tried = [{**asdict(outcome.cell), "risk": self.aim.risk_of(outcome)} for outcome in self.tried]
        chosen, nearest = (asdict(one.cell) if one else None for one in (self.chosen, self.nearest))
        return {
            **asdict(self.aim),
            "tried": tried,
            "chosen": chosen,
            "nearest": nearest,
            "why": self.why,
            "command": self.command,
        }


def distance_of(outcome: Outcome) -> float:
    """Information loss: mean distance of members to their surrogate, as the recogniser that partitioned sees it."""
    return next(look.distance for look in outcome.looks if look.clustered)


def check_people(aim: Aim, people: int) -> None:
    """Raises ReportError where so few people cannot show a risk so low."""
    least = estimate_mean(np.zeros(people), np.arange(people), 0).high
    if aim.side == "upper" and least > aim.risk:
        raise ReportError(
            f"with {people} people the upper end of the interval is {least:.1%} even if nobody is recognised, above "
            f"the target of {aim.risk:.1%}; take more people, a higher --target-risk, or --risk-side value"
        )


def ways(aim: Aim, axes: Axes) -> tuple[list[str], list[str]]:
    """Weightings to try: plain ones, and where they miss, tuned ones."""
    plain = [name for name in axes.weightings if name in WEIGHTINGS] or [*WEIGHTINGS[:1]]
    return plain, list(dict.fromkeys(f"{RISK}{aim.risk * part:g}" for part in STRICTER))


def most_cells(aim: Aim, axes: Axes) -> list[Cell]:
    """All that a search may come to."""
    plain, tuned = ways(aim, axes)
    return [_cell(axes, name, way, k) for k in axes.ks for name in axes.algorithms for way in (*plain, *tuned)]


async def search(aim: Aim, axes: Axes, measure: Callable[[Cell], Awaitable[Outcome]]) -> list[Outcome]:
    """Measures cells of the first embedder and generator, of each algorithm until plain surrogates meet the risk."""
    plain, tuned = ways(aim, axes)
    tried: list[Outcome] = []
    left = list(axes.algorithms)
    for k in axes.ks:
        for algorithm in tuple(left):
            found = [await measure(_cell(axes, algorithm, way, k)) for way in plain]
            met = any(aim.met_by(outcome) for outcome in found)
            if met:
                left.remove(algorithm)
            for way in tuned:
                if met or found[-1].reason:
                    break
                found.append(await measure(_cell(axes, algorithm, way, k)))
                met = aim.met_by(found[-1])
            tried += found
    return tried


def _cell(axes: Axes, algorithm: str, weighting: str, k: int) -> Cell:
    return Cell(axes.base.embedder, algorithm, axes.base.generator, weighting, k)


def pick(aim: Aim, tried: Sequence[Outcome], population: str, seed: int, renders: int) -> Pick:
    """Chooses the least loss of what meets the risk; of equals, the smallest k."""
    met = [outcome for outcome in tried if aim.met_by(outcome)]
    if not met:
        rated = [(rate, outcome) for outcome in tried if (rate := aim.risk_of(outcome)) is not None]
        rate, nearest = min(rated, key=lambda pair: pair[0], default=(None, None))
        missed = "no cell could be measured" if rate is None or nearest is None else _missed(aim, rate, nearest)
        return Pick(aim, tuple(tried), None, nearest, missed, "")
    chosen = min(met, key=lambda outcome: (distance_of(outcome), outcome.cell.k))
    why = (
        f"of {len(tried)} cells tried {len(met)} meet {aim.risk:.1%}; this one loses least: {distance_of(chosen):.3f} "
        f"on average from member to surrogate, at a risk of {aim.risk_of(chosen):.1%}"
    )
    return Pick(aim, tuple(tried), chosen, None, why, build_command(chosen, population, seed, renders))


def build_command(chosen: Outcome, population: str, seed: int, renders: int) -> str:
    """The command that builds an index in this way."""
    cell = chosen.cell
    words = ["anonfaces population build", population, f"--k {cell.k}", f"--algorithm {cell.algorithm}"]
    if cell.weighting in WEIGHTINGS:
        words.append(f"--surrogates {cell.weighting}")
    else:
        words.append(f"--surrogates risk --risk-target {target_of(cell.weighting):g} --risk-renders {renders}")
        words += ["--risk-best-effort"] if chosen.note else []
    return " ".join([*words, f"--seed {seed}"])


def named(cell: Cell) -> str:
    """A cell in words."""
    return f"k = {cell.k}, {cell.algorithm}, {cell.weighting}"


def _missed(aim: Aim, rate: float, nearest: Outcome) -> str:
    return f"nothing meets {aim.risk:.1%}; the nearest is {named(nearest.cell)} with {rate:.1%}"

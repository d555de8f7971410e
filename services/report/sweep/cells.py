"""What is swept, cell by cell, and what a cell comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from services.errors import ReportError
from services.population.partition import ALGORITHMS
from services.report.results import Estimate

RISK = "risk:"
WEIGHTINGS = ("mean", "random")
FACTORS = ("embedder", "algorithm", "generator", "weighting")


@dataclass(frozen=True)
class Cell:
    """One way to make surrogates."""

    embedder: str  # whose embeddings are partitioned
    algorithm: str
    generator: str
    weighting: str  # mean, random, or risk:SHARE
    k: int

    def along(self, factor: str) -> "Cell":
        """The same with nothing in place of one factor and of k: what it shares with the others of its small plot."""
        return Cell(**{**asdict(self), factor: "", "k": 0})


@dataclass(frozen=True)
class Look:
    """What one recogniser sees of people and of their crowds' surrogates."""

    recogniser: str
    clustered: bool  # its embeddings were partitioned
    threshold: float  # a member nearer to the surrogate is recognised in it
    distance: float  # mean over members, to their own surrogate: the paper's information loss
    recognised: Estimate  # share of members nearer than the threshold: the paper's re-identification rate
    rank1: Estimate  # of the naive attack: probe a member, gallery the surrogates; who shares one is told apart by luck


@dataclass(frozen=True)
class Outcome:
    """What a cell came to. Figures of all people; nothing of any one."""

    cell: Cell
    reason: str = ""  # why it was not measured; empty: it was
    crowds: int = 0
    smallest: int = 0
    largest: int = 0
    loss: float | None = None  # SSE/SST of the partition, in the embeddings it was made of
    looks: tuple[Look, ...] = ()  # empty where nothing was rendered
    note: str = ""  # what is to be known besides, such as that a risk target was missed

    def look(self, recogniser: str) -> Look | None:
        return next((look for look in self.looks if look.recogniser == recogniser), None)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Axes:
    """The values of every factor; the first of each is the base."""

    embedders: tuple[str, ...]
    algorithms: tuple[str, ...]
    generators: tuple[str, ...]
    weightings: tuple[str, ...]
    ks: tuple[int, ...]

    @property
    def base(self) -> Cell:
        """What other cells differ from, at the smallest k."""
        return Cell(self.embedders[0], self.algorithms[0], self.generators[0], self.weightings[0], self.ks[0])

    def cells(self, whole: bool) -> list[Cell]:
        """One factor at a time, the others at their base; `whole`: every combination."""
        lists = (self.embedders, self.algorithms, self.generators, self.weightings)
        found = []
        for values in product(*lists):
            apart = sum(value != first for value, (first, *_) in zip(values, lists, strict=True))
            if whole or apart < 2:
                found += [Cell(*values, k) for k in self.ks]
        return found


def read_outcome(told: Mapping[str, Any]) -> Outcome:
    """The inverse of `Outcome.as_dict`. Raises KeyError, TypeError: it is none."""
    looks = tuple(
        Look(**{**look, "recognised": Estimate(**look["recognised"]), "rank1": Estimate(**look["rank1"])})
        for look in told["looks"]
    )
    return Outcome(**{**told, "cell": Cell(**told["cell"]), "looks": looks})


def split(text: str, option: str) -> tuple[str, ...]:
    """Names with commas between, each once. Raises ReportError if there is none."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ReportError(f"{option} names nothing; give one or more, with commas between")
    return names


def read_ks(text: str) -> tuple[int, ...]:
    """k, ascending. Raises ReportError."""
    try:
        ks = tuple(sorted({int(part) for part in split(text, "--k")}))
    except ValueError:
        raise ReportError(f"--k {text}: whole numbers with commas between, such as 2,3,5,10,20") from None
    if ks[0] < 2:
        raise ReportError(f"--k {ks[0]}: a crowd of one hides nobody, k must be at least 2")
    return ks


def read_algorithms(text: str) -> tuple[str, ...]:
    """Raises ReportError: one is unknown."""
    names = split(text, "--algorithms")
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown:
        raise ReportError(f"--algorithms {unknown[0]}: there are {', '.join(ALGORITHMS)}")
    return names


def read_weightings(text: str) -> tuple[str, ...]:
    """Raises ReportError: one is unknown."""
    names = split(text, "--weightings")
    for name in names:
        if name not in WEIGHTINGS:
            target_of(name)
    return names


def target_of(weighting: str) -> float:
    """The share of risk:SHARE. Raises ReportError: it is no such weighting."""
    try:
        share = float(weighting.removeprefix(RISK)) if weighting.startswith(RISK) else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ReportError(f"--weightings {weighting}: there are mean, random and risk:SHARE, with a share from 0 to 1")
    return share


def measured(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that were."""
    return [outcome for outcome in outcomes if not outcome.reason]

"""What surrogates do: loss and how many members a recogniser finds again, the ways to choose them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from services.errors import PartitionError
from services.population.surrogates.plain import mean_by

BLOCK = 4096  # members whose distances to all surrogates are held at once


@dataclass(frozen=True)
class View:
    """Members and surrogates, as one recogniser sees them."""

    recogniser: str
    threshold: float  # a member nearer to a surrogate than this is recognised in it
    members: np.ndarray  # float [n, d]
    surrogates: np.ndarray  # float [m, d]


@dataclass(frozen=True)
class Seen:
    """What a view comes to. Distances are those of members to their own crowd's surrogate."""

    recogniser: str
    threshold: float
    loss: float  # mean squared distance
    mean_distance: float  # what the paper calls information loss
    recognised: float  # share of members nearer than the threshold: the re-identification rate
    worst_crowd: float  # the same share in the crowd where it is highest
    rank1: float  # share of members whose nearest surrogate is their crowd's


@dataclass(frozen=True)
class Way:
    """One way to choose surrogates, and what came of it."""

    method: str
    rendered: int  # pictures
    seen: tuple[Seen, ...]  # the index's embedder first


@dataclass(frozen=True)
class Report:
    """Ways side by side. Figures of the whole population and its worst crowd; nothing of any member."""

    people: int
    crowds: int
    centre_loss: float  # mean squared distance to the crowd's mean embedding, which no surrogate goes below
    ways: tuple[Way, ...]
    target: float | None = None  # share that was to be recognised at most; None: nothing was asked
    missed_by: float = 0.0  # by how much the share is above it

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, rounded to six digits."""
        return _rounded(asdict(self))


def see(view: View, labels: np.ndarray) -> Seen:
    """Measures a view; `labels int64 [n]` are the members' crowds.

    Raises:
        PartitionError: arrays of different lengths.
    """
    members, surrogates = np.asarray(view.members, np.float64), np.asarray(view.surrogates, np.float64)
    if len(members) != len(labels) or labels.max() >= len(surrogates):
        raise PartitionError("members, labels and surrogates do not belong together")
    own = np.linalg.norm(members - surrogates[labels], axis=1)
    near = own < view.threshold
    squares = (surrogates**2).sum(axis=1)
    first = 0
    for start in range(0, len(members), BLOCK):
        block = members[start : start + BLOCK]
        nearest = (squares - 2 * block @ surrogates.T).argmin(axis=1)
        first += int((nearest == labels[start : start + BLOCK]).sum())
    return Seen(
        recogniser=view.recogniser,
        threshold=view.threshold,
        loss=float((own**2).mean()),
        mean_distance=float(own.mean()),
        recognised=float(near.mean()),
        worst_crowd=float((np.bincount(labels, near) / np.bincount(labels)).max()),
        rank1=first / len(members),
    )


def centre_loss(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of `embeddings [n, d]` to the mean of their crowd."""
    apart = embeddings.astype(np.float64) - mean_by(embeddings, labels)[labels]
    return float((apart**2).sum(axis=1).mean())


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Prints a report in the form of `Report.as_dict`: a table, a line a way; nothing if it is empty."""
    if not report:
        return
    first = report["ways"][0]["seen"]
    table = Table(title=f"surrogates of {report['people']} people in {report['crowds']} crowds")
    table.add_column("surrogates")
    for column in ("loss", "mean distance", *_columns(first), "worst crowd", "rank 1", "rendered"):
        table.add_column(column, justify="right")
    for way in report["ways"]:
        own = way["seen"][0]
        shares = [f"{seen['recognised']:.1%}" for seen in way["seen"]]
        shares += [""] * (len(first) - len(shares))
        figures = [f"{own['loss']:.4f}", f"{own['mean_distance']:.3f}", *shares]
        figures += [f"{own['worst_crowd']:.0%}", f"{own['rank1']:.1%}", str(way["rendered"])]
        table.add_row(way["method"], *figures)
    console.print(table)
    console.print(f"the crowds' mean embeddings: loss {report['centre_loss']:.4f}", highlight=False)
    if report["missed_by"]:
        console.print(f"[red]the target {report['target']:.1%} is missed by {report['missed_by']:.1%}[/red]")


def _columns(seen: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{one['recogniser']} < {one['threshold']:g}" for one in seen]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value

"""crowds -> their surrogates, by one of three methods, with what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.portrait import Portrait, photograph
from services.population.surrogates.plain import mean_by
from services.population.surrogates.report import Report, View, Way, centre_loss, see
from services.population.surrogates.risk import RiskOptions, Tuned, tune
from services.population.surrogates.weights import random_mixtures

Method = Literal["mean", "random", "risk"]


@dataclass(frozen=True)
class ChosenSurrogates:
    """A surrogate for every crowd, m of them."""

    latents: np.ndarray  # float32 [m, l], flat
    portraits: list[Portrait]  # of its picture as it is served
    report: dict[str, Any]  # `Report.as_dict`


@dataclass(frozen=True)
class Crowded:
    """People and their crowds: what all methods take."""

    latents: np.ndarray  # float32 [n, l]
    embeddings: np.ndarray  # float32 [n, d]
    labels: np.ndarray  # int64 [n], 0..m-1, none of them empty

    def __post_init__(self) -> None:
        n = len(self.labels)
        if not n or len(self.latents) != n or len(self.embeddings) != n:
            raise PartitionError(f"{len(self.latents)} latents, {len(self.embeddings)} embeddings, {n} labels")
        if self.labels.min() < 0 or np.bincount(self.labels).min() == 0:
            raise PartitionError("crowds are not numbered 0 to m-1 without a gap")
        if not (np.isfinite(self.latents).all() and np.isfinite(self.embeddings).all()):
            raise PartitionError("latents and embeddings must be finite numbers; enrol their people again")


async def choose_surrogates(
    latents: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    method: Method,
    seed: int,
    triton: Triton,
    models: Models,
    repository: Path,
    progress: Callable[[int, int], None],
    risk: RiskOptions | None = None,
) -> ChosenSurrogates:
    """Chooses a surrogate for every crowd, renders it with the serving generator, and measures what it does.

    Args:
        latents: float32 [n, l], of the crowds' members.
        embeddings: float32 [n, d].
        labels: int64 [n], crowds 0..m-1.
        method: "mean" or "random" weights of the members' latents, or "risk": moved until `risk` is met.
        progress: (pictures rendered, of how many).

    Raises:
        PartitionError: a surrogate has no face that the detector finds, or the risk target is missed and that is not
            allowed.
    """
    crowded = Crowded(latents, embeddings, labels)
    if method == "risk":
        if risk is None:
            raise PartitionError("surrogates tuned for risk need a target; give --risk-target")
        tuned = await tune(latents, embeddings, labels, risk, seed, triton, models, progress)
        return _tuned(crowded, tuned, risk, models)
    if method not in ("mean", "random"):
        raise PartitionError(f"no surrogates named {method!r}; there are mean, random, risk")
    chosen = mean_by(latents, labels) if method == "mean" else random_mixtures(latents, labels, seed)
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, len(chosen))

    portraits = faces_in(await photograph(chosen, triton, models, models.generator, report))
    way = measured(method, crowded, portraits, models, models.embedder.same_person, len(chosen))
    return ChosenSurrogates(chosen, portraits, _report(crowded, [way]).as_dict())


def faces_in(portraits: list[Portrait | None]) -> list[Portrait]:
    """All portraits, if all have a face.

    Raises:
        PartitionError: says which crowd's has none.
    """
    for crowd, portrait in enumerate(portraits):
        if portrait is None:
            raise PartitionError(
                f"the surrogate of crowd {crowd} has no face that the detector finds; try --risk-target 1, which looks "
                "for one that has, or another seed or k"
            )
    return [portrait for portrait in portraits if portrait is not None]


def measured(
    method: str, crowded: Crowded, portraits: list[Portrait], models: Models, threshold: float, rendered: int
) -> Way:
    """One line of a report: the embedder of the index alone."""
    seen = np.array([portrait.embedding for portrait in portraits])
    view = View(models.embedder.name, threshold, crowded.embeddings, seen)
    return Way(method, rendered, (see(view, crowded.labels),))


def _tuned(crowded: Crowded, tuned: Tuned, risk: RiskOptions, models: Models) -> ChosenSurrogates:
    """The tuned surrogates, and what plain means and random weights, which were tried first, would have come to."""
    threshold = risk.threshold or models.embedder.same_person
    portraits = tuned.portraits
    ways = [
        measured(method, crowded, [p for p in first if p is not None], models, threshold, len(first))
        for method, first in zip(("mean", "random"), tuned.first, strict=True)
        if None not in first
    ]
    ways.append(measured("risk", crowded, portraits, models, threshold, tuned.rendered))
    missed = 0.0 if tuned.met else tuned.recognised / len(crowded.labels) - risk.target
    if missed and not risk.best_effort:
        raise PartitionError(
            f"{tuned.recognised} of {len(crowded.labels)} people stay nearer than {threshold:g} to their surrogate, "
            f"{missed:.1%} more than the risk target {risk.target:.1%} allows; raise the target or --risk-renders "
            f"({risk.renders}), take a larger k, or accept it with --risk-best-effort"
        )
    return ChosenSurrogates(tuned.latents, portraits, _report(crowded, ways, risk.target, missed).as_dict())


def _report(crowded: Crowded, ways: list[Way], target: float | None = None, missed: float = 0.0) -> Report:
    loss = centre_loss(crowded.embeddings, crowded.labels)
    crowds = int(crowded.labels.max()) + 1
    return Report(len(crowded.labels), crowds, loss, tuple(ways), target, missed)

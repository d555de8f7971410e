"""The ways to choose surrogates, side by side on one population: nothing is published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.anonymizer.models import Embedder, Generator, Models
from services.anonymizer.triton import Triton
from services.population.portrait import Portrait, photograph
from services.population.surrogates.choose import Crowded, faces_in
from services.population.surrogates.plain import mean_by
from services.population.surrogates.report import Report, View, Way, centre_loss, see
from services.population.surrogates.risk import RiskOptions, tune
from services.population.surrogates.weights import random_mixtures

Progress = Callable[[str, int, int], None]  # (what, done, of how many)


@dataclass(frozen=True)
class Judges:
    """Who looks at surrogates besides the index's embedder, and took no part in choosing them."""

    others: tuple[Embedder, ...]  # further recognisers
    members: np.ndarray  # bool [n], whose picture has a face
    seen: tuple[np.ndarray, ...]  # float32 [sum of members, d] for each of them
    preview: Generator  # makes a smaller picture of the same latent, for a second look


async def compare(
    crowded: Crowded,
    risks: Sequence[RiskOptions],
    seed: int,
    others: Sequence[Embedder],
    preview: Generator,
    triton: Triton,
    models: Models,
    progress: Progress,
) -> Report:
    """Plain means, random weights, and one line for every risk target.

    Further recognisers see members in the pictures that their latents give. That is what they look like where people
    are synthetic; else it is as near as the inversion came.

    Args:
        preview: a generator of the same latents for a second look at each surrogate; the serving one: there is none.

    Raises:
        PartitionError: a crowd has no surrogate with a face.
    """
    latents, embeddings, labels = crowded.latents, crowded.embeddings, crowded.labels
    judges = await _judges(crowded, others, preview, triton, models, progress)
    threshold = models.embedder.same_person
    ways = []
    for method, rows in (("mean", mean_by(latents, labels)), ("random", random_mixtures(latents, labels, seed))):
        seen = await photograph(rows, triton, models, models.generator, _counted(progress, method, len(rows)), others)
        views = await _views(crowded, rows, faces_in(seen), threshold, judges, triton, models)
        ways.append(Way(method, len(rows), tuple(see(view, of) for view, of in views)))
    for risk in risks:
        name = f"risk {risk.target:g}"
        tuned = await tune(latents, embeddings, labels, risk, seed, triton, models, _named(progress, name))
        portraits = tuned.portraits
        if others:
            seen = await photograph(tuned.latents, triton, models, models.generator, lambda rows: None, others)
            portraits = faces_in(seen)
        views = await _views(crowded, tuned.latents, portraits, risk.threshold or threshold, judges, triton, models)
        way = Way(name, tuned.rendered, tuple(see(view, of) for view, of in views))
        ways.append(way if tuned.met else replace(way, method=f"{name}, missed"))
    return Report(len(labels), int(labels.max()) + 1, centre_loss(embeddings, labels), tuple(ways))


async def _judges(
    crowded: Crowded,
    others: Sequence[Embedder],
    preview: Generator,
    triton: Triton,
    models: Models,
    progress: Progress,
) -> Judges:
    """Shows every member to the further recognisers, if there are any."""
    n = len(crowded.labels)
    if not others:
        return Judges((), np.zeros(n, bool), (), preview)
    report = _counted(progress, "members, for the second recogniser", n)
    found = await photograph(crowded.latents, triton, models, preview, report, others)
    seen = [portrait for portrait in found if portrait is not None]
    columns = tuple(np.array([portrait.others[i] for portrait in seen]) for i in range(len(others)))
    return Judges(tuple(others), np.array([portrait is not None for portrait in found]), columns, preview)


async def _views(
    crowded: Crowded,
    latents: np.ndarray,
    portraits: list[Portrait],
    threshold: float,
    judges: Judges,
    triton: Triton,
    models: Models,
) -> list[tuple[View, np.ndarray]]:
    """What everybody sees of some surrogates, each with the crowds of the members that were seen."""
    name, everybody = models.embedder.name, crowded.labels
    own = View(name, threshold, crowded.embeddings, np.array([portrait.embedding for portrait in portraits]))
    views = [(own, everybody)]
    if judges.preview.name != models.generator.name:
        again = faces_in(await photograph(latents, triton, models, judges.preview, lambda rows: None))
        seen = np.array([portrait.embedding for portrait in again])
        side = judges.preview.image_size[0]
        views.append((View(f"{name} at {side} px", threshold, crowded.embeddings, seen), everybody))
    for i, (other, members) in enumerate(zip(judges.others, judges.seen, strict=True)):
        seen = np.array([portrait.others[i] for portrait in portraits])
        views.append((View(other.name, other.same_person, members, seen), everybody[judges.members]))
    return views


def _named(progress: Progress, what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress(what, done, total)

    return report


def _counted(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress(what, done, total)

    return report

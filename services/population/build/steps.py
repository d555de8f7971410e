"""population -> the next version of its cluster index: who goes where, a surrogate for every new crowd, published."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError, IndexRefused, PartitionError
from services.population.build.checks import (
    check_branches,
    check_exposure,
    check_means,
    check_population,
    check_same_epoch,
)
from services.population.build.growth import People, Plan, first_plan, next_plan, people_of
from services.population.build.options import BuildOptions, Built, Place, constraints_of
from services.population.constraints import partition_with, servable
from services.population.engine import Engine
from services.population.enroll.duplicates import MOST_PAIRS, SHARE, likely_duplicates
from services.population.index import ClusterIndex, Crowds, publish, read_index, versions_of
from services.population.index.diff import compare
from services.population.index.series import CURRENT
from services.population.people import Population
from services.population.surrogates import ChosenSurrogates, choose_surrogates, mean_by
from services.provenance import check_model

Progress = Callable[[str, int, int], None]  # (what, done, of how many)


async def build(
    population: Population,
    options: BuildOptions,
    place: Place,
    triton: Triton,
    engine: Engine | None,
    progress: Progress,
) -> Built:
    """Builds the next version of an index, or its first. Call it within `building`.

    Raises:
        EnrolmentError: the population was enrolled with other models, has no latents, or likely duplicates that are
            to be refused.
        PartitionError: k or the constraints are impossible, or a surrogate has no face that the detector finds.
        IndexRefused: the guarantee does not hold, or the step needs a new epoch.
        OSError: no room; the version before stays.
    """
    check_population(population, place.models, place.repository)
    before = _previous(place)
    if before and not options.new_epoch:
        check_same_epoch(before, options, place)
    pairs = _duplicates(population, options, place.models)
    people = people_of(population, pairs if options.duplicates == "count-once" else pairs[:0])
    crowding = _Crowding(people, options, engine)
    key = place.store.key()
    if before is None or options.new_epoch:
        plan = first_plan(population, people, crowding.partition)
    else:
        enrolled, count = before.enrolled, len(before.crowds)
        plan = next_plan(population, people, enrolled, count, key, crowding.servable, crowding.partition)
    if before and plan.step is None:
        _redact(place, set(population.identities.tolist()), key)  # a build that was killed may not have come to it
        return Built(before, plan, len(pairs), None, {}, {})
    chosen = await _surrogates(people, plan, options, place, triton, progress) if len(plan.new) else None
    crowds = _crowds(people, plan, chosen, place.models)
    if before and not options.new_epoch:
        crowds = before.crowds.followed_by(crowds) if crowds else before.crowds
    assert crowds is not None  # a first plan has new people
    draft = ClusterIndex({"version": "the new one", "k": options.k}, crowds, plan.enrolment)
    difference = compare(before, draft, key) if before else None
    if before and difference and not options.new_epoch:
        check_exposure(difference)
        check_branches(before, draft, place, key)
    step = _step(before, plan, options, len(crowds), _outside(place, before))
    partitioned = {"algorithm": options.algorithm, "effort": options.effort, "seed": options.seed}
    partitioned |= crowding.losses
    provenance = _provenance(population, options, place, before, partitioned, chosen)
    index = publish(
        place.folder,
        crowds,
        plan.enrolment,
        place.store,
        options.k,
        place.models.embedder.same_person,
        provenance,
        before,
        step,
    )
    _redact(place, set(population.identities.tolist()), key)
    return Built(index, plan, len(pairs), difference, chosen.report if chosen else {}, crowding.told())


class _Crowding:
    """Partitions people as an operator chose, and knows what came of it."""

    def __init__(self, people: People, options: BuildOptions, engine: Engine | None):
        self.people, self.options, self.engine = people, options, engine
        self.losses: dict[str, float] = {}
        self.remarks: list[str] = []  # for the operator alone: they count people by what is known of them

    def servable(self, rows: np.ndarray) -> np.ndarray:
        """Those of some people of whom crowds can be made."""
        return rows[servable(self._attributes(rows), self.options.constraints, len(rows), self.options.k)]

    def partition(self, rows: np.ndarray) -> np.ndarray:
        """Crowds of some people, int64 [q]."""
        o = self.options
        found = partition_with(
            self.people.embeddings[rows],
            self._attributes(rows),
            o.constraints,
            o.k,
            o.algorithm,
            o.seed,
            o.effort,
            self.engine,
        )
        self.losses = {"information_loss": round(found.loss, 4)}
        if o.constraints:
            self.losses["unconstrained_loss"] = round(found.unconstrained_loss, 4)
            self.remarks = found.lines()
        return found.labels

    def told(self) -> dict[str, Any]:
        """What is told of it."""
        return {**self.losses, "remarks": self.remarks} if self.remarks else dict(self.losses)

    def _attributes(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.people.attributes.items()}


def _previous(place: Place) -> ClusterIndex | None:
    """The current version with its enrolment; None if there is none yet."""
    if not (place.folder / CURRENT).exists():
        return None
    try:
        index = read_index(place.folder)
        return ClusterIndex(index.manifest, index.crowds, place.store.read(index.version))
    except IndexRefused as broken:
        raise IndexRefused(
            f"the current version cannot be built upon: {broken}. Without a copy to restore, withdraw all that was "
            f"published with the index, move {place.folder} and {place.store.folder} away, and build a first version"
        ) from broken


def _duplicates(population: Population, options: BuildOptions, models: Models) -> np.ndarray:
    threshold = options.duplicate_threshold or SHARE * models.embedder.same_person
    if options.duplicates == "ignore":
        return np.empty((0, 2), np.int64)
    pairs, _ = likely_duplicates(population.embeddings, threshold)
    if len(pairs) == MOST_PAIRS:
        raise EnrolmentError(
            f"more than {MOST_PAIRS:,} pairs of identities are nearer than {threshold:.3g}: these are not different "
            "people, or the threshold is too large (--duplicate-threshold)"
        )
    if options.duplicates == "refuse" and len(pairs):
        raise EnrolmentError(
            f"{len(pairs)} pairs of identities are nearer than {threshold:.3g}, likely one person each; look at "
            "duplicates.csv of the population, or build with --duplicates count-once"
        )
    return pairs


async def _surrogates(
    people: People, plan: Plan, options: BuildOptions, place: Place, triton: Triton, progress: Progress
) -> ChosenSurrogates:
    assert people.latents is not None  # check_population
    return await choose_surrogates(
        people.latents[plan.new],
        people.embeddings[plan.new],
        plan.labels,
        options.surrogates,
        options.seed,
        triton,
        place.models,
        place.repository,
        partial(progress, "rendering surrogates"),
        options.risk,
    )


def _crowds(people: People, plan: Plan, chosen: ChosenSurrogates | None, models: Models) -> Crowds | None:
    """The new crowds; None if there are none."""
    if chosen is None:
        return None
    sides = np.array(models.generator.image_size[::-1], np.float32)
    assert people.latents is not None  # check_population
    centroids = mean_by(people.embeddings[plan.new], plan.labels)
    check_means(people.embeddings[plan.new], plan.labels, centroids, "centre")
    check_means(people.latents[plan.new], plan.labels, chosen.latents, "surrogate")
    return Crowds(
        sizes=np.bincount(plan.labels),
        centroids=centroids,
        surrogate_latents=chosen.latents,
        surrogate_landmarks=np.array([p.landmarks for p in chosen.portraits], np.float32) / sides,
        surrogate_embeddings=np.array([p.embedding for p in chosen.portraits], np.float32),
    )


def _outside(place: Place, before: ClusterIndex | None) -> list[str]:
    """Versions on disk that `before` does not follow: somebody went back from them."""
    followed = {line.version for line in before.ledger} if before else set()
    return [folder.name for folder in versions_of(place.folder) if folder.name not in followed]


def _step(
    before: ClusterIndex | None, plan: Plan, options: BuildOptions, crowds: int, outside: list[str]
) -> dict[str, Any]:
    """The new line of the ledger."""
    ledger = before.ledger if before else []
    rebuilt = before is not None and options.new_epoch
    epoch = ledger[-1].epoch + rebuilt if ledger else 1
    if plan.step is None:
        raise PartitionError("there is nothing to build")
    return {
        "epoch": epoch,
        "step": "rebuilt" if rebuilt else plan.step,
        "crowds_added": crowds if rebuilt or before is None else crowds - len(before.crowds),
        "people_added": len(plan.new),
        "people_removed": plan.people_removed,
        "waiting": plan.waiting,
        "withdraws": [*(line.version for line in ledger if line.epoch == epoch - 1), *outside] if rebuilt else [],
    }


def _provenance(
    population: Population,
    options: BuildOptions,
    place: Place,
    before: ClusterIndex | None,
    partitioned: dict[str, Any],
    chosen: ChosenSurrogates | None,
) -> dict[str, Any]:
    """What an index says of how it came about. A step without new crowds says what the version before said."""
    if before and chosen is None:
        return before.manifest["provenance"]
    models = place.models
    return {
        "population": population.made_with.get("source", "enrolled"),
        **{name: population.made_with[name] for name in ("seed", "psi") if name in population.made_with},
        "partition": {**partitioned, "constraints": constraints_of(options)},
        "surrogates": options.surrogates,
        "surrogates_report": chosen.report if chosen else {},
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
        "models_sha256": {name: check_model(place.repository, name)["model_sha256"] for name in models.recorded()},
    }


def _redact(place: Place, names: set[str], key: bytes) -> None:
    """Takes people who were removed out of the maps of older versions, too: their vectors are to be nowhere."""
    for path in versions_of(place.folder):
        place.store.clear(path.name)
        if place.store.has(path.name):
            map_ = place.store.read(path.name)
            gone = set(map_.identities.tolist()) - names
            if gone:
                place.store.write(map_.without(gone, key), path.name)


def forget_removed(place: Place, removed: set[str]) -> int:
    """Takes people out of all maps although there is nobody left to build a version of. Call it within `building`.

    Returns:
        How many the current map still names.
    """
    key = place.store.key()
    named: set[str] = set()
    for path in versions_of(place.folder):
        if place.store.has(path.name):
            named |= set(place.store.read(path.name).identities.tolist())
    _redact(place, named - removed, key)
    return len(named - removed)

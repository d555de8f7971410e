"""The whole of a report: open -> originals -> other versions -> attacks, utility, groups -> a `Report`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from services.anonymizer.models import Embedder, Estimator, Inverter
from services.anonymizer.reload import load
from services.anonymizer.triton import Triton
from services.errors import ReportError
from services.population.enroll.progress import watching
from services.population.sample import Sampler
from services.report.attacks.chance import chance
from services.report.attacks.run import attack, unprotected
from services.report.baselines import Baseline, Tools, prepare
from services.report.faces import ORIGINAL, RELEASED, SURROGATE, Faces, Version
from services.report.fairness import groups
from services.report.look import Eyes
from services.report.loss import LossRow, losses
from services.report.misses import misses_of
from services.report.opened import Opened
from services.report.originals import Originals, look_at_originals
from services.report.others import Asked, Others, look_at_others, look_at_surrogates
from services.report.report import Recogniser, Report, Way
from services.report.results import Attack, Measure
from services.report.shots import choose_people, shots_of
from services.report.structure import structure_of
from services.report.system.run import system_attacks
from services.report.utility.downstream import Downstream
from services.report.utility.measures import utility

TIMEOUT_S = 120.0
PICTURES = 6  # people of whom pictures are shown
KS = (2, 3, 5, 10, 20)
LIMITS = (
    "Other recognisers, or those of later years, may find more: a rate here is a lower bound on what is possible.",
    "Hair, clothes, bodies and places are as they were: no k covers them; the finished photo is measured with them.",
    "Groups are as networks and colours suggest, not as people say of themselves, unless the enrolment states them.",
)

Serve = Callable[[set[str]], AbstractContextManager[str]]  # models -> a Triton's address


@dataclass(frozen=True)
class Wish:
    """What a report is asked for."""

    recognisers: tuple[Embedder, ...]  # beside the one that chose the crowds
    estimators: tuple[Estimator, ...]
    baselines: tuple[str, ...]
    people: int  # at most; more are drawn from
    seed: int
    command: str
    inverter: Inverter | None
    sampler: Sampler  # draws other faces than surrogates
    also: tuple[Opened, ...] = ()  # other releases of the same people
    known: Mapping[str, Mapping[str, str]] | None = None  # attribute -> person -> value; goes before what photos show

    @property
    def of_photos(self) -> set[str]:
        """Attributes that change from photo to photo."""
        told = [pair for estimator in self.estimators for pair in estimator.attributes.items()]
        return {name for name, attribute in told if attribute.of == "photo"}


def make_report(opened: Opened, wish: Wish, serve: Serve, console: Console) -> Report:
    """Looks at a release in all ways.

    Raises:
        ReportError: nobody's face is known, or fewer than two people's.
        ModelServerUnavailable, DeadlineExceeded, IndexRefused: the models stay away, or are others.
    """
    own = opened.models.embedder
    recognisers = (own, *(one for one in wish.recognisers if one.name != own.name))
    eyes = Eyes(recognisers, wish.estimators, opened.models, opened.job.settings)
    shots, unknown = shots_of(opened.records, opened.whose, opened.index.enrolment)
    shots = choose_people(shots, wish.people, wish.seed)
    with serve(eyes.served | _others(opened, wish)) as url:
        job = replace(opened.job, url=url)
        with watching(console, len(shots), 0, "looking at originals") as report:
            originals = look_at_originals(shots, job, eyes, report, console.print)
        downstream = _downstream(originals) if opened.terms.kind == "photos" else None
        baselines, surrogate, faces_of_crowds = asyncio.run(_prepare(originals, opened, job.url, wish, eyes))
        hashes = {shot.path: shot.sha256 for shot in shots}
        asked = Asked(baselines, frozenset(_shown(originals.faces)), downstream, hashes)
        with watching(console, len(originals.photos), 0, "looking at what became of them") as report:
            others = look_at_others(originals.faces, originals.photos, asked, job, eyes, report, console.print)
    console.print("measuring ...")
    return _measure(opened, wish, eyes, originals, others, surrogate, faces_of_crowds, downstream, dict(unknown))


def _downstream(originals: Originals) -> Downstream:
    """A next task, tested on other people than it is trained on."""
    people = originals.faces.identities
    return Downstream({photo.path: people[list(photo.rows)].tolist() for photo in originals.photos})


async def _prepare(
    originals: Originals, opened: Opened, url: str, wish: Wish, eyes: Eyes
) -> tuple[list[Baseline], Version, dict[int, np.ndarray]]:
    """The baselines, and what is seen of the surrogates alone."""
    async with Triton(url, TIMEOUT_S) as triton:
        pipeline = await asyncio.to_thread(load, opened.job.settings, opened.job.version, triton)
        surrogate, pictures = await look_at_surrogates(originals.faces, pipeline, eyes)
        tools = Tools(triton, opened.models, wish.sampler, wish.inverter, wish.seed)
        baselines = await prepare(wish.baselines, originals.faces, originals.firsts, tools)
    return baselines, surrogate, pictures


def _others(opened: Opened, wish: Wish) -> set[str]:
    """Models that are needed besides those that look."""
    inverter = {wish.inverter.model} if wish.inverter else set[str]()
    return {*opened.models.online(), *wish.sampler.models, *inverter}


def _measure(
    opened: Opened,
    wish: Wish,
    eyes: Eyes,
    originals: Originals,
    others: Others,
    surrogate: Version,
    of_crowds: dict[int, np.ndarray],
    downstream: Downstream | None,
    unknown: dict[str, int],
) -> Report:
    """Figures from what was seen. Attacks and utility are of enrolled people; no k is claimed for strangers."""
    enrolled = _enrolled(originals.faces)
    faces, original = originals.faces.of(enrolled), originals.version.of(enrolled)
    versions = [surrogate.of(enrolled), *(version.of(enrolled) for version in others.versions)]
    seed, sizes = wish.seed, opened.index.crowds.sizes
    attacks: list[Attack] = []
    for recogniser in eyes.recognisers:
        who = (recogniser.name, recogniser.name == opened.models.embedder.name, seed)
        attacks += unprotected(faces, original, *who)
        for version in versions:
            attacks += attack(faces, original, version, *who)
    measures: list[Measure] = []
    for version in versions:
        measures += utility(faces, original, version, seed)
    measures += downstream.measure() if downstream else []
    main = [version for version in versions if version.name in (SURROGATE, RELEASED)]
    uninvolved = tuple(one.name for one in eyes.recognisers[1:])
    return Report(
        name=opened.out.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=wish.command,
        seed=seed,
        k=opened.index.k,
        smallest=int(sizes.min()),
        chance=chance(faces, sizes),
        chance_here=chance(faces),
        counts=_counts(originals.faces, faces),
        structure=structure_of(opened.index, opened.manifest, opened.terms, opened.records),
        losses=tuple(_losses(faces, original, surrogate.of(enrolled), opened, seed)),
        recognisers=tuple(Recogniser(one.name, one.name == opened.models.embedder.name) for one in eyes.recognisers),
        ways=tuple(Way(one.name, one.about) for one in (original, *versions)),
        attacks=tuple(attacks),
        system=tuple(
            system_attacks(
                originals.faces,
                originals.version,
                surrogate,
                opened,
                uninvolved,
                wish.also,
                seed,
            )
        ),
        measures=tuple(measures),
        groups=tuple(groups(faces, original, main, uninvolved, seed, wish.known, wish.of_photos)),
        misses=tuple(misses_of(opened, originals, others, surrogate)),
        without={**unknown, **originals.without},
        limits=(*LIMITS, *_left_out(wish, versions)),
        pictures=_pictures(originals.faces, others, of_crowds),
    )


def _left_out(wish: Wish, versions: Sequence[Version]) -> list[str]:
    """Says which ways to hide were asked for and could not be tried."""
    absent = [name for name in wish.baselines if name not in {version.name for version in versions}]
    return [f"Not tried, since a model that they need is not here: {', '.join(absent)}."] if absent else []


def _enrolled(faces: Faces) -> np.ndarray:
    """bool [n], faces of people of whom at least one face was recognised, or named, as enrolled."""
    people = np.unique(faces.identities[faces.outcomes == "enrolled"])
    enrolled = np.isin(faces.identities, people)
    if len(people) < 2:
        raise ReportError("fewer than two enrolled people are in this release: there is nobody to tell apart")
    return enrolled


def _counts(everybody: Faces, faces: Faces) -> dict[str, int]:
    told = {"people": len(np.unique(everybody.identities)), "photos": len(everybody.paths), "faces": len(everybody)}
    told["enrolled_people"] = len(np.unique(faces.identities))
    kinds, numbers = np.unique(everybody.outcomes, return_counts=True)
    return told | {f"faces_{kind}": int(number) for kind, number in zip(kinds, numbers, strict=True)}


def _losses(faces: Faces, original: Version, surrogate: Version, opened: Opened, seed: int) -> list[LossRow]:
    """Loss of these people's crowds, and of others that could have been made of them."""
    own = opened.models.embedder.name
    people = np.unique(faces.identities[faces.crowds >= 0])
    vectors, labels, seen = [], [], []
    for person in people:
        rows = np.flatnonzero((faces.identities == person) & (faces.crowds >= 0))
        vectors.append(original.embeddings[own][rows].mean(axis=0))
        labels.append(faces.crowds[rows[0]])
        seen.append(surrogate.embeddings[own][rows[0]])
    _, compact = np.unique(labels, return_inverse=True)
    return losses(np.array(vectors), compact.astype(np.int64), np.array(seen), KS, seed)


def _shown(faces: Faces) -> list[int]:
    """Rows of whom pictures are shown: people of different crowds first."""
    firsts = np.flatnonzero((faces.takes == 0) & (faces.outcomes == "enrolled"))
    _, order = np.unique(faces.crowds[firsts], return_index=True)
    rows = [*firsts[np.sort(order)], *np.delete(firsts, order)]
    return [int(row) for row in rows[:PICTURES]]


def _pictures(faces: Faces, others: Others, of_crowds: dict[int, np.ndarray]) -> dict[str, tuple[bytes, ...]]:
    rows = _shown(faces)
    shown: dict[str, Sequence[Any]] = {
        SURROGATE: [of_crowds[int(faces.crowds[row])] for row in rows if faces.crowds[row] in of_crowds]
    }
    shown |= {name: [by_row[row] for row in rows if row in by_row] for name, by_row in others.pictures.items()}
    order = [ORIGINAL, RELEASED, SURROGATE]
    names = [*(name for name in order if name in shown), *(name for name in shown if name not in order)]
    return {name: tuple(map(_jpeg, shown[name])) for name in names}


def _jpeg(pixels: np.ndarray) -> bytes:
    sink = BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=75)
    return sink.getvalue()

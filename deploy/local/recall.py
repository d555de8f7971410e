"""How many faces a detector finds, of faces that are known to be there. A face that is missed leaves as it came."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from deploy.local.sessions import Sessions
from deploy.local.truth import CONDITIONS, Board, boards
from services.anonymizer.detect import Face, detect
from services.anonymizer.models import GENERATORS, Detector, choose
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError
from services.population.sample import sampler_for
from services.settings import Settings

PEOPLE, SEED = 48, 500_009
NEAR = 0.35  # a detection this near to a face's centre, as a share of its side,
ALIKE = 2.0  # and at most this much larger or smaller, is that face
GROUPS = ((24, 32), (40, 64), (96, 240), (350, 700))  # sizes told together


@dataclass(frozen=True)
class Outcome:
    """What a detector found in one photo."""

    board: Board
    found: tuple[bool, ...]  # of the faces that are there
    fit: tuple[bool, ...]  # found, and well enough to be replaced rather than masked
    false: int  # detections where no face is
    seconds: float


def match(board: Board, faces: Sequence[Face], seconds: float, replace_score: float) -> Outcome:
    """Pairs detections, best first, with the faces that are there; each stands for one at most."""
    found, fit, false = [False] * len(board.truths), [False] * len(board.truths), 0
    for face in faces:
        best = None
        for number, truth in enumerate(board.truths):
            off = float(np.linalg.norm(face.centre - truth.centre)) / truth.side
            alike = 1 / ALIKE < face.side / truth.side < ALIKE
            if alike and off < NEAR and not found[number] and (best is None or off < best[0]):
                best = (off, number)
        if best is None:
            false += 1
            continue
        found[best[1]] = True
        fit[best[1]] = face.confirmed and face.score >= replace_score
    return Outcome(board, tuple(found), tuple(fit), false, seconds)


async def look(board: Board, detector: Detector, triton: Triton, settings: Settings) -> Outcome:
    """Detects as the service would."""
    start = time.perf_counter()
    faces = await detect(board.pixels, triton, detector, settings.detect_score, settings.detect_min_px)
    return match(board, faces, time.perf_counter() - start, settings.replace_score)


def make_boards(settings: Settings) -> list[Board]:
    """The test set, the same every time: people who do not exist, of a seed that nothing was chosen on.

    Raises:
        ConversionError: the generator is not converted.
    """
    return boards(people(settings, PEOPLE, SEED), SEED)


def people(settings: Settings, count: int, seed: int) -> np.ndarray:
    """Generated people, uint8 [count, 512, 512, 3]. Raises ConversionError: the generator is not converted."""
    sampler = sampler_for(GENERATORS["mobile-stylegan-512"], settings.model_repository)

    async def sampled() -> np.ndarray:
        async with Sessions(settings.model_repository, sampler.models) as sessions:
            return await sampler.pictures(await sampler.latents(count, seed, sessions), sessions)

    return asyncio.run(sampled())


def run(settings: Settings, names: Iterable[str], console: Console) -> dict[str, list[Outcome]]:
    """Shows the same photos to several detectors, in turn on each photo, and prints what each found.

    Args:
        names: NAME or NAME:PRECISION.

    Raises:
        ConfigurationError: there is no such detector.
        ConversionError: a model is not converted.
    """
    detectors = {name: named(name, settings) for name in names}
    console.print("making photos with known faces ...")
    photos = make_boards(settings)
    sessions = Sessions(settings.model_repository, {model for d in detectors.values() for model in d.served})
    outcomes: dict[str, list[Outcome]] = {name: [] for name in detectors}
    for board in photos:
        for name, detector in detectors.items():
            outcomes[name].append(asyncio.run(look(board, detector, sessions, settings)))
    console.print(table(outcomes))
    return outcomes


def named(text: str, settings: Settings) -> Detector:
    """The detector that NAME or NAME:PRECISION means. Raises ConfigurationError."""
    name, _, precision = text.partition(":")
    chosen = {"detector": name, "detector_precision": precision or settings.detector_precision}
    try:
        return choose(Settings.model_validate({**settings.model_dump(), **chosen})).detector
    except ValidationError:
        raise ConfigurationError(f"{text!r} is no NAME:PRECISION; precisions are int8 and float32") from None


def table(outcomes: dict[str, list[Outcome]]) -> Table:
    """One column a detector; found faces by size and by condition, false ones, and time as a share of the first's."""
    first = next(iter(outcomes))
    shown = Table(title=f"{sum(len(o.found) for o in outcomes[first])} faces in {len(outcomes[first])} photos")
    for name in ("", "faces", *outcomes):
        shown.add_column(name, justify="right" if name else "left")

    def row(what: str, chosen: dict[str, list[Outcome]]) -> None:
        total = sum(len(o.found) for o in chosen[first])
        shown.add_row(what, str(total), *(str(sum(sum(o.found) for o in each)) for each in chosen.values()))

    def where(keep: Iterable[Board]) -> dict[str, list[Outcome]]:
        kept = {id(board) for board in keep}
        return {name: [o for o in each if id(o.board) in kept] for name, each in outcomes.items()}

    all_boards = [outcome.board for outcome in outcomes[first]]
    for low, high in GROUPS:
        row(f"found, {low} to {high} px", where(b for b in all_boards if low <= b.size <= high))
    for condition in CONDITIONS:
        row(f"found, {condition}", where(b for b in all_boards if b.condition == condition))
    row("found", outcomes)
    told: dict[str, list[int] | list[str]] = {
        "of these fit to be replaced": [sum(sum(o.fit) for o in each) for each in outcomes.values()],
        f"missed, but found by {first}": [lost(outcomes[first], each) for each in outcomes.values()],
        "false faces": [sum(o.false for o in each) for each in outcomes.values()],
        f"time, {first} = 1": [f"{relative_time(outcomes[first], each):.2f}" for each in outcomes.values()],
    }
    for what, values in told.items():
        shown.add_row(what, "", *(str(value) for value in values))
    return shown


def lost(first: Sequence[Outcome], other: Sequence[Outcome]) -> int:
    """Faces that the first found and the other did not."""
    return sum(
        a and not b for one, two in zip(first, other, strict=True) for a, b in zip(one.found, two.found, strict=True)
    )


def relative_time(first: Sequence[Outcome], other: Sequence[Outcome]) -> float:
    """The median over photos of the other's time over the first's."""
    return median(two.seconds / one.seconds for one, two in zip(first, other, strict=True))

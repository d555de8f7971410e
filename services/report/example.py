"""Nobody's photos -> a report: generated people, enrolled but for some strangers, released at two k, and reported on.

Every step is a command that anybody could type; each is shown before it runs. What is there already is not made again.
"""

import csv
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.errors import ReportError
from services.population.generate.make import TABLE
from services.report.page import PAGE_SUFFIX
from services.settings import settings

POPULATION = "example"
STRANGERS = 5  # one of so many people is not enrolled
HOME = "ANONFACES_HOME"

Run = Callable[[Sequence[str]], None]  # a command's arguments


@dataclass(frozen=True)
class Example:
    """What is made, and where."""

    folder: Path
    people: int
    photos: int  # of each
    ks: tuple[int, ...]
    seed: int
    further: tuple[str, ...] = ()  # arguments of every report

    def release(self, k: int) -> Path:
        return self.folder / f"release-k{k}"

    def page(self, k: int) -> Path:
        return self.folder / f"report-k{k}{PAGE_SUFFIX}"


def make_example(example: Example, run: Run, tell: Callable[[str], None]) -> list[Path]:
    """Runs every step.

    Args:
        run: runs `anonfaces` with some arguments, in this process; raises as the command does.
        tell: hears of each step before it runs, as one would type it.

    Returns:
        The reports' pages.

    Raises:
        ReportError: too few people for a k.
        AnonFacesError: what the steps raise. The same call goes on.
    """
    enrolled = example.people - example.people // STRANGERS
    if enrolled < 2 * max(example.ks):
        raise ReportError(
            f"of {example.people} people {enrolled} are enrolled, too few for two crowds of {max(example.ks)}"
        )
    home, photos = example.folder / "home", example.folder / "people"
    example.folder.mkdir(parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)

    def step(done: Path, *arguments: object) -> None:
        if not done.exists():
            words = [str(argument) for argument in arguments]
            tell(shlex.join(["anonfaces", *words]))
            run(words)

    before = os.environ.get(HOME)
    os.environ[HOME] = str(home)  # an index of this, and no other, is what the steps see
    settings.cache_clear()
    try:
        counts = ("--people", example.people, "--photos", example.photos, "--seed", example.seed)
        step(photos / TABLE, "population", "generate", photos, *counts)
        who = _write_who(example, enrolled)
        enrolment = example.folder / ".enrolled"
        step(enrolment, "population", "enroll", photos, "--name", POPULATION, "--identities", who)
        enrolment.touch()
        for k in example.ks:
            name, out = f"{POPULATION}-k{k}", example.release(k)
            step(home / "indexes" / name, "population", "build", POPULATION, "--k", k, "--index", name, "--seed", k)
            kept = ("--by-folder", "--recognisable", "count", "--withdraw")
            step(out / "manifest.json", "release", photos, "--index", name, "--out", out, *kept)
        for k in example.ks:
            others = [word for other in example.ks if other != k for word in ("--also", str(example.release(other)))]
            step(
                example.page(k),
                "report",
                example.release(k),
                "--originals",
                photos,
                "--out",
                example.page(k),
                *others,
                *example.further,
            )
    finally:
        os.environ.pop(HOME) if before is None else os.environ.update({HOME: before})
        settings.cache_clear()
    return [example.page(k) for k in example.ks]


def _write_who(example: Example, enrolled: int) -> Path:
    """Whose photos are enrolled: those of the first people. Others are strangers."""
    with (example.folder / "people" / TABLE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["identity"] for row in rows})[:enrolled]
    who = example.folder / "enrolled.csv"
    with who.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(("photo", "identity"))
        lines.writerows((row["photo"], row["identity"]) for row in rows if row["identity"] in names)
    return who

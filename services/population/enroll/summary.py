"""What came of an enrolment: lists beside the population, and what is said of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.population.enroll.duplicates import likely_duplicates
from services.population.enroll.finish import Sureness
from services.population.enroll.gone import Gone
from services.population.enroll.reports import BAD, DUPLICATES, write_csv
from services.population.enroll.rows import ENROLLED, STATUSES
from services.population.enroll.store import read_photos
from services.population.people import Population
from services.population.tally import show_bad
from services.text import plain

MOST_PAIRS = 20  # listed on the terminal
GONE = (  # what becomes of photos that are: moved, kept, dropped
    "photos were moved or renamed, and count once, as what they are called now",
    "photos are not in the source any more, and count as before; --gone drop takes them out",
    "photos are not in the source any more, and were taken out",
)
COLUMNS = ("photo", "identity", "status", "reason", "source")  # that the reports need


@dataclass(frozen=True)
class Run:
    """What a command did."""

    source: str
    read: int = 0  # photos, or rows of arrays
    kept: int = 0  # those that were there already
    seconds: float = 0.0
    others: Counter[str] = field(default_factory=Counter)  # pictures of formats that are not read, by suffix
    refused: int = 0  # identities that were removed
    without_latents: str = ""  # why there are none
    estimators: Sequence[str] = ()  # of attributes
    sureness: Sureness | None = None  # of grouping by face
    gone: Gone = field(default_factory=Gone)


@dataclass(frozen=True)
class Pairs:
    """Identities that are likely one person."""

    threshold: float | None  # None: the embedder's is not known, and they were not looked for
    names: np.ndarray  # str [p, 2]
    distances: np.ndarray  # float64 [p]
    photos: np.ndarray  # int64 [p, 2]


def find_pairs(population: Population, threshold: float | None) -> Pairs:
    """Likely duplicates by name, the nearest first."""
    if threshold is None:
        nobody = np.empty((0, 2), np.int64)
        return Pairs(None, nobody.astype(str), np.empty(0), nobody)
    rows, distances = likely_duplicates(population.embeddings, threshold)
    return Pairs(threshold, population.identities[rows], distances, population.photos[rows])


def write_reports(folder: Path, pairs: Pairs) -> None:
    """Writes bad.csv, one line a photo that is not enrolled, and duplicates.csv, one a pair of identities."""
    write_csv(folder / BAD, [COLUMNS, *not_enrolled(read_photos(folder, COLUMNS))])
    lines = zip(pairs.names.tolist(), pairs.distances.tolist(), pairs.photos.tolist(), strict=True)
    header = ("identity", "other", "distance", "photos", "photos_of_other")
    write_csv(folder / DUPLICATES, [header, *((*names, f"{gap:.6f}", *count) for names, gap, count in lines)])


def not_enrolled(photos: pa.Table, source: str | None = None) -> list[tuple[str, ...]]:
    """COLUMNS of each photo that is not enrolled, sorted; of one source, or of all."""
    bad = photos.filter(pc.not_equal(photos["status"], ENROLLED))
    if source is not None:
        bad = bad.filter(pc.equal(bad["source"], source))
    columns = (pc.fill_null(bad[name], "").to_pylist() for name in COLUMNS)
    return sorted(zip(*columns, strict=True))


def summarise(
    folder: Path, population: Population | None, pairs: Pairs | None, run: Run, photos: pa.Table
) -> dict[str, Any]:
    """Everything that is told, as plain values.

    Args:
        photos: columns of `write_reports`, of the population.
        population, pairs: None if nobody is enrolled.
    """
    ours = photos.filter(pc.equal(photos["source"], run.source))
    statuses = Counter(ours["status"].to_pylist())
    listed = not_enrolled(photos, run.source)
    people = set() if population is None else set(population.identities.tolist())
    named = {identity for identity in ours["identity"].to_pylist() if identity}
    return {
        "population": folder.name,
        "folder": str(folder),
        "source": run.source,
        "photos": len(ours),
        "read": run.read,
        "kept": run.kept,
        "seconds": round(run.seconds, 3),
        "photos_per_second": round(run.read / run.seconds, 3) if run.read and run.seconds > 0 else None,
        "statuses": {status: statuses[status] for status in STATUSES},
        "reasons": dict(Counter(reason for _, _, _, reason, _ in listed).most_common()),
        "identities": len(people),
        "identities_without_a_photo": len(named - people),
        "other_formats": dict(sorted(run.others.items())),
        "refused": run.refused,
        "gone": asdict(run.gone),
        "latents": population is not None and population.latents is not None,
        "without_latents": run.without_latents,
        "estimators": list(run.estimators),
        "attributes": {} if population is None else _counts(population),
        "grouping": asdict(run.sureness) if run.sureness else None,
        "duplicates": None if pairs is None or pairs.threshold is None else _told(pairs),
        "files": {name: str(folder / name) for name in (BAD, DUPLICATES)},
    }


def show(told: dict[str, Any], listed: list[tuple[str, ...]], pairs: Pairs | None, console: Console) -> None:
    """What came of it, for people."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    show_bad([(status, photo, reason) for photo, _, status, reason, _ in listed], console)
    counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in told["statuses"].items())
    rate = f" in {told['seconds']:.0f} s" if told["read"] else ""
    say(f"photos {told['photos']} (read now {told['read']}{rate}, there already {told['kept']}): {counts}")
    say(f"identities enrolled {told['identities']}, without any photo of use {told['identities_without_a_photo']}")
    for suffix, count in told["other_formats"].items():
        say(f"{count} {suffix} files are not read; convert them to JPEG, PNG or WebP")
    if told["refused"]:
        say(f"{told['refused']} identities were removed from this population and stay so; --readmit enrols them again")
    for count, text in zip(told["gone"].values(), GONE, strict=True):
        if count:
            say(f"{count} {text}")
    if told["without_latents"]:
        say(f"latents are not known: {told['without_latents']}")
    if told["grouping"]:
        say(_unsure(told["grouping"]))
    if pairs is not None and len(pairs.distances):
        _show_pairs(pairs, told["files"][DUPLICATES], console)


def _unsure(grouping: dict[str, Any]) -> str:
    return (
        f"identities were found by face: {grouping['groups']}, told apart from {grouping['threshold']:.3f} on. "
        f"{grouping['pairs_near']} pairs of them are within a tenth of it, and {grouping['photos_near']} photos "
        "might belong elsewhere: look at them. A person split in two counts twice, and k would not hold for them; two "
        "people in one only look less like themselves. Raise --group-threshold to merge more."
    )


def _show_pairs(pairs: Pairs, file: str, console: Console) -> None:
    table = Table("identity", "other", "distance")
    for names, distance in zip(pairs.names[:MOST_PAIRS].tolist(), pairs.distances.tolist(), strict=False):
        table.add_row(*(plain(escape(name)) for name in names), f"{distance:.3f}")
    console.print(table)
    console.print(
        f"{len(pairs.distances)} pairs of identities are nearer than {pairs.threshold:.3f}: likely one person under "
        f"two names, who would count twice. Look at them, and name them alike or remove one. All are in {file}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _told(pairs: Pairs) -> dict[str, Any]:
    nearest = zip(pairs.names[:MOST_PAIRS].tolist(), pairs.distances[:MOST_PAIRS].tolist(), strict=True)
    return {
        "threshold": pairs.threshold,
        "pairs": len(pairs.distances),
        "nearest": [{"identities": names, "distance": round(distance, 6)} for names, distance in nearest],
    }


def _counts(population: Population) -> dict[str, dict[str, int]]:
    """Identities by attribute and value; "" where it is not known."""
    return {name: dict(sorted(Counter(values.tolist()).items())) for name, values in population.attributes.items()}

"""Lists for the operator, as CSV files beside the shards."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from services.population.enroll.shards import replace_file

BAD, DUPLICATES = "bad.csv", "duplicates.csv"


def write_csv(path: Path, lines: Iterable[Iterable[object]]) -> None:
    """Writes a CSV file that its owner alone can read, whole or not at all."""
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\n").writerows(lines)
    replace_file(path, sink.getvalue().encode())


def strike(folder: Path, identities: set[str]) -> None:
    """Takes lines that name one of some identities out of the lists."""
    for path in (folder / BAD, folder / DUPLICATES):
        if path.exists():
            with path.open(newline="") as source:
                lines = [line for line in csv.reader(source) if not identities & set(line)]
            write_csv(path, lines)

"""Finished cells in a file, so that a sweep that was ended goes on where it was. Figures only, nothing of a person."""

import json
from pathlib import Path
from typing import Any

from services.errors import ReportError
from services.report.sweep.cells import Cell, Outcome, read_outcome

NAME = "cells.jsonl"


class Kept:
    """A line of terms, then a line for each finished cell, in the order in which they were finished."""

    def __init__(self, folder: Path, terms: dict[str, Any]):
        """Opens what is there, or begins.

        Raises:
            ReportError: it was made on other terms, or cannot be read or written; says what to do.
        """
        self.path = folder / NAME
        self.done: dict[Cell, Outcome] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = self._whole_lines()
            if lines:
                self._read(lines, terms)
            else:
                self._append(terms)
        except OSError as refused:
            raise ReportError(f"{self.path} cannot be used: {refused.strerror or refused}") from refused

    def add(self, outcome: Outcome) -> None:
        """Writes a finished cell down."""
        self._append(outcome.as_dict())
        self.done[outcome.cell] = outcome

    def _whole_lines(self) -> list[str]:
        """The lines there are; one that a kill cut off is cut out of the file."""
        if not self.path.is_file():
            return []
        held = self.path.read_bytes()
        whole = held[: held.rfind(b"\n") + 1]
        if whole != held:
            self.path.write_bytes(whole)
        return whole.decode(errors="replace").splitlines()

    def _read(self, lines: list[str], terms: dict[str, Any]) -> None:
        try:
            before, *cells = [json.loads(line) for line in lines]
            if before == json.loads(json.dumps(terms)):
                self.done = {outcome.cell: outcome for outcome in map(read_outcome, cells)}
                return
            other = sorted(name for name in {*before, *terms} if before.get(name) != terms.get(name))
        except (ValueError, KeyError, TypeError, AttributeError) as broken:
            raise ReportError(f"{self.path} is no sweep's; take another --out, or remove the file") from broken
        raise ReportError(
            f"{self.path} was made on other terms ({', '.join(other) or 'order'}); take another --out, the same terms "
            "again, or remove the file to begin anew"
        )

    def _append(self, told: dict[str, Any]) -> None:
        with self.path.open("a") as stream:
            stream.write(json.dumps(told) + "\n")

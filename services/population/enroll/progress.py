"""How far an enrolment is, how fast, and when it will end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.population.enroll.run import Report

EVERY_S = 30.0  # between lines where there is no terminal to draw a bar on


class Pace(ProgressColumn):
    """Photos a second, and the time of day at which the last one will be done."""

    def render(self, task: Task) -> Text:
        return Text(pace(task.speed, task.remaining))


def pace(speed: float | None, remaining: float | None) -> str:
    """The rate, and the estimated end; empty while there is none."""
    if not speed:
        return ""
    end = datetime.now().astimezone() + timedelta(seconds=(remaining or 0) / speed)
    return f"{speed:.1f} photos/s, ends {end:%a %H:%M}"


@contextmanager
def watching(console: Console, total: int, done: int, what: str = "enrolling photos") -> Iterator[Report]:
    """A progress bar over `total` photos of which `done` are done already; lines where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Pace(), TimeRemainingColumn())
    start = last = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=done)
        now_done = done

        def report(count: int) -> None:
            nonlocal now_done, last
            now_done += count
            bar.advance(task, count)
            now = time.monotonic()
            if not console.is_terminal and now - last >= EVERY_S:
                last = now
                told = pace((now_done - done) / (now - start), total - now_done)
                console.print(f"{what} {now_done}/{total}, {told}", soft_wrap=True, highlight=False)

        yield report

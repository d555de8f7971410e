"""Asking again: after growing pauses, spread by chance so that many clients do not come back all at once."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from services.client.failures import Passing

T = TypeVar("T")
ATTEMPTS = 5
FIRST_PAUSE_S = 0.5  # doubles with every attempt
LONGEST_PAUSE_S = 30.0  # a service that asks for more is not waited for
SPREAD = (0.75, 1.25)


@dataclass(frozen=True)
class Retries:
    """How often to ask, and how long to wait in between."""

    attempts: int = ATTEMPTS
    first_pause_s: float = FIRST_PAUSE_S

    def pause_s(self, attempt: int, asked_s: float | None) -> float | None:
        """How long to wait after an attempt (the first is 1) that failed; None: give up.

        Args:
            asked_s: what the service asks for; less is not waited.
        """
        pause = self.first_pause_s * 2 ** (attempt - 1) * random.uniform(*SPREAD)  # noqa: S311 - spread, no secret
        pause = max(pause, asked_s or 0.0)
        return None if attempt >= self.attempts or pause > LONGEST_PAUSE_S else pause


def ask(question: Callable[[], T], retries: Retries, wait: Callable[[float], bool]) -> T:
    """The first answer that is no passing failure.

    Args:
        wait: sleeps so many seconds; True if there is no more time for another try.

    Raises:
        AnonFacesError: what the question raises, or the last passing failure.
    """
    for attempt in count(1):
        try:
            return question()
        except Passing as passing:
            pause = retries.pause_s(attempt, passing.asked_s)
            if pause is None or wait(pause):
                raise passing.failure from None
    raise AssertionError


async def ask_async(
    question: Callable[[], Awaitable[T]], retries: Retries, sleep: Callable[[float], Awaitable[None]]
) -> T:
    """As `ask`."""
    for attempt in count(1):
        try:
            return await question()
        except Passing as passing:
            pause = retries.pause_s(attempt, passing.asked_s)
            if pause is None:
                raise passing.failure from None
            await sleep(pause)
    raise AssertionError

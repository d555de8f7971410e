"""A model server that is away pauses a release; it loses nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.anonymizer.readiness import Readiness
from services.errors import DeadlineExceeded, ModelServerUnavailable

TRIES = 3  # of work in which models failed that answer otherwise
FIRST_S, LONGEST_S = 1.0, 30.0  # pauses between looks, which double

T = TypeVar("T")
Told = Callable[[str], None]


class Gate:
    """Lets photos pass while the models prove themselves; else holds them all until they do again.

    Args:
        patience_s: how long to wait before the run ends; what is done until then is kept.
        told: hears of a pause when it begins, and when it is over.
    """

    def __init__(self, readiness: Readiness, patience_s: float, told: Told):
        self._readiness, self._patience_s, self._told = readiness, patience_s, told
        self._one_waits = asyncio.Lock()
        self.lost = False  # waited for in vain

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of some work, done again where models fail that then prove themselves.

        Raises:
            AnonFacesError: what the work raises; a failure of models the third time, or if they stay away (`lost`).
            IndexRefused: others answer than those of the index.
        """
        for attempt in range(1, TRIES + 1):
            await self.wait()
            try:
                return await work()
            except (ModelServerUnavailable, DeadlineExceeded):
                self._readiness.doubted()
                if attempt == TRIES:
                    raise
        raise AssertionError

    async def wait(self) -> None:
        """Returns when the models are there.

        Raises:
            ModelServerUnavailable, DeadlineExceeded: they were away for longer than the patience.
            IndexRefused: others answer than those of the index.
        """
        async with self._one_waits:
            since, pause = time.monotonic(), FIRST_S
            while True:
                try:
                    await self._readiness.admit()
                    break
                except (ModelServerUnavailable, DeadlineExceeded) as away:
                    waited = time.monotonic() - since
                    self.lost = self.lost or waited + pause > self._patience_s
                    if self.lost:
                        raise
                    if pause == FIRST_S:
                        self._told(f"paused, since the models do not answer ({away}); trying again")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_S)
            if pause > FIRST_S:
                self._told(f"going on after {time.monotonic() - since:.0f} s")

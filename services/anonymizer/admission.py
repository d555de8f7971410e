"""How much is taken on at once: bounded in requests, in bytes held, and in pixels worked on. The rest is turned away.

A request is *held* from before its body is read until its answer is sent. Of those held, so many are *worked on*, first
come, first served; the rest wait, up to a limit of time. Answers that clients are slow to read are held as well: while
there are too many of them, nothing is worked on that would make more.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from services import metrics
from services.anonymizer.threads import noting_threads
from services.errors import Overloaded
from services.settings import Settings

USUAL_S = 0.5  # of one photo, until some were measured
SMOOTHING = 0.1  # weight of the latest photo in the usual time
LONGEST_RETRY_S = 30.0


@dataclass(eq=False)
class _Held:
    """What one request holds, in bytes."""

    body: int
    answers: int = 0  # finished, and not sent yet


@dataclass(eq=False)
class _Turn:
    """One photo that waits or is worked on."""

    pixels: int
    granted: asyncio.Future[None]
    held: _Held | None  # by the request that it is of


_request: ContextVar[_Held | None] = ContextVar("request", default=None)


class Admission:
    """The limits of one process. Use it from one event loop."""

    def __init__(self, settings: Settings):
        self._limits = settings
        self._waiting: deque[_Turn] = deque()
        self._requests = self._bytes = self._answers = self._working = self._pixels = 0
        self._usual_s = USUAL_S

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Room for a request whose body has, or may have, so many bytes; kept until its answer is sent.

        One that is larger than all that may be held is let in alone.

        Raises:
            Overloaded: so many requests, or bytes, are held already.
        """
        s = self._limits
        if self._requests >= s.max_concurrency + s.max_queue:
            raise self._refusal("requests")
        if self._requests and self._bytes + size > s.max_held_bytes:
            raise self._refusal("bytes")
        held = _Held(size)
        self._count(1, size)
        _request.set(held)
        try:
            yield
        finally:
            _request.set(None)  # not reset: a stream may be closed from another context
            self._answers -= held.answers
            self._count(-1, -held.body - held.answers)
            self._next()

    def keep(self, size: int) -> None:
        """Says that the request, within its `hold`, has an answer of so many bytes to send."""
        held = _request.get()
        if held is not None:
            held.answers += size
            self._answers += size
            self._count(0, size)

    def let_go(self, size: int) -> None:
        """Says that an answer is sent, of a request that goes on: a batch, a stream."""
        self.keep(-size)
        self._next()

    @asynccontextmanager
    async def work(self, pixels: int) -> AsyncIterator[None]:
        """A turn to work on a photo of so many pixels: waits for it, in the order of arrival.

        Raises:
            Overloaded: it did not come within `queue_timeout_s`.
        """
        turn = _Turn(pixels, asyncio.get_running_loop().create_future(), _request.get())
        await self._wait(turn)
        start = perf_counter()
        running: set[Future[Any]] = set()
        try:
            with noting_threads() as running:
                yield
            self._usual_s += SMOOTHING * (perf_counter() - start - self._usual_s)
        finally:
            self._give_back_after(running, turn)

    def _refusal(self, why: str) -> Overloaded:
        """The error of a request that is turned away, with the time after which a turn is likely."""
        metrics.TURNED_AWAY.labels(why).inc()
        ahead = len(self._waiting) + self._working
        wait = min(LONGEST_RETRY_S, max(1.0, ahead * self._usual_s / self._limits.max_concurrency))
        return Overloaded(f"the service has all the work that it can hold; try again in {wait:.0f} s", wait)

    async def _wait(self, turn: _Turn) -> None:
        start = perf_counter()
        self._waiting.append(turn)
        self._next()
        try:
            async with asyncio.timeout(self._limits.queue_timeout_s):
                await turn.granted
        except BaseException as ended:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._next()
            elif turn.granted.done() and not turn.granted.cancelled():  # it came, and nobody is there any more
                self._give_back(turn)
            if isinstance(ended, TimeoutError):
                raise self._refusal("waited") from None
            raise
        finally:
            metrics.QUEUE_SECONDS.observe(perf_counter() - start)

    def _next(self) -> None:
        """Turns for those who wait longest, as far as there is room. A large photo is not overtaken by small ones."""
        while self._waiting and (self._waiting[0].granted.done() or self._fits(self._waiting[0])):
            turn = self._waiting.popleft()
            if not turn.granted.done():  # else it was given up meanwhile
                self._working += 1
                self._pixels += turn.pixels
                turn.granted.set_result(None)
        metrics.QUEUE_DEPTH.set(len(self._waiting))
        metrics.PHOTOS_IN_WORK.set(self._working)

    def _fits(self, turn: _Turn) -> bool:
        s = self._limits
        own = turn.held.answers if turn.held else 0  # those are sent by the request itself, once it gets on
        if self._answers > own and self._bytes - own > s.max_held_bytes:
            return False
        if not self._working:
            return True
        return self._working < s.max_concurrency and self._pixels + turn.pixels <= s.max_pixels_in_work

    def _give_back_after(self, running: set[Future[Any]], turn: _Turn) -> None:
        """Gives a turn back when the threads that a request left behind have ended."""
        left = [thread for thread in running.copy() if not thread.done()]  # threads take themselves out as they end
        if not left:
            self._give_back(turn)
            return
        loop, open_threads = asyncio.get_running_loop(), set(left)

        def ended(thread: Future[Any]) -> None:
            open_threads.discard(thread)
            if not open_threads:
                self._give_back(turn)

        for thread in left:
            thread.add_done_callback(lambda done: loop.call_soon_threadsafe(ended, done))

    def _give_back(self, turn: _Turn) -> None:
        self._working -= 1
        self._pixels -= turn.pixels
        self._next()

    def _count(self, requests: int, size: int) -> None:
        self._requests += requests
        self._bytes += size
        metrics.REQUESTS_HELD.set(self._requests)
        metrics.BYTES_HELD.set(self._bytes)

"""Around every call of gRPC, as guard.py is for HTTP: who asks, room for it, how long it may take, what became of it.

On the wire a single request is a stream of one message, and here it is served as one: so nothing of a photo is read
before the caller is known and there is room to read it, and its bytes are counted until the answer has been sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any

import grpc

from services import metrics, tracing
from services.anonymizer.api.access import token_of
from services.anonymizer.api.hang_up import hang_up
from services.anonymizer.api.messages import known, trailing
from services.anonymizer.api.operations import Operations, Read
from services.anonymizer.api.record import record
from services.errors import BadRequest, ClientGone, DeadlineExceeded, Overloaded, PhotoTooLarge, ShuttingDown

log = logging.getLogger("anonfaces")
LAST_WORD_S = 5.0  # to send an error to a client that does not read
SHORTEST_S = 0.001
MARGIN_S = 0.25  # a client's deadline that is so near ends its call, by the client's clock or by ours


class Room:
    """What the calls of one process share: how many messages are read at a time, how many streams there are.

    gRPC does not say how large a message is before it has come. So as many are read at a time as there would be room
    for if all of them were the largest; and there are no more streams than photos that can be worked on.
    """

    def __init__(self, doing: Operations):
        self.doing = doing
        self.leaving = asyncio.Event()  # the service stops: streams end after the frames they have
        self._reading = asyncio.Semaphore(max(1, doing.settings.max_held_bytes // (2 * doing.settings.max_body_bytes)))
        self._streams = 0

    @asynccontextmanager
    async def to_read(self) -> AsyncIterator[None]:
        """A turn to read a message."""
        async with self._reading:
            yield

    @contextmanager
    def for_stream(self) -> Iterator[None]:
        """Raises Overloaded if there are too many streams already."""
        if self._streams >= self.doing.settings.max_concurrency:
            metrics.TURNED_AWAY.labels("requests").inc()
            raise Overloaded("there are as many streams as are served at a time; try again later")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1


class NotRead(DeadlineExceeded):
    """The client does not read its answer, and could not be told so either."""

    def __init__(self, ends: bool):
        super().__init__("the answer was not read in time")
        self.ends = ends  # by itself, at the client's own deadline


class Call:
    """One call that was let in."""

    def __init__(self, room: Room, requests: AsyncIterator[Any], context: Any):
        self.room, self.doing = room, room.doing
        self._requests, self._context = requests, context

    @property
    def limit_s(self) -> float:
        """How long the next photo may take: by the settings, and by the caller's deadline."""
        left = self._context.time_remaining()
        most = self.doing.settings.request_timeout_s
        return most if left is None else max(SHORTEST_S, min(most, left))

    async def only(self) -> Any:
        """The one message of a call that has one. Raises BadRequest, DeadlineExceeded."""
        try:
            async with asyncio.timeout(self.limit_s), self.room.to_read():
                return await anext(self._requests)
        except StopAsyncIteration:
            raise BadRequest("the call holds no request") from None
        except TimeoutError:
            raise DeadlineExceeded("the request did not come in time; try again") from None

    async def following(self) -> Any | None:
        """The next message of a stream; None: there are no more.

        Raises:
            DeadlineExceeded: it did not come.
            ShuttingDown: no more are served.
        """
        coming = asyncio.ensure_future(anext(self._requests, None))
        leaving = asyncio.ensure_future(self.room.leaving.wait())
        try:
            await asyncio.wait({coming, leaving}, timeout=self.limit_s, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
        finally:
            coming.cancel()
            leaving.cancel()
        if self.room.leaving.is_set():
            raise ShuttingDown("the service stops; send what has no answer to another one")
        raise DeadlineExceeded("the next frame did not come in time; open a stream when there are frames to send")

    async def send(self, answer: Any) -> None:
        """Sends an answer, and waits until the network has it.

        Raises:
            NotRead: the client does not read it: what is held for it would be held for ever.
            ClientGone: it went away meanwhile.
        """
        left, most = self._context.time_remaining(), self.doing.settings.request_timeout_s
        try:
            async with asyncio.timeout(self.limit_s):
                await self._context.write(answer)
        except TimeoutError:
            raise NotRead(ends=left is not None and left < most + MARGIN_S) from None
        except grpc.aio.InternalError:
            raise ClientGone("the client went away before its answer was sent") from None

    def photo(self, data: bytes) -> Read:
        """A photo that has come already, for operations to read."""

        async def read() -> bytes:
            limit = self.doing.settings.max_body_bytes
            if len(data) > limit:
                raise PhotoTooLarge(f"the photo is larger than {limit:,} bytes, the most that is accepted")
            return data

        return read


Work = Callable[[Call], Awaitable[None]]
Serve = Callable[[AsyncIterator[Any], Any], Awaitable[None]]


def guarded(endpoint: str, work: Work, room: Room) -> Serve:
    """What gRPC runs for a call of an endpoint.

    Args:
        endpoint: as in the metrics.
        work: reads the call's messages and sends the answers; what it raises becomes the status of the call.
    """

    async def serve(requests: AsyncIterator[Any], context: Any) -> None:
        outcome, start, refusal = "ok", perf_counter(), None
        headers = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            with tracing.span(endpoint, headers, protocol="grpc"):
                room.doing.access.admit(token_of(headers), endpoint)
                await work(Call(room, requests, context))
        except (asyncio.CancelledError, grpc.RpcError):  # the client has gone
            outcome = _ended(context)
            raise
        except (NotRead, ClientGone) as gone:  # nobody can be told, and gRPC takes it as if we had been cancelled
            outcome = _ended(context)
            if isinstance(gone, NotRead) and not gone.ends:
                await _give_up(context, room.doing.settings.grpc_port)
            raise asyncio.CancelledError from None
        except Exception as error:
            outcome, refusal = _refusal(error, endpoint)
        finally:
            record("grpc", endpoint, outcome, start)
        if refusal:  # only now: the error holds the photo, by its traceback
            async with asyncio.timeout(LAST_WORD_S):
                await context.abort(*refusal)

    return serve


def _ended(context: Any) -> str:
    """What became of a call that ended without its client: its time was over, or the client did not wait for that."""
    left = context.time_remaining()
    return ClientGone.code if left is None or left > MARGIN_S else DeadlineExceeded.code


async def _give_up(context: Any, port: int) -> None:
    """Ends a call that would keep its answer for as long as the client keeps the connection."""
    try:
        if not await asyncio.to_thread(hang_up, context.peer(), port):
            log.warning("a client of gRPC does not read its answer, and its connection was not found")
    except asyncio.CancelledError:  # it has ended, and this call with it
        pass


def _refusal(error: Exception, endpoint: str) -> tuple[str, tuple[Any, ...]]:
    """The code of an error, and its status, text and metadata. Nothing of it refers to the error itself."""
    told = known(error, endpoint)
    return told.code, (told.grpc_status, str(told), trailing(told))

"""The client for event loops: the methods of `Client`, awaited."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any, TypeVar, Unpack

from services.client import calls, retry
from services.client.blocking import ANSWER_S, another_service
from services.client.calls import Call, Choices, Named, SurrogateChoices
from services.client.place import DEFAULT_URL, File, Place
from services.client.results import Item, Picture, Result
from services.client.retry import FIRST_PAUSE_S, Retries
from services.client.wires import AsyncHttpWire, AsyncRpcWire, AsyncWire
from services.errors import AnonFacesError

T = TypeVar("T")


class AsyncClient:
    """Talks to one service; arguments, methods and errors are those of `Client`. Use it in one event loop.

    A call whose task is cancelled ends the work that the service does for it.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        ca: File = None,
        certificate: File = None,
        key: File = None,
        timeout_s: float = ANSWER_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ):
        place = Place.of(url, api_key, ca, certificate, key)
        self.url, self.first_pause_s = place.shown, first_pause_s
        self._wire: AsyncWire = AsyncRpcWire(place, timeout_s) if place.is_rpc else AsyncHttpWire(place, timeout_s)

    async def anonymize(self, data: bytes, **choices: Unpack[Choices]) -> Result:
        """As `Client.anonymize`."""
        return await self._ask(calls.anonymize(data, choices))

    async def anonymize_batch(self, photos: Sequence[Named], **choices: Unpack[Choices]) -> list[Item]:
        """As `Client.anonymize_batch`."""
        return await self._ask(calls.batch(photos, choices)) if photos else []

    async def anonymize_stream(self, frames: AsyncIterable[Named], **choices: Unpack[Choices]) -> AsyncIterator[Item]:
        """As `Client.anonymize_stream`; the frames are taken in this event loop."""
        messages = calls.frames_async(frames, calls.options_of(choices))
        async for answer in self._wire.stream(messages):
            yield calls.item(answer)

    async def inspect(self, data: bytes) -> dict[str, Any]:
        """As `Client.inspect`."""
        return await self._ask(calls.inspect(data))

    async def surrogate(self, crowd: int, **choices: Unpack[SurrogateChoices]) -> Picture:
        """As `Client.surrogate`."""
        return await self._ask(calls.surrogate(crowd, choices))

    async def index(self) -> dict[str, Any]:
        """As `Client.index`."""
        return await self._ask(calls.index())

    async def require(self) -> None:
        """As `Client.require`."""
        try:
            await self._ask(calls.require())
        except AnonFacesError as other:
            raise another_service(self.url, other) from None

    async def close(self) -> None:
        await self._wire.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _ask(self, call: Call[T]) -> T:
        retries = Retries(call.attempts, self.first_pause_s)
        return await retry.ask_async(lambda: self._wire.ask(call), retries, asyncio.sleep)

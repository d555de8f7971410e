"""The four clients as one, so that a test says once what holds for all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from services.client import AsyncClient, Client, Item
from services.client.calls import Named

KINDS = ("http", "grpc", "http, awaited", "grpc, awaited")


class Awaited:
    """An AsyncClient that is called as a Client is."""

    def __init__(self, url: str, **arguments: Any):
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._made(url, arguments))

    async def _made(self, url: str, arguments: dict[str, Any]) -> AsyncClient:
        return AsyncClient(url, **arguments)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._runner.run(getattr(self._client, name)(*args, **kwargs))

    def anonymize_stream(self, frames: Iterable[Named], **choices: Any) -> list[Item]:
        async def coming() -> AsyncIterator[Named]:
            for frame in frames:
                yield frame

        async def all_of_them() -> list[Item]:
            return [item async for item in self._client.anonymize_stream(coming(), **choices)]

        return self._runner.run(all_of_them())

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


def client_of(kind: str, http_url: str, grpc_url: str, **arguments: Any) -> Any:
    """A client of a kind. Close it."""
    url = http_url if kind.startswith("http") else grpc_url
    return Awaited(url, **arguments) if kind.endswith("awaited") else Client(url, **arguments)

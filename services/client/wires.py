"""A question through a connection: HTTP and gRPC, each blocking and not. Each asks once; retry.py asks again."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import grpc
import httpx

from services.client.calls import Call
from services.client.failures import final, not_that, of_httpx, of_response, of_rpc
from services.client.place import Place
from services.errors import ConfigurationError
from services.proto.anonfaces_v1_pb2_grpc import AnonymizerStub

T = TypeVar("T")
NO_STREAM = "a stream of frames needs gRPC; give a URL of grpc:// or grpcs://, or send a batch"


class Wire(Protocol):
    """A connection that blocks. `ask` and `stream` raise AnonFacesError; `ask` raises Passing as well."""

    def ask(self, call: Call[T]) -> T: ...
    def stream(self, frames: Iterable[Any]) -> Iterator[Any]: ...
    def close(self) -> None: ...


class AsyncWire(Protocol):
    """The same for event loops."""

    async def ask(self, call: Call[T]) -> T: ...
    def stream(self, frames: AsyncIterable[Any]) -> AsyncIterator[Any]: ...
    async def close(self) -> None: ...


def _read(url: str, what: str, read: Callable[[Any], T], answer: Any) -> T:
    """What an answer holds. Raises AnonFacesError if it is not what was asked for."""
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise not_that(url, what) from None


def _request(call: Call[Any]) -> dict[str, Any]:
    """The arguments of httpx's request()."""
    request = call.request()
    return request if call.timeout_s is None else {**request, "timeout": call.timeout_s}


def _of(place: Place, call: Call[T], response: httpx.Response) -> T:
    if response.status_code != httpx.codes.OK:
        raise of_response(place.shown, response)
    return _read(place.shown, call.what, call.read, response)


class HttpWire:
    """HTTP, blocking. Redirects are not followed, so that photos go to no address but this one."""

    def __init__(self, place: Place, timeout_s: float):
        self._place, self._http = place, httpx.Client(**place.for_httpx(timeout_s))

    def ask(self, call: Call[T]) -> T:
        try:
            response = self._http.request(**_request(call))
        except httpx.HTTPError as error:
            raise of_httpx(self._place.shown, error) from None
        return _of(self._place, call, response)

    def stream(self, frames: Iterable[Any]) -> Iterator[Any]:
        raise ConfigurationError(NO_STREAM)

    def close(self) -> None:
        self._http.close()


class AsyncHttpWire:
    """HTTP, in an event loop."""

    def __init__(self, place: Place, timeout_s: float):
        self._place, self._http = place, httpx.AsyncClient(**place.for_httpx(timeout_s))

    async def ask(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**_request(call))
        except httpx.HTTPError as error:
            raise of_httpx(self._place.shown, error) from None
        return _of(self._place, call, response)

    def stream(self, frames: AsyncIterable[Any]) -> AsyncIterator[Any]:
        raise ConfigurationError(NO_STREAM)

    async def close(self) -> None:
        await self._http.aclose()


class RpcWire:
    """gRPC, blocking."""

    def __init__(self, place: Place, timeout_s: float):
        self._place, self._timeout_s = place, timeout_s
        self._channel = place.channel(grpc)
        self._stub, self._metadata = AnonymizerStub(self._channel), tuple(place.headers.items())

    def ask(self, call: Call[T]) -> T:
        ask, message = getattr(self._stub, call.method), call.message()
        try:
            answer = ask(message, timeout=call.timeout_s or self._timeout_s * call.times, metadata=self._metadata)
            answer = list(answer) if isinstance(message, Iterator) else answer
        except grpc.RpcError as error:
            raise of_rpc(self._place.shown, error) from None
        return _read(self._place.shown, call.what, call.unpack, answer)

    def stream(self, frames: Iterable[Any]) -> Iterator[Any]:
        """The answers to frames, in their order. What `frames` raises is raised here."""
        broken: list[BaseException] = []

        def noting() -> Iterator[Any]:  # gRPC takes the frames in a thread of its own, and keeps to itself what fails
            try:
                yield from frames
            except Exception as error:
                broken.append(error)
                raise

        answers = self._stub.AnonymizeStream(noting(), metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise (broken[0] if broken else final(of_rpc(self._place.shown, error))) from None
        finally:
            answers.cancel()

    def close(self) -> None:
        self._channel.close()


class AsyncRpcWire:
    """gRPC, in an event loop: the one in which the first question is asked."""

    def __init__(self, place: Place, timeout_s: float):
        self._place, self._timeout_s = place, timeout_s
        self._channel: Any = None
        self._metadata = tuple(place.headers.items())

    @property
    def _stub(self) -> Any:
        self._channel = self._channel or self._place.channel(grpc.aio)
        return AnonymizerStub(self._channel)

    async def ask(self, call: Call[T]) -> T:
        ask, message = getattr(self._stub, call.method), call.message()
        try:
            answer = ask(message, timeout=call.timeout_s or self._timeout_s * call.times, metadata=self._metadata)
            answer = [one async for one in answer] if isinstance(message, Iterator) else await answer
        except grpc.RpcError as error:
            raise of_rpc(self._place.shown, error) from None
        return _read(self._place.shown, call.what, call.unpack, answer)

    async def stream(self, frames: AsyncIterable[Any]) -> AsyncIterator[Any]:
        """The answers to frames, in their order. What `frames` raises is raised here."""
        broken: list[BaseException] = []

        async def noting() -> AsyncIterator[Any]:
            try:
                async for frame in frames:
                    yield frame
            except Exception as error:
                broken.append(error)
                answers.cancel()
                raise

        answers = self._stub.AnonymizeStream(noting(), metadata=self._metadata)
        try:
            async for answer in answers:
                yield answer
        except asyncio.CancelledError:
            if broken:
                raise broken[0] from None
            raise
        except grpc.RpcError as error:
            raise final(of_rpc(self._place.shown, error)) from None
        finally:
            answers.cancel()

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

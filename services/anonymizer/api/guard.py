"""In front of every HTTP request: what is public, room for it, how long it may take, and what became of it.

BentoML serves more than the API: its stock page loads third-party scripts, and its own metrics have a series for every
path anybody asks for. None of that is public.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import metrics, tracing
from services.anonymizer.api.access import token_of
from services.anonymizer.api.bodies import declared_size
from services.anonymizer.api.operations import Operations
from services.anonymizer.api.record import record
from services.anonymizer.api.replies import error_reply, reply
from services.anonymizer.api.wire import HEADERS
from services.errors import AnonFacesError, NotFound

HEALTH = {"/livez": "livez", "/readyz": "readyz", "/healthz": "healthz"}
METRICS = "/metrics"
OUTCOME = "anonfaces.outcome"  # in the scope: a list, so that handlers can tell what became of a request
UNBOUNDED = {"index", "openapi"}  # small and quick: they are answered even where there is no room
REPLACED = {*HEADERS, b"server"}


class Guard:
    """An ASGI middleware around the whole service.

    Args:
        endpoint_of: (method, path) -> name of the endpoint, None where there is none.
        operations: of the running service; asked for with every request.
    """

    def __init__(
        self, app: ASGIApp, endpoint_of: Callable[[str, str], str | None], operations: Callable[[], Operations]
    ):
        self._app, self._endpoint_of, self._operations = app, endpoint_of, operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = scope.get("method") in ("GET", "HEAD")
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in HEALTH and reading:
            await self._app(scope, receive, _with_headers(send))
        elif scope["path"] == METRICS and reading:
            await self._show_metrics(scope, receive, _with_headers(send))
        else:
            await self._serve(scope, receive, _with_headers(send))

    async def _show_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._let_in("metrics", scope)
        except AnonFacesError as error:
            await error_reply(error)(scope, receive, send)
            return
        text = await asyncio.to_thread(metrics.exposition)
        await reply(text, metrics.CONTENT_TYPE)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoint_of(scope["method"], scope["path"])
        outcome: list[str] = []
        start = perf_counter()
        try:
            with ExitStack() as room:
                try:
                    if endpoint is None:
                        raise NotFound("no such path; see /v1/openapi.json")
                    self._let_in(endpoint, scope)
                    self._admit(endpoint, scope, room)
                except AnonFacesError as error:
                    outcome.append(error.code)
                    await error_reply(error)(scope, receive, send)
                    return
                limit = self._operations().settings.request_timeout_s
                carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                with tracing.span(endpoint or "none", carried, protocol="http"):
                    await self._app({**scope, OUTCOME: outcome}, receive, _in_time(send, limit))
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise
        except TimeoutError:  # of a client that does not read; the server closes what was not finished
            outcome[:] = ["cancelled"]  # the framework took it for an error of its own
        finally:
            record("http", endpoint or "none", outcome[0] if outcome else "ok", start)

    def _let_in(self, endpoint: str, scope: Scope) -> None:
        """Who asks. Raises Unauthenticated, Forbidden, RateLimited."""
        access = self._operations().access
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        access.check_place(str((scope.get("server") or ("", 0))[0]), headers.get("host", ""))
        access.admit(token_of(headers), endpoint)

    def _admit(self, endpoint: str, scope: Scope, room: ExitStack) -> None:
        """Room for a request and its body. Raises Overloaded."""
        operations = self._operations()
        s = operations.settings
        limit = {"anonymize_batch": s.max_batch_bytes, "anonymize": s.max_body_bytes, "inspect": s.max_body_bytes}
        size = declared_size(dict(scope["headers"]), limit.get(endpoint, 0)) if endpoint in limit else 0
        if endpoint in UNBOUNDED:
            return
        if size <= limit.get(endpoint, 0):  # else it is refused before it is read
            room.enter_context(operations.admission.hold(size))


def _with_headers(send: Send) -> Send:
    """Adds what a browser must not do with an answer; takes away what says which server it is."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in REPLACED]
            message = {**message, "headers": [*kept, *HEADERS.items()]}
        await send(message)

    return sending


def _in_time(send: Send, limit: float) -> Send:
    """Gives a client up that keeps us waiting, in all, for longer than `limit` seconds while we send."""
    left = limit

    async def sending(message: Message) -> None:
        nonlocal left
        start = perf_counter()
        async with asyncio.timeout(left):
            await send(message)
        left -= perf_counter() - start

    return sending

"""The bytes of HTTP before they are a request: bounded in size and time, which uvicorn leaves open.

A client could otherwise send headers without end, or none at all, and hold memory and connections for as long as it
likes, before anybody has asked it for a key.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.anonymizer.api.answers import Error
from services.errors import BadRequest

MOST_HEAD_BYTES = 64 * 1024  # of the request line and the headers; one read from the network may add its own length
HEAD_S = 20.0  # for the request line and the headers to come
HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
REGISTERED = f"{__name__}:BoundedHttp"


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which gives up clients whose heads are too long or too slow, and answers as the API does."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._head_bytes: int | None = 0  # received of the head that is coming; None: it has come
        self._ended = False  # has a request ended in the piece that is read: what follows it there is not counted
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None and self._late is None:  # the next request of a connection that was kept
            self._late = self.loop.call_later(HEAD_S, self._give_up)
        self._ended = False
        super().data_received(data)
        if self._head_bytes is not None and not self._ended and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response("the request's headers are too long")

    def on_headers_complete(self) -> None:
        """Raises ValueError, which becomes a 400, if it is not clear which host is asked for (RFC 9112, 3.2)."""
        self._on_time()
        self._head_bytes = None
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            raise ValueError("not exactly one Host")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes, self._ended = 0, True

    def _should_upgrade_to_ws(self) -> bool:
        return False  # there is none here: a request to upgrade is served as if it had not asked

    def _unsupported_upgrade_warning(self) -> None:
        pass

    def send_400_response(self, msg: str) -> None:
        """What is no request gets the same kind of error, with the same headers, as one that is."""
        body = json.dumps(Error(error=BadRequest.code, message=msg.lower().rstrip(".")).model_dump()).encode()
        fields = {
            **HEADERS,
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(body),
            b"connection": b"close",
        }
        head = b"".join(b"%s: %s\r\n" % field for field in fields.items())
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + body)
        self.transport.close()

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._head_bytes is not None and not self.transport.is_closing():
            self.transport.close()

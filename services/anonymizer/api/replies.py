"""Errors as HTTP: one line of JSON, the same for all of them."""

from math import ceil

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from services.anonymizer.api.answers import Error
from services.errors import AnonFacesError, Overloaded, Unauthenticated

PIECE = 256 * 1024


class Pieces(Response):
    """A large answer, sent as fast as the client reads it.

    In one piece it would be handed to the connection's buffer, and stay there for as long as a client likes.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PIECE):
            await send({"type": "http.response.body", "body": self.body[start : start + PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def reply(content: bytes, media_type: str) -> Response:
    """An answer that is no JSON."""
    return Response(content, media_type=media_type)


def error_reply(error: AnonFacesError) -> JSONResponse:
    """An error as the client sees it, with what it needs to try again."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(ceil(error.retry_after_s))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    body = Error(error=error.code, message=str(error))
    return JSONResponse(body.model_dump(), error.http_status, headers=headers)

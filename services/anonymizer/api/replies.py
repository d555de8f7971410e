"""Errors as HTTP: one line of JSON, the same for all of them."""

from math import ceil

from starlette.responses import JSONResponse, Response

from services.anonymizer.api.answers import Error
from services.errors import AnonFacesError, Overloaded, Unauthenticated


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

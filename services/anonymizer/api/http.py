"""The HTTP interface, version 1: options from the query, photos from the body, every error as one line of JSON."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import bentoml
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from services.anonymizer.api.answers import Batch, Error, Finished, IndexAnswer, Inspection, Served
from services.anonymizer.api.batch import batch_document
from services.anonymizer.api.bodies import read_photo, read_photos
from services.anonymizer.api.guard import OUTCOME
from services.anonymizer.api.operations import Operations, Read
from services.anonymizer.api.replies import Pieces, error_reply
from services.anonymizer.encode import MEDIA_TYPES
from services.anonymizer.options import Options, SurrogateOptions, first_of
from services.errors import AnonFacesError, BadRequest, ClientGone, NotFound

T = TypeVar("T")


def operations() -> Operations:
    """Those of the service in this process."""
    return bentoml.get_current_service().operations  # type: ignore[no-any-return]


Doing = Annotated[Operations, Depends(operations)]
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "the request: an option that is unknown, or laxer than allowed"},
    401: {"model": Error, "description": "no API key, or one that is not known"},
    403: {"model": Error, "description": "the API key does not allow this"},
    413: {"model": Error, "description": "more bytes or pixels than accepted"},
    415: {"model": Error, "description": "not an image that is accepted"},
    422: {"model": Error, "description": "a photo that cannot be served, or that a policy refuses"},
    429: {"model": Error, "description": "busy, or asked too often; try again after `Retry-After` seconds"},
    500: {"model": Error, "description": "an internal error"},
    503: {"model": Error, "description": "the models do not answer"},
    504: {"model": Error, "description": "not finished in time"},
}
PHOTO_FILE = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()}
PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **PHOTO_FILE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {"photo": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {
                        "photo": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}

api = FastAPI(
    title="AnonFACES",
    version="1",
    summary="Replaces the faces in photos by synthetic faces that each stand for at least k people.",
    docs_url=None,  # the stock pages load foreign scripts
    redoc_url=None,
    servers=[{"url": "/v1"}],
    responses=ERRORS,
)


def _headers(answer: Served) -> dict[str, str]:
    """The fields of an answer whose body is a picture; those without a value are left out."""
    fields = answer.model_dump(exclude={"media_type"}, exclude_none=True)
    return {f"X-AnonFACES-{name.replace('_', '-').title()}": str(value) for name, value in fields.items()}


HEADER_DOCS = {
    f"X-AnonFACES-{name.replace('_', '-').title()}": {
        "description": field.description or "",
        "schema": {"type": "integer" if field.annotation in (int, int | None) else "string"},
    }
    for name, field in Finished.model_fields.items()
    if name != "media_type"
}


@api.post(
    "/anonymize",
    operation_id="anonymize",
    response_class=Response,
    responses={200: {"content": PHOTO_FILE, "headers": HEADER_DOCS, "description": "the photo, its faces replaced"}},
    openapi_extra=PHOTO_BODY,
)
async def anonymize(request: Request, doing: Doing, options: Annotated[Options, Query()]) -> Response:
    """Returns the photo with every face replaced by the surrogate of a crowd of at least k people.

    Headers count the faces: `X-AnonFACES-Faces` = `-Enrolled` + `-Strangers` + `-Masked`. `X-AnonFACES-Resolution` is
    `enrolled-first` where enrolled people are recognised: `X-AnonFACES-K` then holds for the faces that `-Enrolled`
    counts, and for no others. It is `nearest-only` where the enrolment map is not loaded: every face is then a
    stranger's, by policy as well, and no k is claimed.
    """
    photo = await _while_connected(request, doing.anonymize(_reading(request, doing), options))
    return Pieces(photo.data, media_type=photo.finished.media_type, headers=_headers(photo.finished))


@api.post("/anonymize:batch", operation_id="anonymize_batch", response_model=Batch, openapi_extra=BATCH_BODY)
async def anonymize_batch(request: Request, doing: Doing, options: Annotated[Options, Query()]) -> StreamingResponse:
    """Many photos, each finished or refused by itself. The answer is written as photos are finished, in their order."""
    s = doing.settings
    doing.check(options)
    async with doing.within():
        uploads = await read_photos(request, s.max_batch_bytes, s.max_batch_photos)
    return StreamingResponse(batch_document(doing, uploads, options), media_type="application/json")


@api.post("/inspect", operation_id="inspect", response_model=Inspection, openapi_extra=PHOTO_BODY)
async def inspect(request: Request, doing: Doing) -> JSONResponse:
    """What `anonymize` sees in a photo: boxes, landmarks, scores, crowds and distances; no embedding, no identity.

    `k` holds for the faces whose `enrolled` is true. `enrolled` and `k` are null where the enrolment map is not loaded
    (`resolution` is then `nearest-only`): nobody can be recognised, and no k is claimed.
    """
    seen = await _while_connected(request, doing.inspect(_reading(request, doing)))
    return JSONResponse(seen.model_dump(mode="json"))


@api.get(
    "/surrogates/{crowd}",
    operation_id="surrogate",
    response_class=Response,
    responses={200: {"content": PHOTO_FILE, "description": "the crowd's face"}, 404: {"model": Error}},
)
async def surrogate(
    request: Request, doing: Doing, crowd: int, options: Annotated[SurrogateOptions, Query()]
) -> Response:
    """The face of a crowd, by its number in the index that is served; PNG if no format is chosen."""
    picture = await _while_connected(request, doing.surrogate(crowd, options))
    served = Served.model_validate(picture.index.model_dump(include=set(Served.model_fields)))
    return Pieces(picture.data, media_type=MEDIA_TYPES[picture.format], headers=_headers(served))


@api.get("/index", operation_id="index", response_model=IndexAnswer)
async def index(doing: Doing) -> JSONResponse:
    """The cluster index that is served: its version, k, number of crowds, and the models it was made with."""
    return JSONResponse(doing.index().model_dump(mode="json"))


def _reading(request: Request, doing: Operations) -> Read:
    """What reads the photo of a request, and says when it is there."""

    async def read() -> bytes:
        photo = await read_photo(request, doing.settings.max_body_bytes)
        request.state.read = True
        return photo

    return read


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled if the client goes away meanwhile.

    Raises:
        ClientGone: it went away.
    """
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            # While the body comes, its reader sees the client go; to look here would take a piece of it away.
            there = request.method == "POST" and not getattr(request.state, "read", False)
            if not task.done() and not there and await request.is_disconnected():
                raise ClientGone("the client went away before the photo was finished")
        return task.result()
    finally:
        task.cancel()


LOOK_S = 0.25  # how often to look whether a client is still there


SURROGATE_PATH = re.compile(r"/v1/surrogates/[^/\s]+")  # the router does not look beyond a line's end


def endpoint_of(method: str, path: str) -> str | None:
    """The name of the endpoint that a path of the whole service belongs to, whatever the method; None: none."""
    if path == "/v1/openapi.json":
        return "openapi"
    if SURROGATE_PATH.fullmatch(path):
        return "surrogate"
    return {
        "/v1/anonymize": "anonymize",
        "/v1/anonymize:batch": "anonymize_batch",
        "/v1/inspect": "inspect",
        "/v1/index": "index",
    }.get(path)


def _told(request: Request, error: AnonFacesError) -> JSONResponse:
    request.scope.get(OUTCOME, []).append(error.code)
    return error_reply(error)


@api.exception_handler(AnonFacesError)
async def _known_error(request: Request, error: AnonFacesError) -> JSONResponse:
    return _told(request, error)


@api.exception_handler(RequestValidationError)
async def _bad_option(request: Request, error: RequestValidationError) -> JSONResponse:
    return _told(request, BadRequest(first_of(error.errors())))


@api.exception_handler(HTTPException)
async def _no_such_thing(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == 404:
        return _told(request, NotFound(str(error.detail)))
    answer = _told(request, BadRequest(str(error.detail)))
    answer.status_code = error.status_code
    answer.headers.update(error.headers or {})
    return answer


@api.exception_handler(Exception)
async def _unknown_error(request: Request, error: Exception) -> JSONResponse:
    return _told(request, AnonFacesError("an internal error; nothing of the photo was kept or returned"))

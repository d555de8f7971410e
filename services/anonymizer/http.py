"""The HTTP interface: what comes in, what goes out, and every error as one line of JSON."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any, Protocol, TypeVar

import bentoml
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services import metrics
from services.anonymizer.decode import ACCEPTED, PhotoFormat
from services.anonymizer.encode import MEDIA_TYPES
from services.anonymizer.pipeline import Options, Pipeline, Seen
from services.errors import (
    AnonFacesError,
    BadRequest,
    DeadlineExceeded,
    ModelServerUnavailable,
    PhotoTooLarge,
    UnsupportedMediaType,
)
from services.settings import NoFacePolicy, Settings, StrangerPolicy

HEALTH = {"/livez", "/readyz", "/healthz"}
BODY_TYPES = {"", "application/octet-stream", "image/jpeg", "image/jpg", "image/png", "image/webp"}
T = TypeVar("T")


class Serving(Protocol):
    """What the interface needs of the running service."""

    settings: Settings
    slots: asyncio.Semaphore

    @property
    def pipeline(self) -> Pipeline: ...


def _serving() -> Serving:
    return bentoml.get_current_service()  # type: ignore[no-any-return]


Service = Annotated[Serving, Depends(_serving)]
api = FastAPI(
    title="AnonFACES", version="1", docs_url=None, redoc_url=None, servers=[{"url": "/v1"}]
)  # the stock pages load foreign scripts


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks, up to the limit."""
    declared = request.headers.get("content-length", "")
    received = int(declared) if declared.isdigit() else 0
    too_large = PhotoTooLarge(f"the body is larger than {limit:,} bytes, the most that is accepted")
    if received > limit:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk


async def read_photo(request: Request, limit: int) -> bytes:
    """The photo's bytes: the body itself, or the one file of a multipart form. Never spooled to disk.

    Raises:
        UnsupportedMediaType: the content type is none of those.
        PhotoTooLarge: more than `limit` bytes.
        BadRequest: a form that cannot be read, or without exactly one file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, limit)
    if kind not in BODY_TYPES:
        raise UnsupportedMediaType(f"content type {kind[:60]!r} is not accepted; {ACCEPTED}, as body or multipart file")
    return b"".join([chunk async for chunk in _bounded(request, limit)])


async def _read_form(request: Request, limit: int) -> bytes:
    parser = MultiPartParser(request.headers, _bounded(request, limit), max_files=1, max_fields=16)
    parser.spool_max_size = limit + 1  # in memory: a photo on disk would outlive its request
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as broken:
        raise BadRequest(f"the multipart form cannot be read: {getattr(broken, 'message', broken)}") from None
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise BadRequest(f"the form holds {len(files)} files; send exactly one photo")
        return await files[0].read()
    finally:
        await form.close()


async def _work(
    service: Serving, endpoint: str, request: Request, photo: Callable[[Pipeline, bytes], Awaitable[T]]
) -> tuple[Pipeline, T]:
    """Reads one photo and works on it, within its time; a slot is held while it is worked on, not while it uploads.

    Returns:
        The pipeline that the photo went through, of one version of the index, and what came of it.
    """
    outcome = "internal"
    try:
        async with asyncio.timeout(service.settings.request_timeout_s):
            data = await read_photo(request, service.settings.max_body_bytes)
            async with service.slots:
                metrics.PHOTOS_IN_WORK.inc()
                try:
                    pipeline = service.pipeline  # kept to the end, whichever version is served by then
                    await pipeline.readiness.admit()
                    result = await photo(pipeline, data)
                finally:
                    metrics.PHOTOS_IN_WORK.dec()
        outcome = "ok"
        return pipeline, result
    except TimeoutError:
        outcome = DeadlineExceeded.code
        limit = service.settings.request_timeout_s
        raise DeadlineExceeded(f"the photo was not finished within {limit:g} s; try again later") from None
    except AnonFacesError as error:
        outcome = error.code
        if isinstance(error, ModelServerUnavailable | DeadlineExceeded):
            service.pipeline.readiness.doubted()
        raise
    except (asyncio.CancelledError, ClientDisconnect):
        outcome = "cancelled"
        raise
    finally:
        metrics.REQUESTS.labels(endpoint, outcome).inc()


def _allowed(service: Serving, name: str, asked: T | None, laxest_first: tuple[T, ...]) -> T | None:
    """A policy as the request may choose it.

    Raises:
        BadRequest: it is laxer than the service's, and the operator has not allowed that.
    """
    policy = getattr(service.settings, name)
    if asked is None or service.settings.may_relax or laxest_first.index(asked) >= laxest_first.index(policy):
        return asked
    raise BadRequest(
        f"{name}={asked} is laxer than this service's policy, {policy}; its operator can allow that "
        "(ANONFACES_MAY_RELAX) or change the policy"
    )


def _index_headers(pipeline: Pipeline) -> dict[str, str]:
    """What served, and how. Where nobody can be recognised there is no k: a number there would be read as a claim."""
    index, resolution = pipeline.index, pipeline.look_up.resolution
    return {
        "X-AnonFACES-Resolution": resolution,
        "X-AnonFACES-Index-Version": index.version,
        "Cache-Control": "no-store",
        **({"X-AnonFACES-K": str(index.k)} if resolution == "enrolled-first" else {}),
    }


@api.post(
    "/anonymize",
    responses={200: {"content": {media: {} for media in MEDIA_TYPES.values()}}},
    response_class=Response,
    openapi_extra={"requestBody": {"required": True, "content": {media: {} for media in MEDIA_TYPES.values()}}},
)
async def anonymize(
    request: Request,
    service: Service,
    format: Annotated[PhotoFormat | None, Query(description="output format; the photo's own if not given")] = None,
    no_face: Annotated[NoFacePolicy | None, Query(description="what to do with a photo without faces")] = None,
    stranger: Annotated[StrangerPolicy | None, Query(description="what to do with a face nobody enrolled")] = None,
    emotion: Annotated[str | None, Query(description="of every surrogate, where the generator has that input")] = None,
) -> Response:
    """Returns the photo with every face replaced by the surrogate of a crowd of at least k people.

    Headers count the faces: `X-AnonFACES-Faces` = `-Enrolled` + `-Strangers` + `-Masked`. `X-AnonFACES-Resolution` is
    `enrolled-first` where enrolled people are recognised: `X-AnonFACES-K` then holds for the faces that `-Enrolled`
    counts, and for no others. It is `nearest-only` where the enrolment map is not loaded: every face is then a
    stranger's, by policy as well, and no k is claimed.
    """

    options = Options(
        output=format,
        no_face=_allowed(service, "no_face", no_face, ("pass", "refuse")),
        stranger=_allowed(service, "stranger", stranger, ("assign", "mask", "refuse")),
        chosen={} if emotion is None else {"emotion": emotion},
    )
    pipeline, done = await _work(service, "anonymize", request, lambda by, data: by.anonymise(data, options))
    counts = {
        "X-AnonFACES-Faces": str(len(done.faces)),
        "X-AnonFACES-Enrolled": str(done.count("enrolled")),
        "X-AnonFACES-Strangers": str(done.count("stranger")),
        "X-AnonFACES-Masked": str(done.count("masked")),
        **({} if emotion is None else {"X-AnonFACES-Emotion": emotion}),  # what was not a function of the crowd alone
    }
    return Response(done.data, media_type=MEDIA_TYPES[done.format], headers={**counts, **_index_headers(pipeline)})


@api.post(
    "/inspect",
    openapi_extra={"requestBody": {"required": True, "content": {media: {} for media in MEDIA_TYPES.values()}}},
)
async def inspect(request: Request, service: Service) -> JSONResponse:
    """What `anonymize` sees in a photo: boxes, landmarks, scores, crowds and distances; no embedding, no identity.

    `k` holds for the faces whose `enrolled` is true. `enrolled` and `k` are null where the enrolment map is not loaded
    (`resolution` is then `nearest-only`): nobody can be recognised, and no k is claimed.
    """

    pipeline, (photo, faces) = await _work(service, "inspect", request, lambda by, data: by.inspect(data))
    index, resolution = pipeline.index, pipeline.look_up.resolution
    body = {
        "width": photo.width,
        "height": photo.height,
        "k": index.k if resolution == "enrolled-first" else None,
        "index_version": index.version,
        "resolution": resolution,
        "faces": [_describe(seen) for seen in faces],
    }
    return JSONResponse(body, headers=_index_headers(pipeline))


def _describe(seen: Seen) -> dict[str, Any]:
    """One face as JSON; pixels of the upright photo."""
    known: dict[str, Any] = {"crowd": None, "crowd_size": None, "distance": None, "enrolled": None}
    if seen.assignment:
        known = {
            "crowd": seen.assignment.crowd,
            "crowd_size": seen.assignment.crowd_size,
            "distance": round(seen.assignment.distance, 4),
            "enrolled": seen.assignment.enrolled,
        }
    return {
        "box": [round(float(v), 1) for v in seen.face.box],
        "landmarks": [[round(float(v), 1) for v in point] for point in seen.face.landmarks],
        "score": round(seen.face.score, 4),
        "masked": seen.masked,
        **known,
    }


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": code, "message": message}, status, headers={"Cache-Control": "no-store"})


@api.exception_handler(AnonFacesError)
async def _known_error(request: Request, error: AnonFacesError) -> JSONResponse:
    return _error(error.http_status, error.code, str(error))


@api.exception_handler(RequestValidationError)
async def _bad_option(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    name = first["loc"][-1] if first["loc"] else "request"
    return _error(BadRequest.http_status, BadRequest.code, f"{name}: {first['msg']}")


@api.exception_handler(HTTPException)
async def _no_such_thing(request: Request, error: HTTPException) -> JSONResponse:
    return _error(error.status_code, "not_found" if error.status_code == 404 else BadRequest.code, str(error.detail))


@api.exception_handler(ClientDisconnect)
async def _client_gone(request: Request, error: ClientDisconnect) -> JSONResponse:
    return _error(BadRequest.http_status, BadRequest.code, "the client went away before the photo was whole")


@api.exception_handler(Exception)
async def _unknown_error(request: Request, error: Exception) -> JSONResponse:
    return _error(500, AnonFacesError.code, "an internal error; nothing of the photo was kept or returned")


class OnlyPublicPaths:
    """Hides everything BentoML serves beside the API: its stock page loads third-party scripts.

    /metrics is answered here: BentoML's own metrics have a series for every path anybody asks for.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self.public = HEALTH | {f"/v1{route.path}" for route in api.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/metrics":
            response = Response(await asyncio.to_thread(metrics.exposition), media_type=metrics.CONTENT_TYPE)
            await response(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] not in self.public:
            await _error(404, "not_found", "no such path; see /v1/openapi.json")(scope, receive, send)
        else:
            await self.app(scope, receive, send)

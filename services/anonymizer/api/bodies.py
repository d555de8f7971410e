"""Photos out of HTTP bodies: bounded while they are read, in memory only."""

import io
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from services.anonymizer.decode import ACCEPTED
from services.errors import BadRequest, ClientGone, PhotoTooLarge, UnsupportedMediaType

BODY_TYPES = {"", "application/octet-stream", "image/jpeg", "image/jpg", "image/png", "image/webp"}
FORM = "multipart/form-data"
MOST_FIELDS = 16


@dataclass(frozen=True)
class Upload:
    """A file of a form."""

    name: str
    data: bytes


def declared_size(headers: "dict[bytes, bytes]", limit: int) -> int:
    """How many bytes a body will have at most, by its headers; `limit` where they do not say."""
    said = headers.get(b"content-length", b"")
    return int(said) if said.isdigit() and len(said) < 16 else limit


async def read_photo(request: Request, limit: int) -> bytes:
    """The photo's bytes: the body itself, or the one file of a multipart form. Never spooled to disk.

    Raises:
        UnsupportedMediaType: the content type is none of those.
        PhotoTooLarge: more than `limit` bytes.
        BadRequest: a form that cannot be read, or without exactly one file.
        ClientGone: the client went away while sending.
    """
    kind = _kind(request)
    if kind == FORM:
        files = await _read_form(request, limit, most=1)
        if len(files) != 1:
            raise BadRequest(f"the form holds {len(files)} files; send exactly one photo")
        return files[0].data
    if kind not in BODY_TYPES:
        raise UnsupportedMediaType(f"content type {kind[:60]!r} is not accepted; {ACCEPTED}, as body or multipart file")
    body = io.BytesIO()  # gives its bytes away without a copy, unlike a list of chunks
    async for chunk in _bounded(request, limit):
        body.write(chunk)
    return body.getvalue()


async def read_photos(request: Request, limit: int, most: int) -> list[Upload]:
    """The files of a multipart form, in their order. Never spooled to disk.

    Raises:
        UnsupportedMediaType: the body is no form.
        PhotoTooLarge: more than `limit` bytes in all.
        BadRequest: a form that cannot be read, without a file, or with more than `most`.
        ClientGone: the client went away while sending.
    """
    if _kind(request) != FORM:
        raise UnsupportedMediaType(f"a batch is sent as {FORM}, one file a photo")
    files = await _read_form(request, limit, most)
    if not files:
        raise BadRequest("the form holds no file; send one for each photo")
    return files


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks, up to the limit."""
    too_large = PhotoTooLarge(f"the body is larger than {limit:,} bytes, the most that is accepted")
    if declared_size(dict(request.scope["headers"]), 0) > limit:
        raise too_large
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise too_large
            yield chunk
    except ClientDisconnect:
        raise ClientGone("the client went away while it sent the photo") from None


async def _read_form(request: Request, limit: int, most: int) -> list[Upload]:
    parser = MultiPartParser(request.headers, _bounded(request, limit), max_files=most, max_fields=MOST_FIELDS)
    parser.spool_max_size = limit + 1  # in memory: a photo on disk would outlive its request
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as broken:
        raise BadRequest(f"the multipart form cannot be read: {getattr(broken, 'message', broken)}") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        uploads = []
        for file in files:
            uploads.append(Upload(file.filename or "", await file.read()))
            await file.close()  # one at a time is in memory twice
        return uploads
    finally:
        await form.close()

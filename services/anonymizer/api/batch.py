"""A batch of photos, worked on side by side and answered in their order, a few at a time in memory."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Iterator

from services.anonymizer.api.answers import BatchItem, Error
from services.anonymizer.api.bodies import Upload
from services.anonymizer.api.operations import Operations, Photo
from services.anonymizer.options import Options
from services.errors import AnonFacesError, PhotoTooLarge

AHEAD = 4  # photos of one batch under way, at most
PIECE = 3 << 16  # bytes of a photo that are written at a time; a multiple of 3, for Base64

Done = tuple[BatchItem, Photo | None]  # the photo is not in the item: it would be in memory several times


async def batch_document(doing: Operations, uploads: list[Upload], options: Options) -> AsyncIterator[bytes]:
    """The JSON document of `Batch`, piece by piece. Photos that fail do not keep the others from being finished."""
    waiting = deque(uploads)
    uploads.clear()  # each photo goes when it is finished
    under_way: deque[asyncio.Task[Done]] = deque()
    ahead = min(AHEAD, max(1, doing.settings.max_concurrency // 2))  # a batch must not take every turn
    separator = b'{"items":['
    try:
        while waiting or under_way:
            while waiting and len(under_way) < ahead:
                under_way.append(asyncio.create_task(_item(doing, waiting.popleft(), options)))
            item, photo = await under_way.popleft()
            yield separator
            for piece in _written(item, photo.data if photo else None):
                yield piece
            if photo:
                doing.admission.let_go(len(photo.data))
            separator = b","
        yield b"]}"
    finally:
        for task in under_way:
            task.cancel()


def _written(item: BatchItem, photo: bytes | None) -> Iterator[bytes]:
    """The item as JSON, its photo as Base64 in pieces."""
    if photo is None:
        yield item.model_dump_json().encode()
        return
    yield b'{"photo":"'
    for at in range(0, len(photo), PIECE):
        yield base64.b64encode(photo[at : at + PIECE])
    yield b'",' + item.model_dump_json(exclude={"photo"}).encode().removeprefix(b"{")


async def _item(doing: Operations, upload: Upload, options: Options) -> Done:
    """One photo of a batch, whatever becomes of it."""

    async def read() -> bytes:
        if len(upload.data) > doing.settings.max_body_bytes:
            raise PhotoTooLarge(f"the file is larger than {doing.settings.max_body_bytes:,} bytes")
        return upload.data

    name = upload.name
    try:
        photo = await doing.anonymize(read, options)
    except AnonFacesError as error:
        failed = Error(error=error.code, message=str(error))
        return BatchItem(name=name, status=error.http_status, error=failed), None
    except Exception:
        internal = Error(error=AnonFacesError.code, message="an internal error; nothing of the photo was returned")
        return BatchItem(name=name, status=AnonFacesError.http_status, error=internal), None
    return BatchItem(name=name, status=200, finished=photo.finished), photo

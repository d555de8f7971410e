"""A batch of photos, worked on side by side and answered in their order, a few at a time in memory."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator

from services.anonymizer.api.answers import BatchItem, Error
from services.anonymizer.api.bodies import Upload
from services.anonymizer.api.operations import Operations
from services.anonymizer.options import Options
from services.errors import AnonFacesError, PhotoTooLarge

AHEAD = 4  # photos of one batch under way: a batch must not take every turn


async def batch_document(doing: Operations, uploads: list[Upload], options: Options) -> AsyncIterator[bytes]:
    """The JSON document of `Batch`, piece by piece. Photos that fail do not keep the others from being finished."""
    waiting = deque(uploads)
    under_way: deque[asyncio.Task[BatchItem]] = deque()
    separator = b'{"items":['
    try:
        while waiting or under_way:
            while waiting and len(under_way) < AHEAD:
                under_way.append(asyncio.create_task(_item(doing, waiting.popleft(), options)))
            item = await under_way.popleft()
            yield separator + item.model_dump_json(exclude_none=False).encode()
            separator = b","
        yield b"]}"
    finally:
        for task in under_way:
            task.cancel()


async def _item(doing: Operations, upload: Upload, options: Options) -> BatchItem:
    """One photo of a batch, whatever becomes of it."""

    async def read() -> bytes:
        if len(upload.data) > doing.settings.max_body_bytes:
            raise PhotoTooLarge(f"the file is larger than {doing.settings.max_body_bytes:,} bytes")
        return upload.data

    name = upload.name
    try:
        photo = await doing.anonymize(read, options)
    except AnonFacesError as error:
        return BatchItem(name=name, status=error.http_status, error=Error(error=error.code, message=str(error)))
    except Exception:
        internal = Error(error=AnonFacesError.code, message="an internal error; nothing of the photo was returned")
        return BatchItem(name=name, status=AnonFacesError.http_status, error=internal)
    return BatchItem(name=name, status=200, photo=base64.b64encode(photo.data).decode("ascii"), finished=photo.finished)

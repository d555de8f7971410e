"""A stream of frames: a few are worked on side by side, each is answered in its turn, the rest is not read before."""

import asyncio
from contextlib import ExitStack
from typing import Any

from services.anonymizer.api.grpc_call import Call
from services.anonymizer.api.messages import chosen, error_message, known, message_of
from services.anonymizer.options import Options
from services.errors import DeadlineExceeded, ShuttingDown
from services.proto import anonfaces_v1_pb2 as pb

AHEAD = 4  # frames of one stream under way: a stream must not take every turn
ENDPOINT = "anonymize_stream"


async def anonymize_stream(call: Call) -> None:
    """AnonymizeStream: as `Operations.anonymize`, frame by frame. A frame that fails does not end the stream.

    Raises:
        DeadlineExceeded: no frame came for too long, or the client does not read its answers.
        ShuttingDown: the service stops; the frames that it had read are answered.
    """
    with call.room.for_stream():
        try:
            ended = await _serve(call)
        except BaseExceptionGroup as several:  # one frame cannot be answered: the others could not be either
            raise several.exceptions[0] from None
    if ended is not None:
        raise ended


async def _serve(call: Call) -> Exception | None:
    """Answers frames until there are no more. Returns why no more are read, if that is no good end."""
    places = asyncio.Semaphore(min(AHEAD, max(1, call.doing.settings.max_concurrency // 2)))
    options, before = pb.Options(), None
    async with asyncio.TaskGroup() as group:
        while True:
            await places.acquire()
            try:
                frame = await call.following()
            except (DeadlineExceeded, ShuttingDown) as end:
                return end
            if frame is None:
                return None
            if frame.HasField("options"):
                options = frame.options
            before = group.create_task(_one(call, frame.id, frame.photo, options, before))
            before.add_done_callback(lambda _: places.release())
            del frame


async def _one(call: Call, name: str, data: bytes, options: Any, before: asyncio.Task[None] | None) -> None:
    """One frame: its bytes are counted from here on until its answer has been sent, after the one before it."""
    with ExitStack() as room:
        try:
            room.enter_context(call.doing.admission.hold(len(data)))
            photo = await call.doing.anonymize(call.photo(data), chosen(Options, options), call.limit_s)
            answer = pb.FrameResult(id=name)
            answer.done.photo = photo.data
            answer.done.finished.CopyFrom(message_of(photo.finished, pb.Finished))
            del data, photo  # gRPC makes copies of its own
        except Exception as error:
            answer = pb.FrameResult(id=name, error=error_message(known(error, ENDPOINT)))
        if before is not None:
            await before
        await call.send(answer)

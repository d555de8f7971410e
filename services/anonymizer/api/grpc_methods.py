"""What each method of the gRPC interface does: options out of a message, an operation, its answer as a message."""

from services.anonymizer.api.grpc_call import Call
from services.anonymizer.api.messages import chosen, inspection_message, message_of
from services.anonymizer.encode import MEDIA_TYPES
from services.anonymizer.options import Options, SurrogateOptions
from services.proto import anonfaces_v1_pb2 as pb


async def anonymize(call: Call) -> None:
    """Anonymize: as `Operations.anonymize`."""
    request = await call.only()
    data, options = request.photo, chosen(Options, request.options)
    del request  # it holds the photo once more
    with call.doing.admission.hold(len(data)):
        photo = await call.doing.anonymize(call.photo(data), options, call.limit_s)
        answer = pb.AnonymizeResponse(photo=photo.data, finished=message_of(photo.finished, pb.Finished))
        del data, photo  # gRPC makes copies of its own
        await call.send(answer)


async def inspect(call: Call) -> None:
    """Inspect: as `Operations.inspect`."""
    data = (await call.only()).photo
    with call.doing.admission.hold(len(data)):
        await call.send(inspection_message(await call.doing.inspect(call.photo(data), call.limit_s)))


async def surrogate(call: Call) -> None:
    """Surrogate: as `Operations.surrogate`."""
    request = await call.only()
    with call.doing.admission.hold(0):
        options = chosen(SurrogateOptions, request.options)
        picture = await call.doing.surrogate(request.crowd, options, call.limit_s)
        told = pb.Served(**picture.index.model_dump(include=set(pb.Served.DESCRIPTOR.fields_by_name)))
        media_type = MEDIA_TYPES[picture.format]
        await call.send(pb.SurrogateResponse(picture=picture.data, media_type=media_type, served=told))


async def index(call: Call) -> None:
    """Index: as `Operations.index`."""
    await call.only()
    await call.send(message_of(call.doing.index(), pb.IndexAnswer))

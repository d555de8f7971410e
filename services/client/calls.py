"""Every question that the service answers, said once: how HTTP asks it, how gRPC does, and what the answers hold."""

import base64
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import httpx
from google.protobuf.json_format import MessageToDict

from services.anonymizer.decode import PhotoFormat
from services.anonymizer.options import Chosen, Options, SurrogateOptions
from services.client.failures import by_code, json_of
from services.client.results import Item, Picture, Result
from services.client.retry import ATTEMPTS
from services.errors import AnonFacesError
from services.proto import anonfaces_v1_pb2 as pb
from services.settings import NoFacePolicy, SmallFacePolicy, StrangerPolicy

T = TypeVar("T")
Named = tuple[str, bytes]  # a photo with a name of the caller's
PREFIX = "x-anonfaces-"
NUMBERS = {"faces", "enrolled", "strangers", "masked", "k"}
OCTETS = {"Content-Type": "application/octet-stream"}
TITLE = "AnonFACES"  # of the service's own description; photos are sent to nothing else
REQUIRE_S = 10.0


class SurrogateChoices(TypedDict, total=False):
    """`SurrogateOptions` as keyword arguments; what is left out or None, the service decides."""

    generator: str | None
    format: PhotoFormat | None
    quality: int | None
    emotion: str | None


class Choices(SurrogateChoices, total=False):
    """`Options` as keyword arguments."""

    k: int | None
    no_face: NoFacePolicy | None
    small_face: SmallFacePolicy | None
    stranger: StrangerPolicy | None
    identity: Sequence[str]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A question, and how to read its answer. Readers raise KeyError, TypeError or ValueError where it is another's."""

    what: str  # the answer, in words
    request: Callable[[], dict[str, Any]]  # arguments of httpx's request()
    read: Callable[[httpx.Response], T]
    method: str  # of gRPC
    message: Callable[[], Any]  # its request; an iterable of them where the method is a stream
    unpack: Callable[[Any], T]  # the answer, or the list of them
    times: int = 1  # as long as one photo may take
    attempts: int = ATTEMPTS
    timeout_s: float | None = None  # else the client's


def anonymize(data: bytes, choices: Choices) -> Call[Result]:
    """Raises BadRequest, as the service would."""
    options = options_of(choices)
    return Call(
        "an anonymized photo",
        lambda: _post("/v1/anonymize", options, content=data, headers=OCTETS),
        lambda response: Result.of(response.content, {"media_type": _media_type(response), **_told(response)}),
        "Anonymize",
        lambda: pb.AnonymizeRequest(photo=data, options=_message(options, pb.Options)),
        _result,
    )


def batch(photos: Sequence[Named], choices: Choices) -> Call[list[Item]]:
    """Raises BadRequest, as the service would. What the caller names its photos is not sent."""
    options, names = options_of(choices), [name for name, _ in photos]
    numbered = [(str(number), data) for number, (_, data) in enumerate(photos)]
    files = [("photo", (number, data, OCTETS["Content-Type"])) for number, data in numbered]
    return Call(
        "the photos of a batch",
        lambda: _post("/v1/anonymize:batch", options, files=files),
        lambda response: _items(names, json_of(response)["items"], _item_of_json),
        "AnonymizeStream",
        lambda: frames(numbered, options),
        lambda answers: _items(names, answers, item),
        times=len(photos),
    )


def inspect(data: bytes) -> Call[dict[str, Any]]:
    """What `anonymize` sees."""
    return Call(
        "a description of a photo",
        lambda: _post("/v1/inspect", None, content=data, headers=OCTETS),
        lambda response: _of_service(json_of(response)),
        "Inspect",
        lambda: pb.InspectRequest(photo=data),
        _inspection,
    )


def surrogate(crowd: int, choices: SurrogateChoices) -> Call[Picture]:
    """Raises BadRequest, as the service would."""
    options = _options(SurrogateOptions, choices)
    return Call(
        "the face of a crowd",
        lambda: {"method": "GET", "url": f"/v1/surrogates/{crowd}", "params": _query(options)},
        lambda response: Picture.of(response.content, _media_type(response), _told(response)),
        "Surrogate",
        lambda: pb.SurrogateRequest(crowd=crowd, options=_message(options, pb.SurrogateOptions)),
        lambda answer: Picture.of(answer.picture, answer.media_type, _fields(answer.served)),
    )


def index() -> Call[dict[str, Any]]:
    """The cluster index that is served."""
    return Call(
        "a description of an index",
        lambda: {"method": "GET", "url": "/v1/index"},
        lambda response: _of_service(json_of(response)),
        "Index",
        pb.IndexRequest,
        lambda answer: _of_service(_fields(answer)),
    )


def require() -> Call[dict[str, Any]]:
    """Is this AnonFACES? Asked once, with nothing of a photo."""
    return Call(
        f"a description of {TITLE}",
        lambda: {"method": "GET", "url": "/v1/openapi.json"},
        _description,
        "Index",
        pb.IndexRequest,
        lambda answer: _of_service(_fields(answer)),
        attempts=1,
        timeout_s=REQUIRE_S,
    )


def options_of(choices: Choices) -> Options:
    """Raises BadRequest, as the service would."""
    return _options(Options, choices)


def frames(photos: Iterable[Named], options: Options) -> Iterator[pb.Frame]:
    """The messages of a stream; the first one has the options."""
    told = _message(options, pb.Options)
    for name, data in photos:
        yield pb.Frame(id=name, photo=data, options=told)
        told = None


async def frames_async(photos: AsyncIterable[Named], options: Options) -> AsyncIterator[pb.Frame]:
    """As `frames`."""
    told = _message(options, pb.Options)
    async for name, data in photos:
        yield pb.Frame(id=name, photo=data, options=told)
        told = None


def item(answer: Any) -> Item:
    """One answer of a stream."""
    if answer.WhichOneof("result") == "done":
        return Item(answer.id, result=_result(answer.done))
    return Item(answer.id, error=_error(answer.error.error, answer.error.message))


def _options(kind: type[Chosen], choices: Any) -> Chosen:
    return kind.of({name: value for name, value in choices.items() if value is not None})


def _query(options: SurrogateOptions | None) -> dict[str, Any]:
    return options.model_dump(exclude_none=True, exclude_defaults=True) if options else {}


def _message(options: SurrogateOptions, kind: type[Any]) -> Any:
    return kind(**_query(options))


def _post(path: str, options: Options | None, **rest: Any) -> dict[str, Any]:
    return {"method": "POST", "url": path, "params": _query(options), **rest}


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0]


def _told(response: httpx.Response) -> dict[str, Any]:
    """What the headers of an answer say, by the names of its fields."""
    told: dict[str, Any] = {"resolution": Result.resolution}  # earlier services knew one only
    for name, value in response.headers.items():
        if name.startswith(PREFIX):
            known = name.removeprefix(PREFIX).replace("-", "_")
            told[known] = int(value) if known in NUMBERS else value
    return told


def _fields(message: Any) -> dict[str, Any]:
    """All fields of a message, as the JSON documents of HTTP have them: what is not set is null."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    for field in message.DESCRIPTOR.fields:
        fields.setdefault(field.name, None)
    return fields


def _result(answer: Any) -> Result:
    return Result.of(answer.photo, _fields(answer.finished))


def _inspection(answer: Any) -> dict[str, Any]:
    seen = _of_service(_fields(answer))
    seen["faces"] = [_fields(face) for face in answer.faces]
    for face in seen["faces"]:
        face["landmarks"] = [[point["x"], point["y"]] for point in face["landmarks"]]
    return seen


def _items(names: list[str], answers: Any, read: Callable[[Any], Item]) -> list[Item]:
    """The items with the names that the caller gave them. Raises ValueError if there are more or fewer."""
    items = [read(answer) for answer in answers]
    return [Item(name, one.result, one.error) for name, one in zip(names, items, strict=True)]


def _item_of_json(told: Any) -> Item:
    if told.get("error"):
        return Item(told["name"], error=_error(told["error"]["error"], told["error"]["message"]))
    return Item(told["name"], result=Result.of(base64.b64decode(told["photo"], validate=True), told["finished"]))


def _error(code: object, message: object) -> AnonFacesError:
    error = by_code(code, message)
    if error is None:
        raise ValueError("neither a photo nor an error")
    return error


def _of_service(told: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises KeyError, ValueError if it has not what every answer of AnonFACES has."""
    if not isinstance(told["index_version"], str) or not told["index_version"]:
        raise ValueError("no index version")
    return told


def _description(response: httpx.Response) -> dict[str, Any]:
    told = json_of(response)
    if told["info"]["title"] != TITLE:
        raise ValueError("another service")
    return told

"""The client that blocks."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, Unpack

from services.client import calls, retry
from services.client.calls import Call, Choices, Named, SurrogateChoices
from services.client.failures import ServiceUnreachable
from services.client.place import DEFAULT_URL, File, Place
from services.client.results import Item, Picture, Result
from services.client.retry import FIRST_PAUSE_S, Retries
from services.client.wires import HttpWire, RpcWire, Wire
from services.errors import AnonFacesError

T = TypeVar("T")
ANSWER_S = 90.0  # the service ends a photo after 60 s by itself, and says so


class Client:
    """Talks to one service, by HTTP or gRPC as its URL says. Threads may share it. Close it, or use `with`.

    Tries again, with growing pauses, when the service is busy (429, 503; RESOURCE_EXHAUSTED, UNAVAILABLE) or the
    connection failed: a photo sent twice gives the same answer.

    Args:
        url: of http, https, grpc or grpcs.
        api_key: else that of the environment, ANONFACES_API_KEY, if there is one.
        ca: PEM certificates to trust, for https and grpcs.
        certificate, key: PEM files of this client, where the service asks for them.
        timeout_s: longest wait for the answer to one photo.

    Raises:
        ConfigurationError: the URL, the key or a file cannot be used.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        ca: File = None,
        certificate: File = None,
        key: File = None,
        timeout_s: float = ANSWER_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ):
        place = Place.of(url, api_key, ca, certificate, key)
        self.url, self.first_pause_s = place.shown, first_pause_s
        self._hurried = threading.Event()
        self._wire: Wire = RpcWire(place, timeout_s) if place.is_rpc else HttpWire(place, timeout_s)

    def anonymize(self, data: bytes, **choices: Unpack[Choices]) -> Result:
        """Sends one photo and returns it with its faces replaced. What is None, the service decides.

        Raises:
            AnonFacesError: what the service raised, as the class with its code; or it answered with something else.
            ServiceUnreachable: it cannot be reached, or the connection broke each time.
            DeadlineExceeded: no answer in time.
        """
        return self._ask(calls.anonymize(data, choices))

    def anonymize_batch(self, photos: Sequence[Named], **choices: Unpack[Choices]) -> list[Item]:
        """Many photos at once, each with a name: results and errors in their order. Raises as `anonymize` does."""
        return self._ask(calls.batch(photos, choices)) if photos else []

    def anonymize_stream(self, frames: Iterable[Named], **choices: Unpack[Choices]) -> Iterator[Item]:
        """Frames as they come, each with a name: results and errors in their order, by gRPC only.

        Frames are taken from a thread of its own, a few ahead of the results. Nothing is sent twice.

        Raises:
            ConfigurationError: the URL is not one of gRPC.
            AnonFacesError: as `anonymize` does, when the stream as a whole fails; or what `frames` raises.
        """
        messages = calls.frames(frames, calls.options_of(choices))
        return map(calls.item, self._wire.stream(messages))

    def inspect(self, data: bytes) -> dict[str, Any]:
        """What `anonymize` sees in a photo, as the service describes it. Raises as `anonymize` does."""
        return self._ask(calls.inspect(data))

    def surrogate(self, crowd: int, **choices: Unpack[SurrogateChoices]) -> Picture:
        """The face of a crowd. Raises NotFound if there is no such crowd, else as `anonymize` does."""
        return self._ask(calls.surrogate(crowd, choices))

    def index(self) -> dict[str, Any]:
        """The cluster index that is served, as the service describes it. Raises as `anonymize` does."""
        return self._ask(calls.index())

    def require(self) -> None:
        """Asks, once, whether an AnonFACES service answers at the URL. No photo is sent.

        Raises:
            ServiceUnreachable: nothing answers, or something else does.
            Unauthenticated, Forbidden: the API key is not good there.
            DeadlineExceeded: no answer in time.
        """
        try:
            self._ask(calls.require())
        except AnonFacesError as other:
            raise another_service(self.url, other) from None

    def hurry(self) -> None:
        """Ends all pauses, now and later: from here on a failure is final."""
        self._hurried.set()

    def close(self) -> None:
        self.hurry()
        self._wire.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, call: Call[T]) -> T:
        return retry.ask(lambda: self._wire.ask(call), Retries(call.attempts, self.first_pause_s), self._hurried.wait)


def another_service(url: str, error: AnonFacesError) -> AnonFacesError:
    """What `require` raises: an answer that AnonFACES would not give says that another service is there."""
    if type(error) is not AnonFacesError:
        return error
    return ServiceUnreachable(f"what answers at {url} is not AnonFACES; no photo was sent; check the URL")

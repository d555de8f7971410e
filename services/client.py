"""The HTTP interface from the other side: a photo out, a photo back, and errors as the classes the service raised."""

import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, ClassVar

import grpc
import httpx

from services import errors
from services.anonymizer.decode import PhotoFormat
from services.anonymizer.encode import MEDIA_TYPES
from services.errors import AnonFacesError, ConfigurationError, DeadlineExceeded
from services.settings import NoFacePolicy, StrangerPolicy

DEFAULT_URL = "http://127.0.0.1:8080"
TITLE = "AnonFACES"  # of the service's own description; photos are sent to nothing else
ATTEMPTS = 5
FIRST_PAUSE_S = 0.5  # doubles with every attempt
LONGEST_PAUSE_S = 30.0  # a service that asks for more is not waited for
CONNECT_S = 5.0
REQUIRE_S = 10.0
ANSWER_S = 90.0  # the service ends a photo after 60 s by itself, and says so
RETRIED = {429, 503}
COUNTS = ("Faces", "Enrolled", "Strangers", "Masked")
NEAREST_ONLY = "nearest-only"

_BY_CODE: dict[str, type[AnonFacesError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AnonFacesError)
}


class ServiceUnreachable(AnonFacesError):
    """No AnonFACES service answers at the address, or the connection to it broke."""

    code: ClassVar[str] = "service_unreachable"
    http_status: ClassVar[int] = 503
    grpc_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Result:
    """An anonymized photo, and what was done to it. `faces` = `enrolled` + `strangers` + `masked`."""

    data: bytes
    media_type: str
    faces: int
    enrolled: int
    strangers: int
    masked: int
    k: int | None  # holds for enrolled people; None: nobody could be recognised
    index_version: str
    resolution: str = "enrolled-first"  # or NEAREST_ONLY, where the service has no enrolment map: all are strangers


class Client:
    """Talks to one service. Threads may share it; use as a context manager, or call `close`.

    Tries again, with growing pauses, when the service is busy (429, 503) or the connection failed: a photo sent twice
    gives the same answer. Redirects are not followed, so that photos go to no address but this one.

    Raises:
        ConfigurationError: the URL is not one of http or https.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = ANSWER_S, first_pause_s: float = FIRST_PAUSE_S):
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as broken:
            raise ConfigurationError(f"{url!r} is not a URL ({broken}); give one like {DEFAULT_URL}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigurationError(f"{url!r} is not a URL of http or https; give one like {DEFAULT_URL}")
        self._base = str(parsed).rstrip("/")
        self.url = str(parsed.copy_with(userinfo=b"")).rstrip("/")  # for messages: a password stays out of them
        self.first_pause_s = first_pause_s
        self._hurried = threading.Event()
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S, pool=None),
            trust_env=not _is_loopback(parsed.host),  # a photo meant for this machine goes through no proxy
        )

    def anonymize(
        self,
        data: bytes,
        *,
        format: PhotoFormat | None = None,
        no_face: NoFacePolicy | None = None,
        stranger: StrangerPolicy | None = None,
        emotion: str | None = None,
    ) -> Result:
        """Sends one photo and returns it with its faces replaced. What is None, the service decides.

        Raises:
            AnonFacesError: what the service raised, as the class with its code; or it answered with something else.
            ServiceUnreachable: it cannot be reached, or the connection broke each time.
            DeadlineExceeded: no answer in time.
        """
        options = {"format": format, "no_face": no_face, "stranger": stranger, "emotion": emotion}
        response = self._post("/v1/anonymize", data, {name: value for name, value in options.items() if value})
        headers = response.headers
        media_type = headers.get("Content-Type", "").partition(";")[0]
        try:
            if media_type not in MEDIA_TYPES.values() or not response.content:
                raise ValueError(media_type)
            faces, enrolled, strangers, masked = (int(headers[f"X-AnonFACES-{name}"]) for name in COUNTS)
            version = headers["X-AnonFACES-Index-Version"]
            resolution = headers.get("X-AnonFACES-Resolution", Result.resolution)  # earlier services knew one only
            k = None if resolution == NEAREST_ONLY else int(headers["X-AnonFACES-K"])
        except (KeyError, ValueError):
            raise AnonFacesError(f"{self.url} answered with something that is not an anonymized photo") from None
        return Result(response.content, media_type, faces, enrolled, strangers, masked, k, version, resolution)

    def inspect(self, data: bytes) -> dict[str, Any]:
        """What `anonymize` sees in a photo, as the service describes it. Raises as `anonymize` does."""
        answer = _json(self._post("/v1/inspect", data, {}))
        if not answer:
            raise AnonFacesError(f"{self.url} answered with something that is not a description of a photo")
        return answer

    def require(self) -> None:
        """Asks, once, whether an AnonFACES service answers at the URL. No photo is sent.

        Raises:
            ServiceUnreachable: nothing answers, or something else does.
            DeadlineExceeded: no answer in time.
        """
        response = self._send("GET", "/v1/openapi.json", attempts=1, timeout=REQUIRE_S)
        description = _json(response).get("info")
        if not isinstance(description, dict) or description.get("title") != TITLE:
            raise ServiceUnreachable(f"what answers at {self.url} is not AnonFACES; no photo was sent; check the URL")

    def hurry(self) -> None:
        """Ends all pauses, now and later: from here on a failure is final."""
        self._hurried.set()

    def close(self) -> None:
        self.hurry()
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _post(self, path: str, data: bytes, params: dict[str, str]) -> httpx.Response:
        response = self._send(
            "POST",
            path,
            attempts=ATTEMPTS,
            content=data,
            params=params,
            headers={"Content-Type": "application/octet-stream"},
        )
        if response.status_code != httpx.codes.OK:
            raise self._error(response)
        return response

    def _send(self, method: str, path: str, attempts: int, **request: Any) -> httpx.Response:
        """One answer of the service, whatever its status; the last of `attempts` if it stays busy."""
        attempt = 0
        while True:
            attempt += 1
            asked = None
            try:
                answer = self._http.request(method, self._base + path, **request)
                if answer.status_code not in RETRIED:
                    return answer
                asked = _retry_after(answer)
                failure = self._error(answer)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = ServiceUnreachable(
                    f"no service answers at {self.url} ({str(error) or 'timed out'}); start one with `make serve`, "
                    "or give the URL of a running one"
                )
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                failure = ServiceUnreachable(f"the connection to {self.url} broke ({error}); look at the service's log")
            except httpx.TimeoutException:
                raise DeadlineExceeded(f"{self.url} did not answer in time; look at the service's log") from None
            except httpx.HTTPError as error:
                raise ServiceUnreachable(f"the request to {self.url} failed ({error}); check the URL") from None
            pause = self.first_pause_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - spread, no secret
            pause = max(pause, asked or 0.0)
            if attempt >= attempts or pause > LONGEST_PAUSE_S or self._hurried.wait(pause):
                raise failure

    def _error(self, response: httpx.Response) -> AnonFacesError:
        """The error an answer stands for."""
        answer = _json(response)
        code, message = answer.get("error"), answer.get("message")
        if isinstance(code, str) and isinstance(message, str) and message:
            return _BY_CODE.get(code, AnonFacesError)(message)
        return AnonFacesError(f"{self.url} answered {response.status_code} {response.reason_phrase}".rstrip())


def _json(response: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty if it is none."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds the service asks to wait; it gives a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

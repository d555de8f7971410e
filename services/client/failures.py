"""Answers that are errors, and no answers at all, as the classes of services/errors.py; and which of them may pass."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import grpc
import httpx

from services import errors
from services.errors import AnonFacesError, DeadlineExceeded, Overloaded, PhotoTooLarge
from services.proto import ERROR_CODE, RETRY_AFTER

BUSY_HTTP = {429, 503}
BUSY_GRPC = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
TOO_LARGE = "larger than max"  # what gRPC itself says

_BY_CODE: dict[str, type[AnonFacesError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AnonFacesError)
}


class ServiceUnreachable(AnonFacesError):
    """No AnonFACES service answers at the address, or the connection to it broke."""

    code: ClassVar[str] = "service_unreachable"
    http_status: ClassVar[int] = 503
    grpc_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNAVAILABLE


class Passing(Exception):
    """A failure that may be over soon.

    Args:
        failure: what is raised if it is not.
        asked_s: seconds that the service asks to wait.
    """

    def __init__(self, failure: AnonFacesError, asked_s: float | None = None):
        super().__init__(str(failure))
        self.failure, self.asked_s = failure, asked_s


def by_code(code: object, message: object, asked_s: float | None = None) -> AnonFacesError | None:
    """The error that the service raised; None if that is not what this is."""
    if not isinstance(code, str) or not isinstance(message, str) or not code or not message:
        return None
    kind = _BY_CODE.get(code, AnonFacesError)
    if issubclass(kind, Overloaded) and asked_s is not None:
        return kind(message, asked_s)
    return kind(message)


def of_response(url: str, response: httpx.Response) -> AnonFacesError | Passing:
    """What an HTTP answer that is no success stands for."""
    told, asked_s = json_of(response), _retry_after(response.headers.get("Retry-After", ""))
    failure = by_code(told.get("error"), told.get("message"), asked_s) or AnonFacesError(
        f"{url} answered {response.status_code} {response.reason_phrase}".rstrip()
    )
    return Passing(failure, asked_s) if response.status_code in BUSY_HTTP else failure


def of_httpx(url: str, error: httpx.HTTPError) -> AnonFacesError | Passing:
    """What it means that there is no answer by HTTP."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Passing(nobody(url, str(error) or "timed out"))
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return Passing(_broke(url, str(error)))
    if isinstance(error, httpx.TimeoutException):
        return _too_late(url)
    return ServiceUnreachable(f"the request to {url} failed ({error}); check the URL")


def of_rpc(url: str, error: Any) -> AnonFacesError | Passing:
    """What the status of a call by gRPC stands for.

    Args:
        error: grpc.RpcError, of either kind of channel.
    """
    status, details = error.code(), error.details() or ""
    told = {str(name): value for name, value in error.trailing_metadata() or ()}
    asked_s = _retry_after(str(told.get(RETRY_AFTER, "")))
    failure = by_code(told.get(ERROR_CODE), details, asked_s) or _of_status(url, status, details)
    return Passing(failure, asked_s) if status in BUSY_GRPC and not isinstance(failure, PhotoTooLarge) else failure


def _of_status(url: str, status: grpc.StatusCode, details: str) -> AnonFacesError:
    """What gRPC itself says: the service had no word in it."""
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _too_late(url)
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return PhotoTooLarge(details) if TOO_LARGE in details else Overloaded(f"{url} is busy ({details})")
    if status is grpc.StatusCode.UNAVAILABLE:
        return nobody(url, details) if "connect" in details else _broke(url, details)
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return ServiceUnreachable(f"what answers at {url} is not AnonFACES ({details}); check the URL")
    return AnonFacesError(f"{url} answered {status.name} ({details})")


def final(failure: AnonFacesError | Passing) -> AnonFacesError:
    """The failure, where nothing is asked again."""
    return failure.failure if isinstance(failure, Passing) else failure


def not_that(url: str, what: str) -> AnonFacesError:
    """The answer is a success, but not of what was asked."""
    return AnonFacesError(f"{url} answered with something that is not {what}")


def nobody(url: str, why: str) -> ServiceUnreachable:
    """Nobody listens there."""
    return ServiceUnreachable(
        f"no service answers at {url} ({why}); start one with `make serve`, or give the URL of a running one"
    )


def json_of(response: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty if it is none."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _broke(url: str, why: str) -> ServiceUnreachable:
    return ServiceUnreachable(f"the connection to {url} broke ({why}); look at the service's log")


def _too_late(url: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{url} did not answer in time; look at the service's log")


def _retry_after(value: str) -> float | None:
    """Seconds the service asks to wait; it gives a number or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None

"""The models of options and answers as messages of gRPC, which have the same fields, and errors as its statuses."""

import logging
import traceback
from math import ceil
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import BaseModel

from services.anonymizer.api.answers import Inspection
from services.anonymizer.options import SurrogateOptions
from services.errors import AnonFacesError, Overloaded
from services.proto import ERROR_CODE, RETRY_AFTER
from services.proto.anonfaces_v1_pb2 import Error
from services.proto.anonfaces_v1_pb2 import Inspection as InspectionMessage

log = logging.getLogger("anonfaces")

Chosen = TypeVar("Chosen", bound=SurrogateOptions)


def chosen(kind: type[Chosen], message: Any) -> Chosen:
    """The options that a message holds. Raises BadRequest, which names the option."""
    return kind.of(MessageToDict(message, preserving_proto_field_name=True))


def message_of(answer: BaseModel, kind: type[Any]) -> Any:
    """An answer as a message of that kind; what has no value is not set."""
    return ParseDict(answer.model_dump(mode="json", exclude_none=True), kind())


def inspection_message(seen: Inspection) -> InspectionMessage:
    """As `message_of`; only points are written in another way."""
    fields = seen.model_dump(mode="json", exclude_none=True)
    for face in fields["faces"]:
        face["landmarks"] = [{"x": x, "y": y} for x, y in face["landmarks"]]
    return ParseDict(fields, InspectionMessage())  # type: ignore[no-any-return]


def known(error: Exception, endpoint: str) -> AnonFacesError:
    """An error as it is told: one that nobody foresaw says nothing of itself, since its text may hold anything."""
    if isinstance(error, AnonFacesError):
        return error
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed with an unexpected %s:\n%s", endpoint, type(error).__name__, where)
    return AnonFacesError("an internal error; nothing of the photo was kept or returned")


def error_message(error: AnonFacesError) -> Error:
    """An error within a stream."""
    return Error(error=error.code, message=str(error))


def trailing(error: AnonFacesError) -> tuple[tuple[str, str], ...]:
    """The metadata that goes with an error's status."""
    code = (ERROR_CODE, error.code)
    return (code, (RETRY_AFTER, str(ceil(error.retry_after_s)))) if isinstance(error, Overloaded) else (code,)

"""What the client returns, whichever protocol it came by."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from services.anonymizer.encode import MEDIA_TYPES
from services.errors import AnonFacesError

NEAREST_ONLY = "nearest-only"


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
    emotion: str | None = None  # as chosen
    generator: str | None = None  # as chosen

    @staticmethod
    def of(data: bytes, told: Mapping[str, Any]) -> "Result":
        """A photo with what the service says of it. Raises KeyError, ValueError where that is not enough."""
        if told["media_type"] not in MEDIA_TYPES.values() or not data or not told["index_version"]:
            raise ValueError("not a photo")
        known = {field.name for field in fields(Result)} & set(told)
        k = None if told.get("resolution") == NEAREST_ONLY else told["k"]
        return Result(**{**{name: told[name] for name in known}, "data": data, "k": k})


@dataclass(frozen=True)
class Picture:
    """The face of a crowd, and the index that it is from."""

    data: bytes
    media_type: str
    k: int | None
    index_version: str
    resolution: str

    @staticmethod
    def of(data: bytes, media_type: str, told: Mapping[str, Any]) -> "Picture":
        """Raises as `Result.of` does."""
        if media_type not in MEDIA_TYPES.values() or not data or not told["index_version"]:
            raise ValueError("not a picture")
        return Picture(data, media_type, told.get("k"), told["index_version"], told["resolution"])


@dataclass(frozen=True)
class Item:
    """One photo of a batch or a stream: its result, or why there is none."""

    name: str
    result: Result | None = None
    error: AnonFacesError | None = None

    def get(self) -> Result:
        """The result. Raises the error if there is none."""
        if self.result is None:
            raise self.error or AnonFacesError(f"there is no result for {self.name}")
        return self.result

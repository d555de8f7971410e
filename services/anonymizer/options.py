"""What one request may choose: one model for every protocol, the client and the pipeline."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.anonymizer.decode import PhotoFormat
from services.errors import BadRequest
from services.settings import NoFacePolicy, Settings, SmallFacePolicy, StrangerPolicy

# Each policy from the laxest to the strictest: a request may only go to the right of the operator's.
POLICIES: dict[str, tuple[str, ...]] = {
    "no_face": ("pass", "refuse"),
    "small_face": ("mask", "refuse"),
    "stranger": ("assign", "mask", "refuse"),
}
KEEP = "keep"  # the emotion that each face of the photo shows
Name = Annotated[str, Field(min_length=1, max_length=256)]
Chosen = TypeVar("Chosen", bound="SurrogateOptions")


class SurrogateOptions(BaseModel):
    """How a surrogate is shown; what is None, the service decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: Name | None = Field(None, description="one of the generators that `index` names")
    format: PhotoFormat | None = Field(None, description="format of the answer; else the photo's own")
    quality: int | None = Field(None, ge=1, le=100, description="of JPEG and WebP")
    emotion: Name | None = Field(None, description="of every surrogate, where the generator has that input")

    @property
    def chosen(self) -> dict[str, str]:
        """Inputs of the generator by name: what of a surrogate is not a function of its crowd alone."""
        return {} if self.emotion in (None, KEEP) else {"emotion": str(self.emotion)}

    @classmethod
    def of(cls: type[Chosen], told: dict[str, Any]) -> Chosen:
        """The options that a protocol was told. Raises BadRequest, which names the option."""
        try:
            return cls.model_validate(told)
        except ValidationError as wrong:
            raise BadRequest(first_of(wrong.errors())) from None


class Options(SurrogateOptions):
    """What a request to anonymise a photo may choose; what is None, the service decides."""

    emotion: Name | None = Field(
        None,
        description="of every surrogate, where the generator has that input; `keep`: what each face shows, where a "
        "model that tells emotions is installed",
    )
    k: int | None = Field(None, ge=2, description="refuse unless enrolled people share their face with at least k - 1")
    no_face: NoFacePolicy | None = Field(None, description="what to do with a photo without faces")
    small_face: SmallFacePolicy | None = Field(
        None, description="what to do with a face too small, too uncertain or turned too far to be replaced"
    )
    stranger: StrangerPolicy | None = Field(None, description="what to do with a face nobody enrolled")
    identity: tuple[Name, ...] = Field(
        (), max_length=64, description="who is in the photo, by their enrolled names; others are recognised as usual"
    )

    @field_validator("identity")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("a name is given twice")
        return names

    def within(self, settings: Settings) -> "Options":
        """These options, and the operator's policies for those that are not given.

        Raises:
            BadRequest: a policy is laxer than the operator's, and the operator has not allowed that.
        """
        policies = {}
        for name, laxest_first in POLICIES.items():
            theirs, asked = getattr(settings, name), getattr(self, name)
            policies[name] = asked or theirs
            if settings.may_relax or laxest_first.index(policies[name]) >= laxest_first.index(theirs):
                continue
            raise BadRequest(
                f"{name}={asked} is laxer than this service's policy, {theirs}; its operator can allow that "
                "(ANONFACES_MAY_RELAX) or change the policy"
            )
        return self.model_copy(update=policies)


def first_of(errors: Any) -> str:
    """The first of pydantic's errors as one line, without what was sent.

    Args:
        errors: as `ValidationError.errors()` or FastAPI's `RequestValidationError.errors()` list them.
    """
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("query", "path", "body")]
    if first["type"] == "extra_forbidden":
        return f"there is no option {place[-1][:60]!r}; see /v1/openapi.json"
    return f"{'.'.join(place) or 'request'}: {first['msg']}"

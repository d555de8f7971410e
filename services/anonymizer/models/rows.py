"""What is known of a model, by what it is used for: one row each."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.errors import ConfigurationError
from services.settings import Precision

Side = Annotated[int, Field(gt=0, le=4096)]
INPUT_STEP = 64  # few shapes: equal ones share a batch, and a server's memory is planned by shape


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


class Detector(_Row):
    """A face detector of two looks.

    The first finds where faces may be. The second sees each one upright at one size, and says where its landmarks are:
    embeddings depend on it, so that it stands for the detector in indexes and populations. The first look takes inputs
    of every shape, so that nothing is spent on black beside a photo that is not square.
    """

    first_looks: dict[Precision, str]  # Triton models; height and width of the input are multiples of INPUT_STEP
    precision: Precision = "int8"  # which of them is used
    longest_px: int = 1024  # longest side of an input of the first look
    smallest_px: float  # a face of this many input pixels is found reliably
    look: str  # the Triton model of the second look, and of the thumbnail
    look_px: int  # side of its square input: landmarks are best on faces of 60 to 200 px

    @property
    def first_look(self) -> str:
        """The Triton model of the first look."""
        return self.first_looks[self.precision]

    @property
    def served(self) -> tuple[str, str]:
        """The Triton models that requests use: those of the first and of the second look."""
        return self.first_look, self.look

    def calculating_in(self, precision: Precision) -> "Detector":
        """The same with another first look. Raises ConfigurationError if it has none of that precision."""
        if precision not in self.first_looks:
            raise ConfigurationError(f"detector {self.name} has no first look in {precision}")
        return self.model_copy(update={"precision": precision})


class Embedder(_Row):
    """A recogniser: chip -> vector. Embeddings of different embedders or aligners do not compare."""

    model: str
    aligner: str  # how its chips are cut, a row of align.py
    chip_px: Side
    dims: Annotated[int, Field(gt=0)]
    same_person: Annotated[float, Field(gt=0)]  # no two photos farther apart than this are taken for one person


class Choice(BaseModel):
    """An input of a generator that a request may choose by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str
    values: dict[str, tuple[float, ...]]


class Generator(_Row):
    """A face generator: latent -> picture. A crowd's latent is the mean of its members' latents."""

    model: str
    latent: str = "w"  # the input that takes the latent
    latent_shape: tuple[Side, ...]  # of one latent: (512,), (18, 512), (57,)
    image_size: tuple[Side, Side]  # height, width
    mapping: str | None = None  # the model z -> w, if people can be sampled
    z_dims: int = 0
    preview: str | None = None  # a cheaper generator of the same latents, for pictures that are only embedded
    fixed: dict[str, tuple[float, ...]] = {}  # other inputs, fed the same always
    choices: dict[str, Choice] = {}  # other inputs, chosen by the request

    @property
    def latent_dims(self) -> int:
        """Floats of one latent, as an index keeps it."""
        dims = 1
        for side in self.latent_shape:
            dims *= side
        return dims


class Inverter(_Row):
    """Photo -> latent: embedding and pose of a face -> w, for generators that share a mapping network."""

    model: str
    embedder: str  # whose embeddings it takes
    mapping: str  # whose w it gives
    w_dims: Annotated[int, Field(gt=0)]


EMOTION = "emotion"
Of = Literal["person", "photo"]


class Attribute(BaseModel):
    """What an output of an estimator tells: shares of its classes, which add up to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: str
    values: dict[str, tuple[int, int]]  # the first and the last class that make up a value
    certain: Annotated[float, Field(gt=0.5, le=1)]  # a value with a smaller share is not told
    of: Of = "person"  # whether another photo of the same person would say the same


class Estimator(_Row):
    """Chip -> how a face looks, in coarse words. Not what a person is: see services/population/attributes.py."""

    model: str
    aligner: str
    chip_px: Side
    attributes: dict[str, Attribute]

    @field_validator("attributes", mode="after")
    @classmethod
    def _emotions_pass(cls, told: dict[str, Attribute]) -> dict[str, Attribute]:
        """An emotion is of a photo, also where a row was written before that could be said."""
        shown = told.get(EMOTION)
        if shown is None or "of" in shown.model_fields_set:
            return told
        return {**told, EMOTION: shown.model_copy(update={"of": "photo"})}

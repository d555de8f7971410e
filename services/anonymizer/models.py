"""Which models the pipeline can use: one row each. The settings and the cluster index name them.

Rows of the models that ship are below. A model that a user converts brings its own row, in the provenance file beside
it in the model repository; from there it is used as any other.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.errors import ConfigurationError
from services.provenance import PROVENANCE, VERSION_FOLDER
from services.settings import Settings

Side = Annotated[int, Field(gt=0, le=4096)]
INPUT_STEP = 64  # few shapes: equal ones share a batch, and a server's memory is planned by shape


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


class Detector(_Row):
    """A face detector.

    The first look takes inputs of every shape, so that nothing is spent on black beside a photo that is not square.
    """

    models: dict[int, str]  # by the side of its square input in pixels; the files that an index names
    first_look: str  # the same network for every height and width that are multiples of INPUT_STEP
    longest_px: int = 1024  # longest side of an input of the first look
    smallest_px: float  # a face of this many input pixels is found reliably
    look_px: int  # side of the thumbnail and of the second look: its landmarks are best on faces of 60 to 200 px

    @property
    def served(self) -> tuple[str, str]:
        """The Triton models that requests use: those of the first and of the second look."""
        return self.first_look, self.models[self.look_px]


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


Row = TypeVar("Row", Detector, Embedder, Generator, "Inverter", "Estimator")


class Inverter(_Row):
    """Photo -> latent: embedding and pose of a face -> w, for generators that share a mapping network."""

    model: str
    embedder: str  # whose embeddings it takes
    mapping: str  # whose w it gives
    w_dims: Annotated[int, Field(gt=0)]


class Attribute(BaseModel):
    """What an output of an estimator tells: shares of its classes, which add up to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: str
    values: dict[str, tuple[int, int]]  # the first and the last class that make up a value
    certain: Annotated[float, Field(gt=0.5, le=1)]  # a value with a smaller share is not told


class Estimator(_Row):
    """Chip -> how a face looks, in coarse words. Not what a person is: see services/population/attributes.py."""

    model: str
    aligner: str
    chip_px: Side
    attributes: dict[str, Attribute]


_MOBILE = {"mapping": "mobile-stylegan-mapping", "z_dims": 512, "latent_shape": (512,)}
_PREVIEW = "mobile-stylegan-512"

DETECTORS = {
    d.name: d
    for d in (
        Detector(
            name="centerface",
            models={192: "centerface-192", 512: "centerface-512", 1024: "centerface-1024"},
            first_look="centerface-any",
            smallest_px=12.0,
            look_px=192,
        ),
        # For CPUs. An index must be built with it: where it sees a face is a little off from where float32 sees it.
        Detector(
            name="centerface-int8",
            models={192: "centerface-192", 1024: "centerface-any-int8"},
            first_look="centerface-any-int8",
            smallest_px=12.0,
            look_px=192,
        ),
    )
}
EMBEDDERS = {
    e.name: e
    for e in (
        Embedder(
            name="dlib-resnet",
            model="dlib-resnet",
            aligner="centerface5-look192-similarity150",
            chip_px=150,
            dims=128,
            same_person=0.5,  # dlib calls 0.6 the same person, but among many people different ones come nearer
        ),
        # These two measure, and never choose a crowd. Their limits let as many different people pass as dlib's 0.5.
        Embedder(
            name="mobileface",
            model="mobileface",
            aligner="centerface5-look192-arcface112",
            chip_px=112,
            dims=256,
            same_person=1.0,
        ),
        Embedder(
            name="faceres",
            model="faceres",
            aligner="centerface5-look192-arcface112",
            chip_px=224,
            dims=1024,
            same_person=0.8,
        ),
    )
}
GENERATORS = {
    g.name: g
    for g in (
        Generator(name=_PREVIEW, model=_PREVIEW, image_size=(512, 512), **_MOBILE),
        Generator(
            name="mobile-stylegan-1024",
            model="mobile-stylegan-1024",
            image_size=(1024, 1024),
            preview=_PREVIEW,
            **_MOBILE,
        ),
    )
}


INVERTERS = {
    i.name: i
    for i in (
        Inverter(
            name="inversion-mobile-stylegan",
            model="inversion-mobile-stylegan",
            embedder="dlib-resnet",
            mapping="mobile-stylegan-mapping",
            w_dims=512,
        ),
    )
}
# These networks are sure of most of what they say, hence the high shares. Their ages are off by years: the groups are
# wide, and "young" is from where teenagers cannot be told from young adults.
ESTIMATORS = {
    e.name: e
    for e in (
        Estimator(
            name="age-gender",
            model="age-gender",
            aligner="centerface5-look192-similarity150",
            chip_px=138,
            attributes={
                "age_group": Attribute(
                    output="age",
                    values={"child": (0, 12), "young": (13, 29), "adult": (30, 59), "senior": (60, 80)},
                    certain=0.9,
                ),
                "gender": Attribute(output="gender", values={"female": (0, 0), "male": (1, 1)}, certain=0.98),
            },
        ),
    )
}


class Models(BaseModel):
    """The models of one pipeline."""

    model_config = ConfigDict(frozen=True)

    detector: Detector
    embedder: Embedder
    generator: Generator

    def online(self) -> tuple[str, ...]:
        """The Triton models a request may need."""
        return (*self.detector.served, self.embedder.model, self.generator.model)

    def recorded(self) -> tuple[str, ...]:
        """The models whose files an index names: they stand for the weights. An old index knows no first look."""
        return (*self.detector.models.values(), self.embedder.model, self.generator.model)


def find_embedder(name: str, repository: Path) -> Embedder:
    """The embedder of that name, shipped or brought. Raises ConfigurationError."""
    return _find(name, Embedder, EMBEDDERS, repository)


def find_generator(name: str, repository: Path) -> Generator:
    """The generator of that name, shipped or brought. Raises ConfigurationError."""
    return _find(name, Generator, GENERATORS, repository)


def find_estimators(repository: Path) -> list[Estimator]:
    """The estimators whose models are converted, brought ones and ours; few have any. Raises ConfigurationError."""
    rows = {**_brought(Estimator, repository), **ESTIMATORS}
    return [row for row in rows.values() if (repository / row.model / VERSION_FOLDER / PROVENANCE).is_file()]


DEFAULTS = {"detector": "centerface", "embedder": "dlib-resnet", "generator": "mobile-stylegan-1024"}


def choose(settings: Settings, otherwise: Mapping[str, str] = DEFAULTS) -> Models:
    """The models that the settings name; those of `otherwise` (an index's, say) where they name none.

    Raises:
        ConfigurationError: a name is unknown, and says which names there are; or a model's row cannot be read.
    """
    named = {part: getattr(settings, part) or otherwise[part] for part in DEFAULTS}
    return find_models(**named, repository=settings.model_repository)


def find_inverter(models: Models, repository: Path) -> Inverter:
    """What gives latents of the models' generator from embeddings of their embedder; one of your own before ours.

    Raises:
        ConfigurationError: there is none; says how to make one.
    """
    for inverter in (*_brought(Inverter, repository).values(), *INVERTERS.values()):
        if (inverter.embedder, inverter.mapping) == (models.embedder.name, models.generator.mapping):
            return inverter
    generator, embedder = models.generator.name, models.embedder.name
    raise ConfigurationError(
        f"nothing finds latents of {generator} from embeddings of {embedder}; run `anonfaces models fit inversion "
        f"--generator {generator} --embedder {embedder}`"
    )


def find_models(detector: str, embedder: str, generator: str, repository: Path) -> Models:
    """Looks the three names up, among the rows above and those that come with the models of a repository.

    Raises:
        ConfigurationError: a name is unknown, and says which names there are; or a model's row cannot be read.
    """
    return Models(
        detector=_find(detector, Detector, DETECTORS, repository),
        embedder=find_embedder(embedder, repository),
        generator=find_generator(generator, repository),
    )


def _find(name: str, kind: type[Row], shipped: dict[str, Row], repository: Path) -> Row:
    if name in shipped:
        return shipped[name]
    brought: dict[str, Row] = _brought(kind, repository)
    if name in brought:
        return brought[name]
    what = kind.__name__.lower()
    raise ConfigurationError(f"no {what} named {name!r}; there are {', '.join([*shipped, *brought])}")


def _brought(kind: type[Row], repository: Path) -> dict[str, Row]:
    """The rows of a kind that came with converted models."""
    rows: dict[str, Row] = {}
    for path in sorted(repository.glob(f"[!.]*/{VERSION_FOLDER}/{PROVENANCE}")):
        try:
            serves = json.loads(path.read_text()).get("serves") or {}
            if kind.__name__.lower() in serves:
                row = kind.model_validate(serves[kind.__name__.lower()])
                rows[row.name] = row
        except (OSError, ValueError, AttributeError, ValidationError) as broken:
            raise ConfigurationError(
                f"{path} does not say how its model is used ({broken}); convert the model again"
            ) from broken
    return rows

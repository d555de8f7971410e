"""A name -> the row of a model: one of those that ship, or one that came with a model that a user converted."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.anonymizer.models.rows import Detector, Embedder, Estimator, Generator, Inverter, Of
from services.anonymizer.models.shipped import DETECTORS, EMBEDDERS, ESTIMATORS, GENERATORS, INVERTERS
from services.errors import ConfigurationError
from services.provenance import PROVENANCE, VERSION_FOLDER, is_converted
from services.settings import Settings

Row = TypeVar("Row", Detector, Embedder, Generator, Inverter, Estimator)


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
        """The models whose files an index names: those that embeddings and surrogates depend on."""
        return (self.detector.look, self.embedder.model, self.generator.model)


def find_embedder(name: str, repository: Path) -> Embedder:
    """The embedder of that name, shipped or brought. Raises ConfigurationError."""
    return _find(name, Embedder, EMBEDDERS, repository)


def find_generator(name: str, repository: Path) -> Generator:
    """The generator of that name, shipped or brought. Raises ConfigurationError."""
    return _find(name, Generator, GENERATORS, repository)


def find_estimators(repository: Path, of: Of | None = None) -> list[Estimator]:
    """The estimators whose models are converted, brought ones and ours; few have any.

    Args:
        of: of people, or of photos: others' attributes, and estimators that have no more, are left out.

    Raises:
        ConfigurationError: a model's row cannot be read.
    """
    rows = {**_brought(Estimator, repository), **ESTIMATORS}
    there = [row for row in rows.values() if is_converted(repository, row.model)]
    return there if of is None else [row for row in map(partial(_only, of=of), there) if row.attributes]


def _only(row: Estimator, of: Of) -> Estimator:
    kept = {name: attribute for name, attribute in row.attributes.items() if attribute.of == of}
    return row.model_copy(update={"attributes": kept})


DEFAULTS = {"detector": "centerface", "embedder": "dlib-resnet", "generator": "mobile-stylegan-1024"}


def choose(settings: Settings, otherwise: Mapping[str, str] = DEFAULTS) -> Models:
    """The models that the settings name; those of `otherwise` (an index's, say) where they name none.

    Raises:
        ConfigurationError: a name is unknown, and says which names there are; or a model's row cannot be read.
    """
    named = {part: getattr(settings, part) or otherwise[part] for part in DEFAULTS}
    models = find_models(**named, repository=settings.model_repository)
    return models.model_copy(update={"detector": models.detector.calculating_in(settings.detector_precision)})


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

"""Does an index fit the models that are to serve it? Distances and latents of other models would mean nothing."""

from pathlib import Path

from services.anonymizer.models import (
    DEFAULTS,
    EMOTION,
    Estimator,
    Generator,
    Inverter,
    Models,
    choose,
    find_estimators,
    find_generator,
)
from services.errors import ConfigurationError, ConversionError, IndexRefused
from services.population.index import ClusterIndex
from services.provenance import check_model, weights_of
from services.settings import Settings


def models_for(index: ClusterIndex, settings: Settings) -> Models:
    """The models to serve an index with: the settings' where they name any, else the index's; checked against it.

    Raises:
        IndexRefused: the settings name others than the index was made with, or the index names none.
        ConfigurationError: a model is not known here; convert it under the name it had.
    """
    provenance = index.manifest["provenance"]
    missing = [part for part in DEFAULTS if not isinstance(provenance.get(part), str)]
    if missing:
        raise IndexRefused(f"index {index.manifest['name']} does not say its {missing[0]}; build the index again")
    models = choose(settings, provenance)
    check_made_for(index, models)
    return models


def check_made_for(index: ClusterIndex, models: Models) -> None:
    """Refuses an index made with another embedder, aligner or generator: its distances and latents would mean nothing.

    Raises:
        IndexRefused: names both.
    """
    if (
        index.crowds.centroids.shape[1] != models.embedder.dims
        or index.crowds.surrogate_latents.shape[1] != models.generator.latent_dims
    ):
        raise IndexRefused(
            f"index {index.manifest['name']} holds embeddings or latents of other lengths than the models'"
        )
    provenance = index.manifest["provenance"]
    served = {
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
    }
    for part, name in served.items():
        if provenance.get(part) != name:
            raise IndexRefused(
                f"index {index.manifest['name']} was made with {part} {provenance.get(part)!r}, the service uses "
                f"{name!r}; change the setting or build the index again"
            )


def check_built_with(index: ClusterIndex, repository: Path) -> None:
    """Refuses an index that was built with other model files than those in a repository.

    Raises:
        IndexRefused: a model's hash differs.
        ConversionError: a model is not in the repository, or was changed.
    """
    for name, built_with in index.manifest["provenance"].get("models_sha256", {}).items():
        if check_model(repository, name)["model_sha256"] != built_with:
            raise IndexRefused(
                f"index {index.manifest['name']} was built with another {name} than the repository holds; build it "
                "again with `anonfaces population demo`, or convert the models it was built with"
            )


def check_inverter(inverter: Inverter, repository: Path) -> None:
    """Refuses an inversion that was fitted on other weights than those its models now have.

    Raises:
        ConversionError: names the model; or one is not converted.
    """
    fitted_on = check_model(repository, inverter.model)["card"].get("weights_sha256", {})
    for model in (inverter.mapping, inverter.embedder):
        if model in fitted_on and weights_of(model, repository) != fitted_on[model]:
            raise ConversionError(
                f"{inverter.name} was fitted on another {model} than the repository holds; fit it again with "
                "`anonfaces models fit inversion`"
            )


def other_generators(settings: Settings, models: Models) -> list[Generator]:
    """The generators that a request may name beside the one of `models`, as the settings list them.

    Raises:
        ConfigurationError: one is unknown, or its latents are not those of the index.
    """
    own, others = models.generator, []
    for name in filter(None, (part.strip() for part in settings.other_generators.split(","))):
        other = find_generator(name, settings.model_repository)
        if (other.mapping, other.latent_shape) != (own.mapping, own.latent_shape) or own.mapping is None:
            raise ConfigurationError(
                f"ANONFACES_OTHER_GENERATORS names {name}, whose latents are not those of {own.name}; its pictures "
                "would not be the crowds' surrogates"
            )
        others.append(other)
    return others


def emotion_estimator(settings: Settings, models: Models) -> Estimator | None:
    """What tells the emotion of a face, for a generator that has one to choose; None if there is none, or no need.

    Raises:
        ConfigurationError: a model's row cannot be read.
    """
    if EMOTION not in models.generator.choices:
        return None
    return next((e for e in find_estimators(settings.model_repository) if EMOTION in e.attributes), None)


def served_models(settings: Settings, models: Models) -> set[str]:
    """Every Triton model that requests may need, chosen generators and what is kept of a photo included."""
    emotions = emotion_estimator(settings, models)
    others = {other.model for other in other_generators(settings, models)}
    return {*models.online(), *others, *([emotions.model] if emotions else [])}

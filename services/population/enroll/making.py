"""Which models vectors come from: a population is bound to them."""

from pathlib import Path
from typing import Any

from services.anonymizer.models import (
    DEFAULTS,
    Embedder,
    Inverter,
    Models,
    find_embedder,
    find_generator,
    find_inverter,
)
from services.errors import ConfigurationError, EnrolmentError
from services.population.compatibility import check_inverter
from services.population.enroll.arrays import Arrays
from services.population.enroll.chunk import Job
from services.provenance import VERSION_FOLDER, check_model
from services.settings import Settings


def inverter_for(models: Models, repository: Path) -> tuple[Inverter | None, str]:
    """What finds latents of photos; or None, and why there is nothing.

    Raises:
        ConversionError: there is one, but it was changed, or fitted on other models.
    """
    try:
        inverter = find_inverter(models, repository)
    except ConfigurationError as none:
        return None, str(none)
    if not (repository / inverter.model / VERSION_FOLDER / "model.onnx").is_file():
        return None, f"{inverter.model} is not converted; run `anonfaces models convert`"
    check_inverter(inverter, repository)
    return inverter, ""


def served_models(job: Job) -> set[str]:
    """The Triton models that enrolling photos takes."""
    further = [job.inverter.model] if job.inverter else []
    further += [estimator.model for estimator in job.estimators]
    return {*job.models.detector.served, job.models.embedder.model, *further}


def made_with(job: Job) -> dict[str, Any]:
    """Names and hashes of the models that a job's vectors come from.

    Raises:
        ConversionError: a model is not converted, or was changed.
    """
    models, repository = job.models, job.settings.model_repository
    behind = {models.detector.look, models.embedder.model}
    if job.inverter:
        behind |= {job.inverter.model, models.generator.model}
    return {
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
        "inverter": job.inverter.name if job.inverter else None,
        "models_sha256": {name: check_model(repository, name)["model_sha256"] for name in sorted(behind)},
    }


def stated(arrays: Arrays, embedder: str | None, generator: str | None, settings: Settings) -> dict[str, Any]:
    """What arrays are said to be made with. Detector and aligner are not known, nor are the models' files.

    Args:
        embedder, generator: names; None: the settings', else those of the file or the defaults. Only what is named on
            purpose may be a model that is not known here.

    Raises:
        EnrolmentError: the arrays are of other lengths than that models' vectors, or of another generator.
        ConfigurationError: a name of the settings is not known.
    """
    repository = settings.model_repository
    made_by = generator or settings.generator or arrays.generator or DEFAULTS["generator"]
    if arrays.generator not in (None, made_by):
        raise EnrolmentError(f"the latents are of {arrays.generator}, not of {made_by}; choose it with --generator")
    told_by = embedder or settings.embedder or DEFAULTS["embedder"]
    row = embedder_named(told_by, settings, needed=embedder is None)
    dims = arrays.embeddings.shape[1]
    if row is not None and row.dims != dims:
        raise EnrolmentError(
            f"embeddings of {row.name} have {row.dims} values, these have {dims}; say with --embedder what they are of"
        )
    if arrays.latents is not None:
        try:
            wanted = find_generator(made_by, repository).latent_dims
        except ConfigurationError:
            if generator is None:
                raise
            wanted = arrays.latents.shape[1]
        if arrays.latents.shape[1] != wanted:
            raise EnrolmentError(
                f"latents of {made_by} have {wanted} values, these have {arrays.latents.shape[1]}; say with "
                "--generator what they are of"
            )
    names = {"detector": None, "embedder": told_by, "aligner": None, "generator": made_by, "inverter": None}
    return {**names, "models_sha256": {}}


def embedder_named(name: str, settings: Settings, needed: bool = False) -> Embedder | None:
    """The row of an embedder, if it is known here. Raises ConfigurationError if it has to be, and is not."""
    try:
        return find_embedder(name, settings.model_repository)
    except ConfigurationError:
        if needed:
            raise
        return None

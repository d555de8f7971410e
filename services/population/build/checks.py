"""What a build refuses: a population of other models, and steps that would single people out."""

from pathlib import Path

from services.anonymizer.models import Models
from services.errors import EnrolmentError, IndexRefused
from services.population.build.options import BuildOptions, Place, constraints_of
from services.population.index import ClusterIndex
from services.population.index.diff import Difference
from services.population.people import Population
from services.provenance import check_model


def check_population(population: Population, models: Models, repository: Path) -> None:
    """Refuses a population that was enrolled with other models than those an index is to be built with.

    Raises:
        EnrolmentError: names both; or the population has no latents, or nobody.
    """
    made_with, name = population.made_with, population.name
    if len(population.identities) == 0:
        raise EnrolmentError(f"nobody is enrolled in population {name}")
    wanted = {
        "detector": models.detector.name,
        "embedder": models.embedder.name,
        "aligner": models.embedder.aligner,
        "generator": models.generator.name,
    }
    for part, model in wanted.items():
        if made_with.get(part) not in (None, model):
            raise EnrolmentError(
                f"population {name} was enrolled with {part} {made_with[part]}, the settings say {model}; "
                f"set ANONFACES_{part.upper()}, or enrol the population again"
            )
    for model, sha256 in made_with.get("models_sha256", {}).items():
        if check_model(repository, model)["model_sha256"] != sha256:
            raise EnrolmentError(
                f"population {name} was enrolled with another {model} than the repository holds; enrol it again, or "
                "convert the model it was enrolled with"
            )
    if population.latents is None:
        raise EnrolmentError(
            f"no latents are known for population {name}, so no surrogate can be made of them; run `anonfaces models "
            "fit inversion` and enrol again, or enrol with --latents"
        )
    lengths = (population.embeddings.shape[1], population.latents.shape[1])
    if lengths != (models.embedder.dims, models.generator.latent_dims):
        raise EnrolmentError(f"population {name} holds embeddings or latents of other lengths than the models'")


def check_same_epoch(before: ClusterIndex, options: BuildOptions, place: Place) -> None:
    """Refuses what frozen crowds cannot take.

    Raises:
        IndexRefused: k, the models, the constraints or the kind of surrogates are not those of the version before.
    """
    told = before.manifest["provenance"]
    models = {name: check_model(place.repository, name)["model_sha256"] for name in place.models.online()}
    for what, was, is_now in (
        ("k", before.k, options.k),
        ("models", told.get("models_sha256"), models),
        ("constraints", told.get("partition", {}).get("constraints"), constraints_of(options)),
        ("surrogates", told.get("surrogates"), options.surrogates),
    ):
        if was != is_now:
            shown = f": {was!r}, now {is_now!r}" if what != "models" else ""
            raise IndexRefused(
                f"index {before.name} was built with other {what}{shown}. Its crowds are frozen, since whoever holds "
                "two builds of the same people can single some of them out; build with --new-epoch, and withdraw what "
                "was published before"
            )


def check_exposure(difference: Difference) -> None:
    """Refuses a version that tells people apart, together with the one before.

    Raises:
        IndexRefused: says of how many.
    """
    exposure = difference.exposure
    if exposure is None or difference.changed or difference.dropped:
        raise IndexRefused("crowds of the version before would change; build with --new-epoch")
    if exposure.below_k:
        raise IndexRefused(
            f"together with version {difference.old} this one would put {exposure.below_k} people into groups below k, "
            f"{exposure.singled_out} of them alone; build with --new-epoch, and withdraw what was published before"
        )

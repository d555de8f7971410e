"""What a build refuses: a population of other models, steps that would single people out, means that are a person."""

from pathlib import Path

import numpy as np

from services.anonymizer.models import Models
from services.errors import EnrolmentError, IndexRefused
from services.population.build.options import BuildOptions, Place, constraints_of
from services.population.index import ClusterIndex, read_version, versions_of
from services.population.index.diff import Difference, compare
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
    models = {name: check_model(place.repository, name)["model_sha256"] for name in place.models.recorded()}
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


def check_branches(before: ClusterIndex, draft: ClusterIndex, place: Place, key: bytes) -> None:
    """Refuses a version that tells people apart, together with one that `before` does not follow.

    There are such versions where somebody went back to an older one, which may have been served until then.

    Args:
        draft: what is to be published after `before`.
        key: the operator's.

    Raises:
        IndexRefused: names the version; or it cannot be read.
    """
    followed = {line.version for line in before.ledger}
    for folder in versions_of(place.folder):
        if folder.name in followed:
            continue
        way_out = f"make {folder.name} the current version, or remove its folder if it was never served"
        try:
            other = read_version(folder)
            enrolment = place.store.read(other.version) if place.store.has(other.version) else None
        except IndexRefused as broken:
            raise IndexRefused(
                f"version {before.version} does not follow {folder.name}: {broken}; {way_out}"
            ) from broken
        found = compare(ClusterIndex(other.manifest, other.crowds, enrolment), draft, key)
        if found.changed or found.dropped or (found.exposure and found.exposure.below_k):
            raise IndexRefused(
                f"version {before.version} does not follow {folder.name}, and together with that one the new version "
                f"would put people into groups below k; {way_out}, or build with --new-epoch"
            )


def check_means(members: np.ndarray, labels: np.ndarray, published: np.ndarray, what: str) -> None:
    """Refuses a crowd whose published mean is the very vector of a member: of people who are one and the same, say.

    Args:
        members: float [n, d], their vectors.
        labels: int64 [n], crowds 0..m-1.
        published: float [m, d].
        what: is published.

    Raises:
        IndexRefused: says of how many crowds.
    """
    apart = np.abs(members - published[labels]).max(axis=1)
    equal = np.unique(labels[apart <= 1e-6 * np.abs(members).max(initial=0)])
    if len(equal):
        raise IndexRefused(
            f"the {what} of {len(equal)} crowds would be the very vector of a member: are several of their identities "
            "one person? Look at duplicates.csv of the population, or build with --duplicates count-once or another "
            "--seed"
        )

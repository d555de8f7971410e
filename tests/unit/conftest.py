"""What several unit tests share: small populations that add up, and hypothesis without a clock or a database."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from services.anonymizer.models import DETECTORS, EMBEDDERS, GENERATORS, Models
from services.population.index import ClusterIndex, Crowds, Enrolment, EnrolmentStore, building, publish, versions_of

# Derandomised: a red run on one machine is red on the next one too. Fixtures used under @given hold no state.
settings.register_profile(
    "unit",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("unit")

Population = tuple[Crowds, Enrolment]


@pytest.fixture(scope="session")
def make_population() -> Callable[..., Population]:
    """Crowds of the given sizes with members around well separated centres, and everything else derived from them."""

    def make(*sizes: int, dims: int = 8, seed: int = 0) -> Population:
        rng = np.random.default_rng(seed)
        crowd = np.repeat(np.arange(len(sizes)), sizes)
        embeddings = (rng.normal(size=(len(sizes), dims))[crowd] + rng.normal(size=(len(crowd), dims)) / 5).astype("f4")
        centroids = np.array([embeddings[crowd == c].mean(axis=0) for c in range(len(sizes))], np.float32)
        crowds = Crowds(
            sizes=np.array(sizes),
            centroids=centroids,
            surrogate_latents=rng.normal(size=(len(sizes), 6)).astype(np.float32),
            surrogate_landmarks=rng.uniform(0.3, 0.7, size=(len(sizes), 5, 2)).astype(np.float32),
            surrogate_embeddings=rng.normal(size=(len(sizes), dims)).astype(np.float32),
        )
        return crowds, Enrolment.of(np.array([f"person-{i}" for i in range(len(crowd))]), embeddings, crowd)

    return make


# the population of these tests is small, and so are its models
MODELS = Models(
    detector=DETECTORS["centerface"],
    embedder=EMBEDDERS["dlib-resnet"].model_copy(update={"dims": 8}),
    generator=GENERATORS["mobile-stylegan-512"].model_copy(update={"latent_shape": (6,)}),
)
PROVENANCE = {
    "detector": "centerface",
    "embedder": "dlib-resnet",
    "aligner": MODELS.embedder.aligner,
    "generator": "mobile-stylegan-512",
}


def store_beside(folder: Path) -> EnrolmentStore:
    """Where tests keep the maps of an index."""
    return EnrolmentStore(folder.parent / f"maps-{folder.name}", folder.parent / f"{folder.name}.key")


def write_index(
    folder: Path, crowds: Crowds, enrolment: Enrolment, k: int = 3, provenance: dict | None = None
) -> ClusterIndex:
    """A first version of an index, as `build` publishes one."""
    with building(folder):
        return publish(folder, crowds, enrolment, store_beside(folder), k, 0.5, provenance or {})


@pytest.fixture(scope="session")
def pristine(make_population, tmp_path_factory) -> Path:
    """The folder of an index of three crowds of 3, 3 and 4; tests copy what is around it."""
    folder = tmp_path_factory.mktemp("pristine") / "town"
    write_index(folder, *make_population(3, 3, 4), provenance=PROVENANCE)
    return folder


@pytest.fixture
def town(pristine, tmp_path) -> Path:
    """A copy of that index, with its maps and its key beside it."""
    shutil.copytree(pristine.parent, tmp_path, dirs_exist_ok=True, symlinks=True)
    return tmp_path / "town"


@pytest.fixture
def folder(town) -> Path:
    """The folder of its only version."""
    (version,) = versions_of(town)
    return version

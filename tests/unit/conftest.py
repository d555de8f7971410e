"""What several unit tests share: small populations that add up, and hypothesis without a clock or a database."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from services.population.index import Crowds, Enrolment

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
            surrogate_w=rng.normal(size=(len(sizes), 6)).astype(np.float32),
            surrogate_landmarks=rng.uniform(0.3, 0.7, size=(len(sizes), 5, 2)).astype(np.float32),
            surrogate_embeddings=rng.normal(size=(len(sizes), dims)).astype(np.float32),
        )
        return crowds, Enrolment(np.array([f"person-{i}" for i in range(len(crowd))]), embeddings, crowd)

    return make

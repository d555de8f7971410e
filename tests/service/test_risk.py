"""Surrogates of a few synthetic people, rendered and looked at through a real Triton."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deploy.local.triton import LocalTriton
from services.anonymizer.models import Models, find_models
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.portrait import photograph
from services.population.sample import sampler_for
from services.population.surrogates import ChosenSurrogates, Report, RiskOptions, choose_surrogates, mean_by
from services.population.surrogates.choose import Crowded
from services.population.surrogates.compare import compare
from services.population.surrogates.weights import random_mixtures
from services.settings import Settings

CROWDS, K, SEED = 3, 4, 11
RENDERS = 5
THRESHOLD = 0.6  # most members of a crowd of four are nearer to their plain mean than this


@dataclass(frozen=True)
class Town:
    """People in crowds, and what looks at them: the smaller generator, which is the quicker one."""

    url: str
    repository: Path
    models: Models
    people: Crowded

    def choose(self, method: str, risk: RiskOptions | None = None) -> ChosenSurrogates:
        async def through() -> ChosenSurrogates:
            async with Triton(self.url, timeout_s=120) as triton:
                p = self.people
                return await choose_surrogates(
                    p.latents, p.embeddings, p.labels, method, SEED, triton, self.models, self.repository, told, risk
                )

        done: list[tuple[int, int]] = []

        def told(rows: int, of: int) -> None:
            done.append((rows, of))

        chosen = asyncio.run(through())
        assert done[-1][0] == done[-1][1]
        return chosen

    def apart(self, chosen: ChosenSurrogates) -> np.ndarray:
        """float [n]: members from their surrogate, rendered once more and seen by the service's own steps."""

        async def through() -> list:
            async with Triton(self.url, timeout_s=120) as triton:
                return await photograph(chosen.latents, triton, self.models, self.models.generator, lambda rows: None)

        seen = np.array([portrait.embedding for portrait in asyncio.run(through())])
        return np.linalg.norm(self.people.embeddings - seen[self.people.labels], axis=1)


@pytest.fixture(scope="module")
def town(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    repository = settings.model_repository
    if not (repository / "mobile-stylegan-512" / "1" / "model.onnx").is_file():
        pytest.skip("needs converted models; run `make models`")
    models = find_models("centerface", "dlib-resnet", "mobile-stylegan-512", repository)
    sampler = sampler_for(models.generator, repository)
    with LocalTriton(repository, {*models.online(), *sampler.models}, tmp_path_factory.mktemp("run")) as server:

        async def people() -> Crowded:
            async with Triton(server.url, timeout_s=120) as triton:
                latents = await sampler.latents(CROWDS * K, SEED, triton)
                seen = await photograph(latents, triton, models, models.generator, lambda rows: None)
                assert None not in seen
                embeddings = np.array([portrait.embedding for portrait in seen])
                return Crowded(latents, embeddings, np.repeat(np.arange(CROWDS), K))

        yield Town(server.url, repository, models, asyncio.run(people()))


@pytest.fixture(scope="module")
def tuned(town: Town) -> ChosenSurrogates:
    return town.choose("risk", RiskOptions(0.25, THRESHOLD, RENDERS))


def test_mean_surrogates_are_reported_as_they_are_seen(town):
    chosen = town.choose("mean")
    apart = town.apart(chosen)
    np.testing.assert_allclose(chosen.latents, town.people.latents.reshape(CROWDS, K, -1).mean(axis=1), atol=1e-5)
    (way,) = chosen.report["ways"]
    (seen,) = way["seen"]
    assert (way["method"], way["rendered"], seen["threshold"]) == ("mean", CROWDS, 0.5)
    assert seen["loss"] == pytest.approx((apart**2).mean(), abs=1e-4)
    assert seen["mean_distance"] == pytest.approx(apart.mean(), abs=1e-4)
    assert seen["recognised"] == pytest.approx((apart < 0.5).mean())
    assert chosen.report["centre_loss"] < seen["loss"]


def test_random_surrogates_are_other_mixtures_than_plain_ones(town):
    chosen, people = town.choose("random"), town.people
    assert (chosen.latents == random_mixtures(people.latents, people.labels, SEED)).all()
    assert np.abs(chosen.latents - mean_by(people.latents, people.labels)).max() > 0.05
    assert [way["method"] for way in chosen.report["ways"]] == ["random"]


def test_risk_target_is_met_in_the_pictures_that_are_served(town, tuned):
    apart = town.apart(tuned)
    recognised = (apart < THRESHOLD).mean()
    assert recognised <= 0.25
    mean, random, risk = tuned.report["ways"]
    assert [way["method"] for way in (mean, random, risk)] == ["mean", "random", "risk"]
    assert mean["seen"][0]["recognised"] > 0.25  # there was something to do
    assert risk["seen"][0]["recognised"] == pytest.approx(recognised)
    assert risk["seen"][0]["loss"] == pytest.approx((apart**2).mean(), abs=1e-4)
    assert risk["rendered"] == RENDERS * CROWDS
    assert tuned.report["missed_by"] == 0


def test_risk_that_is_allowed_leaves_the_least_loss(town, tuned):
    free = town.choose("risk", RiskOptions(1.0, THRESHOLD, RENDERS))
    losses = {way["method"]: way["seen"][0]["loss"] for way in free.report["ways"]}
    assert losses["risk"] <= min(losses["mean"], losses["random"])
    assert losses["risk"] <= tuned.report["ways"][-1]["seen"][0]["loss"]


def test_portraits_are_those_of_the_chosen_latents(town, tuned):
    assert tuned.latents.shape == (CROWDS, 512)
    assert tuned.latents.dtype == np.float32
    seen = np.array([portrait.embedding for portrait in tuned.portraits])
    apart = np.linalg.norm(town.people.embeddings - seen[town.people.labels], axis=1)
    np.testing.assert_allclose(apart, town.apart(tuned), atol=1e-4)
    for portrait in tuned.portraits:
        assert (portrait.landmarks > 100).all()
        assert (portrait.landmarks < 412).all()


def test_target_out_of_reach_is_refused_unless_best_effort_will_do(town):
    with pytest.raises(PartitionError, match=r"of 12 people stay nearer.*--risk-best-effort"):
        town.choose("risk", RiskOptions(0.0, 2.0, 2))
    chosen = town.choose("risk", RiskOptions(0.0, 2.0, 2, best_effort=True))
    assert chosen.report["missed_by"] == 1.0
    assert len(chosen.portraits) == CROWDS


def test_surrogate_without_a_face_names_its_crowd(town):
    """Far from everybody the generator paints no face; tuned surrogates come back to where there is one."""
    latents = town.people.latents.copy()
    latents[town.people.labels == 1] *= -12
    p = town.people

    async def through(method: str, risk: RiskOptions | None = None) -> ChosenSurrogates:
        async with Triton(town.url, timeout_s=120) as triton:
            return await choose_surrogates(
                latents,
                p.embeddings,
                p.labels,
                method,
                SEED,
                triton,
                town.models,
                town.repository,
                lambda *_: None,
                risk,
            )

    with pytest.raises(PartitionError, match="crowd 1 has no face"):
        asyncio.run(through("mean"))
    found = asyncio.run(through("risk", RiskOptions(1.0, None, RENDERS)))
    assert len(found.portraits) == CROWDS
    assert [way["method"] for way in found.report["ways"]] == ["risk"]


def test_comparison_has_a_line_for_every_way(town):
    async def through() -> Report:
        async with Triton(town.url, timeout_s=120) as triton:
            risks = [RiskOptions(1.0, THRESHOLD, 2), RiskOptions(0.0, 2.0, 2)]
            others = [town.models.embedder]  # as a second recogniser it must see what the first one does
            return await compare(
                town.people, risks, SEED, others, town.models.generator, triton, town.models, lambda *_: None
            )

    report = asyncio.run(through())
    assert [way.method for way in report.ways] == ["mean", "random", "risk 1", "risk 0, missed"]
    mean, random, free, _ = report.ways
    for way in (mean, random):
        assert way.seen[0].recognised == way.seen[1].recognised
        assert way.seen[0].loss == pytest.approx(way.seen[1].loss, abs=1e-6)
    assert (free.seen[0].threshold, free.seen[1].threshold) == (THRESHOLD, 0.5)
    assert free.seen[0].loss <= min(mean.seen[0].loss, random.seen[0].loss) + 1e-6  # the better start of every crowd

"""The guarantee as a client of the service sees it: enrolled people get their crowd's one surrogate."""

import asyncio

import numpy as np
import pytest

from deploy.local.sample_photos import fresh_pictures
from services.anonymizer.latents import PSI
from services.anonymizer.models import GENERATORS, choose
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.population.demo import person_name
from services.population.portrait import read_portrait
from services.population.sample import Sampler, sampler_for
from tests.conftest import as_bytes, as_pixels

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def sampler(settings) -> Sampler:
    return sampler_for(choose(settings).generator, settings.model_repository)


def render_people(rows: list[int], index, sampler, url: str) -> np.ndarray:
    """The enrolment pictures of some sampled people again."""

    async def run() -> np.ndarray:
        async with Triton(url, timeout_s=60) as triton:
            seed = index.manifest["provenance"]["seed"]
            latents = await sampler.latents(max(rows) + 1, seed, triton)
            return await sampler.pictures(latents[rows], triton)

    return asyncio.run(run())


def members_of(crowd: int, index) -> list[int]:
    names = index.enrolled.identities[index.enrolled.crowd == crowd].tolist()
    return [row for row in range(2 * len(index.enrolled.identities)) if person_name(row) in names]


def test_enrolled_people_get_the_crowd_stored_for_them(http, index, sampler, stack):
    names = index.enrolled.identities.tolist()
    rows = [row for row in range(40) if person_name(row) in names][:3]
    for row, picture in zip(rows, render_people(rows, index, sampler, stack.triton.url), strict=True):
        (face,) = http.post("/v1/inspect", content=as_bytes(picture, "PNG"), headers=PNG).json()["faces"]
        assert face["enrolled"]
        assert face["crowd"] == index.enrolled.crowd[names.index(person_name(row))]


def test_fresh_pictures_of_enrolled_people_are_recognised(http, index, sampler, stack):
    async def fresh() -> np.ndarray:
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            return await fresh_pictures(4, index, sampler, triton)

    names = index.enrolled.identities.tolist()
    people = [row for row in range(40) if person_name(row) in names][:4]
    right = 0
    for row, picture in zip(people, asyncio.run(fresh()), strict=True):
        (face,) = http.post("/v1/inspect", content=as_bytes(picture, "PNG"), headers=PNG).json()["faces"]
        right += face["enrolled"] and face["crowd"] == index.enrolled.crowd[names.index(person_name(row))]
    assert right >= 3  # a fresh picture may differ too much from the enrolled one; it is then a stranger's


def test_members_of_a_crowd_all_become_its_surrogate(http, index, sampler, stack, settings):
    """A finished face is nearer to its crowd's surrogate than to who it was, and to few other surrogates of all.

    Hair and background stay, so that another crowd's surrogate may happen to be as near.
    """
    crowd = int(index.enrolled.crowd[0])
    rows = members_of(crowd, index)[:3]
    assert len(rows) == 3
    models = choose(settings)

    async def read(picture: np.ndarray) -> np.ndarray:
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            portrait = await read_portrait(picture, triton, models)
        assert portrait is not None
        return portrait.embedding

    for picture in render_people(rows, index, sampler, stack.triton.url):
        after = as_pixels(http.post("/v1/anonymize", content=as_bytes(picture, "PNG"), headers=PNG).content)
        distances = np.linalg.norm(index.crowds.surrogate_embeddings - asyncio.run(read(after)), axis=1)
        assert (distances < distances[crowd]).sum() <= 2
        assert distances[crowd] < np.linalg.norm(asyncio.run(read(picture)) - asyncio.run(read(after)))


def test_surrogates_rendered_twice_are_identical(index, stack):
    async def twice() -> tuple[np.ndarray, np.ndarray]:
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            generator = GENERATORS["mobile-stylegan-1024"]
            w = index.crowds.surrogate_latents[[2]]
            return await render(w, triton, generator), await render(w, triton, generator)

    first, second = asyncio.run(twice())
    assert (first == second).all()


def test_surrogate_latent_is_the_mean_of_its_members(index, sampler, stack):
    async def latents() -> np.ndarray:
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            count = 2 * len(index.enrolled.identities)
            seed = index.manifest["provenance"]["seed"]
            return await sampler.latents(count, seed, triton)

    drawn = asyncio.run(latents())
    rows = members_of(5, index)
    assert len(rows) == index.crowds.sizes[5]
    assert index.manifest["provenance"]["psi"] == PSI
    assert np.allclose(drawn[rows].mean(axis=0), index.crowds.surrogate_latents[5], atol=1e-4)

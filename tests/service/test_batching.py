"""Requests that come together reach Triton together, and what they share is made once. Triton's own counts say so."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from deploy.local.stack import LocalStack, Service
from services.anonymizer.models import choose
from services.anonymizer.triton import Triton
from services.population.index import ClusterIndex
from services.settings import Settings
from tests.conftest import as_bytes
from tests.service.test_metrics import series, total

GENERATOR, EMBEDDER = "mobile-stylegan-1024", "dlib-resnet"
FIFTY = 50
LOOKUPS, CACHE = "anonfaces_surrogate_lookups_total", "anonfaces_surrogate_cache_bytes"
SURROGATE_BYTES = 1024 * 1024 * 3 * 4 // 3  # with its smaller forms; and less than a tenth of it for its mask
KEPT = 3


@dataclass(frozen=True)
class Counts:
    """What Triton has run of one model."""

    requests: int
    rows: int
    executions: int
    largest: int  # rows of the largest batch ever


def counts(stack: LocalStack, model: str) -> Counts:
    with grpcclient.InferenceServerClient(stack.triton.url) as server:
        (found,) = server.get_inference_statistics(model).model_stats
    largest = max((batch.batch_size for batch in found.batch_stats), default=0)
    return Counts(found.inference_stats.success.count, found.inference_count, found.execution_count, largest)


@pytest.fixture(scope="module")
def small(settings: Settings, stack: LocalStack, tmp_path_factory) -> Iterator[Service]:
    """A service that works on fifty photos at a time and keeps three surrogates."""
    changes = {"max_concurrency": FIFTY, "surrogate_cache_bytes": int((KEPT + 0.5) * SURROGATE_BYTES)}
    service = Service(settings.model_copy(update=changes), stack.triton.url, tmp_path_factory.mktemp("small"))
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> bytes:
    """A photo small enough for the smallest detector."""
    return as_bytes(astronaut[:190, 130:320], "PNG")


async def _together(url: str, paths: list[str], photo: bytes | None = None) -> list[httpx.Response]:
    method = "GET" if photo is None else "POST"
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        return await asyncio.gather(*(http.request(method, path, content=photo) for path in paths))


def together(url: str, paths: list[str], photo: bytes | None = None) -> list[httpx.Response]:
    """Asks for all paths at once, with the photo if there is one; every answer must be 200."""
    answers = asyncio.run(_together(url, paths, photo))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers if answer.is_error]
    return answers


def surrogate(crowd: int) -> str:
    return f"/v1/surrogates/{crowd}?format=jpeg"


def forget(service: Service, crowds: Collection[int], index: ClusterIndex) -> None:
    """Has the service render so many other surrogates that it does not keep those of these crowds any more."""
    others = [number for number in range(len(index.crowds)) if number not in crowds][:KEPT]
    together(service.url, [surrogate(other) for other in others])


def test_chips_of_concurrent_requests_are_embedded_together(stack, face):
    before = counts(stack, EMBEDDER)
    together(stack.url, ["/v1/inspect"] * 48, face)
    after = counts(stack, EMBEDDER)
    requests = after.requests - before.requests
    assert requests == after.rows - before.rows == 48  # a face each
    assert after.executions - before.executions <= 0.8 * requests


async def test_latents_that_wait_for_the_generator_are_rendered_as_one_batch(stack, settings, index):
    """Of several services, that is: one service sends its misses as one request already."""
    generator = choose(settings).generator
    latents = index.crowds.surrogate_latents[:6]
    before = counts(stack, GENERATOR)
    async with Triton(stack.triton.url, timeout_s=60) as triton:
        renders = (triton.infer(generator.model, {generator.latent: latent[None]}, "image") for latent in latents)
        together = [images[0] for (images,) in await asyncio.gather(*renders)]
        (alone,) = await triton.infer(generator.model, {generator.latent: latents[5:]}, "image")
    after = counts(stack, GENERATOR)
    assert after.requests - before.requests == 7
    assert after.executions - before.executions <= 4  # one that comes first, those that wait meanwhile, and the last
    assert after.largest >= 3
    np.testing.assert_array_equal(together[5], alone[0])  # who shares a batch gets what it would get alone


def test_misses_of_concurrent_requests_are_one_request_to_the_generator(small, stack, index):
    crowds = range(len(index.crowds))[-6:]
    forget(small, crowds, index)
    before = counts(stack, GENERATOR)
    together(small.url, [surrogate(crowd) for crowd in crowds])
    after = counts(stack, GENERATOR)
    assert after.rows - before.rows == 6
    assert after.executions - before.executions <= after.requests - before.requests <= 3


@pytest.mark.parametrize("ask", ["surrogate", "anonymize"])
def test_fifty_requests_for_one_crowd_render_it_once(small, stack, index, face, ask):
    (seen,) = together(small.url, ["/v1/inspect"], face)[0].json()["faces"]
    crowd = seen["crowd"]
    forget(small, [crowd], index)
    before, known = counts(stack, GENERATOR), series(small.url)
    path, photo = (surrogate(crowd), None) if ask == "surrogate" else ("/v1/anonymize", face)
    answers = together(small.url, [path] * FIFTY, photo)
    after, now = counts(stack, GENERATOR), series(small.url)
    assert after.rows - before.rows == 1
    assert len({answer.content for answer in answers}) == 1
    found = {
        result: total(now, LOOKUPS, result) - total(known, LOOKUPS, result)
        for result in ("'miss'", "'joined'", "'hit'")
    }
    assert found["'miss'"] == 1
    assert found["'joined'"] >= 1
    assert sum(found.values()) == FIFTY


def test_kept_surrogates_stay_within_their_bytes_and_hits_are_counted(small, stack, index):
    limit = small.settings.surrogate_cache_bytes
    for crowd in range(KEPT + 3):
        together(small.url, [surrogate(crowd)])
        kept = total(series(small.url), CACHE)
        assert SURROGATE_BYTES <= kept <= limit
    assert kept > limit - SURROGATE_BYTES  # it is full
    before, known = counts(stack, GENERATOR), series(small.url)
    for crowd in (KEPT + 2, KEPT + 1, 0, KEPT + 2):  # 0 was evicted
        together(small.url, [surrogate(crowd)])
    after, now = counts(stack, GENERATOR), series(small.url)
    found = [total(now, LOOKUPS, result) - total(known, LOOKUPS, result) for result in ("'hit'", "'miss'", "'joined'")]
    assert found == [3, 1, 0]
    assert after.rows - before.rows == 1

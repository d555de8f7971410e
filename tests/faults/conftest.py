"""What tests of faults share: photos, stacks of their own to break, and what no answer may ever be."""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import httpx
import numpy as np
import pytest

from deploy.local.process import wait_until
from deploy.local.stack import LocalStack, Service
from services.anonymizer.models import Models, choose
from services.anonymizer.triton import Triton
from services.population.portrait import read_portrait
from services.settings import Settings
from tests.conftest import as_bytes, as_pixels

JPEG = {"Content-Type": "image/jpeg"}
FACE = (slice(60, 200), slice(160, 290))  # of the astronaut, rows and columns


@dataclass(frozen=True)
class Judge:
    """Tells an anonymised photo from the photo that was sent. A surrogate is the same every time."""

    photo: bytes
    healthy: bytes  # the answer while all was well

    def check(self, answer: httpx.Response) -> httpx.Response:
        """An answer is the anonymised photo, or one line of JSON without a picture in it."""
        if answer.status_code == 200:
            face = as_pixels(answer.content)[FACE].astype(int)
            assert np.abs(face - as_pixels(self.healthy)[FACE]).mean() < 4
            assert np.abs(face - as_pixels(self.photo)[FACE]).mean() > 10
        else:
            assert set(answer.json()) == {"error", "message"}
            assert len(answer.content) < 500
        return answer


def post(url: str, photo: bytes, timeout: float = 60, **query: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/anonymize", content=photo, headers=JPEG, timeout=timeout, params=query)


def metric(url: str, name: str) -> float:
    """The sum of a metric's series, 0 where there is none. The name may be a pattern."""
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}(\{{| )", line))


@pytest.fixture(scope="session")
def judge(stack: LocalStack, settings: Settings, astronaut_jpeg: bytes) -> Judge:
    answer = post(stack.url, astronaut_jpeg)
    assert answer.status_code == 200
    sound = Judge(astronaut_jpeg, answer.content)
    sound.check(answer)
    before, after = asyncio.run(_embeddings([astronaut_jpeg, answer.content], stack.triton.url, choose(settings)))
    assert np.linalg.norm(before - after) > 0.4  # photos of one person are nearer than that to each other
    return sound


async def _embeddings(photos: list[bytes], triton_url: str, models: Models) -> list[np.ndarray]:
    async with Triton(triton_url, timeout_s=60) as triton:
        portraits = [await read_portrait(as_pixels(photo), triton, models) for photo in photos]
    return [portrait.embedding for portrait in portraits if portrait]


@pytest.fixture(scope="session")
def large(astronaut: np.ndarray) -> bytes:
    """A photo that takes some seconds: 9.4 megapixels."""
    return as_bytes(np.kron(astronaut, np.ones((6, 6, 1), np.uint8)), "JPEG")


@pytest.fixture(scope="session")
def homes(settings: Settings, index, tmp_path_factory) -> Callable[[], Path]:
    """Makes copies of what a service reads: indexes, maps, keys."""

    def make() -> Path:
        home = tmp_path_factory.mktemp("home")
        for part in ("indexes", "maps", "keys"):
            shutil.copytree(settings.home / part, home / part, symlinks=True)
        return home

    return make


@pytest.fixture(scope="module")
def served(settings: Settings, stack: LocalStack, homes) -> Iterator[Callable[..., Service]]:
    """Starts services of the module's own on the Triton of all tests, which these tests leave alone."""
    running: list[Service] = []

    def start(**changes: object) -> Service:
        home = homes()
        chosen = settings.model_copy(update={"home": home, "may_relax": False, **changes})
        running.append(Service(chosen, stack.triton.url, home / "run").start())
        return running[-1]

    yield start
    for service in running:
        service.stop()


@pytest.fixture
def recovery(record_property) -> Callable[..., float]:
    """Waits until something is well again, and notes how long it took (`pytest --junitxml` shows it)."""

    def wait(check: Callable[[], bool], server, limit_s: float = 90) -> float:
        start = monotonic()
        wait_until(check, server, limit_s, "well again")
        record_property("recovery_s", round(monotonic() - start, 1))
        return monotonic() - start

    return wait

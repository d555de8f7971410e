"""Fixtures of tests that need the real stack: one Triton and one service for the whole run, on free ports."""

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from deploy.local.prometheus import LocalPrometheus
from deploy.local.stack import LocalStack
from services.errors import AnonFacesError
from services.population.index import ClusterIndex, open_index
from services.settings import Settings


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The defaults of a fresh checkout, but requests may choose every policy, so that one stack shows them all."""
    return Settings(may_relax=True)


@pytest.fixture(scope="session")
def index(settings: Settings) -> ClusterIndex:
    try:
        return open_index(settings)
    except AnonFacesError as missing:
        pytest.skip(f"needs the demo index; run `make setup` ({missing})")


@pytest.fixture(scope="session")
def stack(settings: Settings, index: ClusterIndex, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A running stack that also serves what the demo needs. Tests must leave it as they found it."""
    extra = ("mobile-stylegan-512", "mobile-stylegan-mapping")
    running = LocalStack(settings, extra_models=extra, work=tmp_path_factory.mktemp("run"))
    with running:
        yield running


@pytest.fixture(scope="session")
def http(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def watched(
    stack: LocalStack, http: httpx.Client, astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalPrometheus]:
    """A Prometheus that has just watched the stack work for a while; rates are of the last half minute."""
    if not shutil.which("prometheus"):
        pytest.skip("needs Prometheus (Debian: prometheus)")
    targets = {"service": stack.url, "triton": f"http://127.0.0.1:{stack.triton.metrics_port}"}
    with LocalPrometheus(targets, tmp_path_factory.mktemp("prometheus"), every_s=1.0) as prometheus:
        small = as_bytes(astronaut[:256, 100:356], "JPEG")
        for _ in range(12):
            ask_a_little(http, small)
        time.sleep(3)
        yield prometheus


def ask_a_little(http: httpx.Client, photo: bytes) -> None:
    """A request of each kind that panels tell apart, and half a second of nothing."""
    http.post("/v1/anonymize", content=photo)
    http.post("/v1/anonymize", content=b"no photo")
    http.get("/v1/surrogates/0")
    time.sleep(0.5)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photo of a real person, uint8 [512, 512, 3]; scikit-image ships it (NASA, public domain)."""
    return np.asarray(pytest.importorskip("skimage.data").astronaut())


@pytest.fixture(scope="session")
def astronaut_jpeg(astronaut: np.ndarray) -> bytes:
    return as_bytes(astronaut, "JPEG", quality=95)


def as_bytes(pixels: np.ndarray, form: str, **options: object) -> bytes:
    """Pixels as a file in memory."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, form, **options)
    return sink.getvalue()


def as_pixels(data: bytes) -> np.ndarray:
    """A file's pixels, uint8 [H, W, 3]."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def log_of_service(stack: LocalStack) -> Path:
    assert stack.service.server is not None
    return stack.service.server.log

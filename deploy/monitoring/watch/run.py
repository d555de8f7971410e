"""The stack, a Prometheus that scrapes it, and the page that shows what it scraped."""

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator

import httpx
from rich.console import Console

from deploy.load.photos import LoadPhoto, load_photos
from deploy.local.prometheus import MISSING, LocalPrometheus
from deploy.local.stack import LocalStack
from deploy.monitoring.watch.server import WatchServer
from services.anonymizer.encode import MEDIA_TYPES
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError
from services.population.compatibility import models_for
from services.population.index import open_index
from services.population.sample import Sampler, sampler_for
from services.processes import require_free
from services.settings import Settings

PAUSE_S = 1.5  # between one photo's answer and the next photo
REST_S = 0.25


def run(settings: Settings, port: int, traffic: bool, console: Console) -> None:
    """Starts all of it, says where it is, and keeps it running until KeyboardInterrupt.

    Args:
        port: of the page; 0 picks a free one.
        traffic: sends sample photos, one after the other.

    Raises:
        ConfigurationError: Prometheus is not installed, or may not read the service's metrics; a port is taken.
        AnonFacesError: a missing model or index, or a process that does not start or ends.
    """
    _check(settings, port)
    sampler = sampler_for(models_for(open_index(settings), settings).generator, settings.model_repository)
    console.print("starting Triton, the service and Prometheus ...")
    models = sampler.models if traffic else ()
    with LocalStack(settings, settings.port, models, grpc_port=settings.grpc_port) as stack:
        targets = {"service": stack.url, "triton": f"http://127.0.0.1:{stack.triton.metrics_port}"}
        with (
            LocalPrometheus(targets, settings.home / "run" / "prometheus") as prometheus,
            WatchServer(prometheus.url, prometheus.every_s, port) as page,
        ):
            console.print(f"page       [bold]{page.url}[/] (Ctrl-C stops all)", highlight=False)
            console.print(f"service    {stack.url}\nPrometheus {prometheus.url}", highlight=False)
            for _ in _sent(asyncio.run(_photos(stack, sampler, settings)), stack.url) if traffic else _nothing():
                stack.check_alive()
                prometheus.check_alive()


def _check(settings: Settings, port: int) -> None:
    """Before minutes are spent on the rest."""
    if shutil.which("prometheus") is None:
        raise ConfigurationError(MISSING)
    if settings.api_keys is not None and not settings.open_metrics:
        raise ConfigurationError(
            "Prometheus has no API key here: set ANONFACES_OPEN_METRICS=true, or leave ANONFACES_API_KEYS out"
        )
    if settings.tls_client_ca is not None:
        raise ConfigurationError("Prometheus has no client's certificate here: leave ANONFACES_TLS_CLIENT_CA out")
    require_free("127.0.0.1", port, "--port")


async def _photos(stack: LocalStack, sampler: Sampler, settings: Settings) -> list[LoadPhoto]:
    async with Triton(stack.triton.url, timeout_s=60) as triton:
        return await load_photos(open_index(settings), sampler, triton)


def _nothing() -> Iterator[None]:
    while True:
        yield
        time.sleep(REST_S)


def _sent(photos: list[LoadPhoto], url: str) -> Iterator[None]:
    """Sends photos for ever; what becomes of them is on the page."""
    with httpx.Client(base_url=url, timeout=60, verify=False, trust_env=False) as http:  # noqa: S501 # this machine's own
        for photo in itertools.cycle(photos):
            yield
            with contextlib.suppress(httpx.TransportError):  # the next turn finds out whether the service has ended
                http.post("/v1/anonymize", content=photo.data, headers={"Content-Type": MEDIA_TYPES[photo.format]})
            time.sleep(PAUSE_S)

"""The running service: BentoML holds the process, its health and its metrics; the API is mounted below /v1."""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import NoReturn

import bentoml
import cv2

from services import metrics
from services.anonymizer.http import OnlyPublicPaths, api
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.readiness import Readiness, check_models
from services.anonymizer.triton import Triton
from services.errors import AnonFacesError
from services.population.compatibility import models_for
from services.population.index import read_index
from services.settings import settings

log = logging.getLogger("anonfaces")
GRACE_S = 10  # beyond the request's own limit, so that ours answers first


def _refuse_to_start(reason: AnonFacesError) -> NoReturn:
    """Ends the service with one line that says why; BentoML alone would start the worker again and again."""
    log.critical("not starting: %s", reason)
    logging.shutdown()
    parent = os.getppid()
    if b"bentoml" in Path(f"/proc/{parent}/cmdline").read_bytes():
        os.kill(parent, signal.SIGTERM)
    os._exit(1)


@bentoml.service(
    name="anonfaces",
    workers=1,
    traffic={"timeout": settings().request_timeout_s + GRACE_S},
    metrics={"enabled": False},  # ours are at /metrics, see http.py
)
@bentoml.asgi_app(api, path="/v1")
class Anonymizer:
    """Loads the cluster index, connects to Triton, and serves the pipeline of `pipeline.py`."""

    @bentoml.on_startup
    async def start(self) -> None:
        cv2.setNumThreads(1)  # photos run side by side; one photo must not take every core
        self.settings = settings()
        try:
            index = read_index(self.settings.index_path)
            models = models_for(index, self.settings)
        except AnonFacesError as reason:
            _refuse_to_start(reason)
        self.triton = Triton(self.settings.triton_url, self.settings.triton_timeout_s)
        self.pipeline = Pipeline(self.settings, models, index, self.triton)
        self.slots = asyncio.Semaphore(self.settings.max_concurrency)
        self.readiness = Readiness(lambda: check_models(index, models, self.triton), self.settings.ready_ttl_s)
        metrics.INDEX_K.set(index.k)
        metrics.INDEX_CROWDS.set(len(index.crowds.sizes))
        log.info("serving index %s version %s, k = %d", index.manifest["name"], index.version, index.k)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        if hasattr(self, "triton"):
            await self.triton.close()

    async def __is_ready__(self) -> bool:
        try:
            await self.readiness.require()
        except AnonFacesError as reason:
            log.warning("not ready: %s", reason)
            return False
        return True


Anonymizer.add_asgi_middleware(OnlyPublicPaths)  # type: ignore[attr-defined]

"""The running service: BentoML holds the process and its health; the API is mounted below /v1, and gRPC beside it."""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import NoReturn

import bentoml
import cv2
import uvicorn

from services import metrics, tracing
from services.anonymizer.api import tls, wire
from services.anonymizer.api.grpc_server import GrpcServer
from services.anonymizer.api.guard import Guard
from services.anonymizer.api.http import api, endpoint_of, operations
from services.anonymizer.api.operations import Operations
from services.anonymizer.reload import Reloader
from services.anonymizer.triton import Triton
from services.errors import AnonFacesError
from services.processes import end_with_parent, keep_memory_private
from services.settings import settings

log = logging.getLogger("anonfaces")
log.setLevel(logging.INFO)
logging.getLogger("uvicorn.access").disabled = True  # its lines hold query strings, and those hold names of people
logging.getLogger("uvicorn.error").propagate = False  # it has a handler; each line would be there twice
uvicorn.config.HTTP_PROTOCOLS["auto"] = wire.REGISTERED
GRACE_S = 10  # beyond the request's own limit, so that ours answers first


def _refuse_to_start(reason: AnonFacesError) -> NoReturn:
    """Ends the service with one line that says why; BentoML alone would start the worker again and again."""
    log.critical("not starting: %s", reason)
    logging.shutdown()
    parent = os.getppid()
    if b"services.anonymizer.service" in Path(f"/proc/{parent}/cmdline").read_bytes():  # the supervisor, however named
        os.kill(parent, signal.SIGTERM)
    os._exit(1)


@bentoml.service(
    name="anonfaces",
    workers=settings().workers,
    traffic={"timeout": settings().request_timeout_s + GRACE_S},
    metrics={"enabled": False},  # ours are at /metrics, see api/guard.py
    logging={"access": {"enabled": False}},  # its log holds paths and types as they were sent; see api/guard.py
    ssl=tls.http_block(settings()),
)
@bentoml.asgi_app(api, path="/v1")
class Anonymizer:
    """Connects to Triton, loads the cluster index and each new version of it, and serves the pipeline made of it."""

    @bentoml.on_startup
    async def start(self) -> None:
        end_with_parent()
        keep_memory_private()
        cv2.setNumThreads(1)  # photos run side by side; one photo must not take every core
        self.settings = settings()
        self.triton = Triton(self.settings.triton_url, self.settings.triton_timeout_s)
        try:
            tls.check(self.settings)
            tracing.start(self.settings)
            self.reloader = await Reloader.start(self.settings, self.triton)
            self.operations = Operations(self.settings, self.reloader)
            self.grpc = await GrpcServer.start(self.settings, self.operations, self.__is_ready__)
            metrics.reserve()
        except AnonFacesError as reason:
            _refuse_to_start(reason)
        if self.settings.index_poll_s > 0:
            self.watching = asyncio.create_task(self.reloader.watch())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        if hasattr(self, "watching"):
            self.watching.cancel()
        if hasattr(self, "grpc") and self.grpc:
            await self.grpc.stop()
        if hasattr(self, "triton"):
            await self.triton.close()

    async def __is_ready__(self) -> bool:
        try:
            await self.reloader.pipeline.readiness.require()
        except AnonFacesError as reason:
            log.warning("not ready: %s", reason)
            return False
        return True


Anonymizer.add_asgi_middleware(Guard, endpoint_of=endpoint_of, operations=operations)  # type: ignore[attr-defined]

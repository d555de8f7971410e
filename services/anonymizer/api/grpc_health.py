"""The health of the service as gRPC tells it (grpc.health.v1): SERVING where /readyz says 200, found out when asked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LOOK_S = 1.0  # how often a watcher's answer is looked at again
Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Answers for the whole server (no name) and for the services named.

    Args:
        is_ready: is the pipeline able to serve?
    """

    def __init__(self, is_ready: Callable[[], Awaitable[bool]], *services: str):
        self._is_ready, self._services = is_ready, {"", *services}
        self.leaving = False  # the service stops

    async def Check(self, request: Any, context: Any) -> Any:
        """The status now."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return Response(status=await self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:
        """The status now, and whenever it has changed."""
        told = None
        while not self.leaving or told != Response.NOT_SERVING:
            status = await self._status(request.service)
            if status != told:
                await context.write(Response(status=status))
                told = status
            await asyncio.sleep(LOOK_S)

    async def _status(self, service: str) -> Any:
        if service not in self._services:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if not self.leaving and await self._is_ready() else Response.NOT_SERVING

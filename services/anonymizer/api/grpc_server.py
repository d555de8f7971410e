"""The gRPC interface, version 1, as it runs: its port, its limits, the methods, health and reflection."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.anonymizer.api import tls
from services.anonymizer.api.grpc_call import Room, Work, guarded
from services.anonymizer.api.grpc_frames import anonymize_stream
from services.anonymizer.api.grpc_health import Health
from services.anonymizer.api.grpc_methods import anonymize, index, inspect, surrogate
from services.anonymizer.api.operations import Operations
from services.errors import ConfigurationError
from services.proto import anonfaces_v1_pb2 as pb
from services.settings import Settings

log = logging.getLogger("anonfaces")
SERVICE = pb.DESCRIPTOR.services_by_name["Anonymizer"]
# Method -> the endpoint's name in metrics and scopes, and what it does.
METHODS: dict[str, tuple[str, Work]] = {
    "Anonymize": ("anonymize", anonymize),
    "AnonymizeStream": ("anonymize_stream", anonymize_stream),
    "Inspect": ("inspect", inspect),
    "Surrogate": ("surrogate", surrogate),
    "Index": ("index", index),
}
OVERHEAD_BYTES = 64 * 1024  # of a message, beside its photo
AHEAD_BYTES = 1024 * 1024  # of a message, taken from the network before it is read
SPARE_CALLS = 64  # beyond those that admission knows: health, reflection, callers about to be told to come later
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 60_000),  # a client that vanished is noticed
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.max_concurrent_streams", 128),
]


class GrpcServer:
    """Listens from `start` to `stop`."""

    def __init__(self, server: Any, port: int, room: Room, health: Health):
        self.port = port
        self._server, self._room, self._health = server, room, health

    @staticmethod
    async def start(
        settings: Settings, doing: Operations, is_ready: Callable[[], Awaitable[bool]]
    ) -> "GrpcServer | None":
        """Serves the operations on the settings' port; None where that is 0.

        Raises:
            ConfigurationError: the port cannot be listened on, or the certificates cannot serve.
        """
        if settings.grpc_port == 0:
            return None
        room, health = Room(doing), Health(is_ready, SERVICE.full_name)
        server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=_most_calls(settings))
        server.add_generic_rpc_handlers((_handlers(room),))
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        names = SERVICE.full_name, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        address = _listen(server, settings)
        await server.start()
        log.info("gRPC listens on %s", address)
        return GrpcServer(server, settings.grpc_port, room, health)

    async def stop(self) -> None:
        """Takes no more calls; those under way are finished, within the time that a photo may take."""
        self._health.leaving = True
        self._room.leaving.set()
        await self._server.stop(self._room.doing.settings.request_timeout_s)


def _listen(server: Any, settings: Settings) -> str:
    """Takes the port, with TLS if the settings have certificates. Returns the address."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address, credentials = f"{host}:{settings.grpc_port}", tls.grpc_credentials(settings)
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError:
        raise ConfigurationError(
            f"cannot listen on {address}; choose another port with ANONFACES_GRPC_PORT (0: no gRPC)"
        ) from None
    return address


def _handlers(room: Room) -> Any:
    """How gRPC finds the methods. All are served as streams, see grpc_call.py."""
    handlers = {}
    for method in SERVICE.methods:
        endpoint, work = METHODS[method.name]
        handlers[method.name] = grpc.stream_stream_rpc_method_handler(
            guarded(endpoint, work, room),
            request_deserializer=getattr(pb, method.input_type.name).FromString,
            response_serializer=getattr(pb, method.output_type.name).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes + OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),  # our own answers: a PNG is larger than the photo it was made from
        ("grpc.so_reuseport", int(settings.workers > 1)),
        ("grpc.http2.bdp_probe", 0),  # would raise the next to tens of megabytes on a fast network
        ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
        *KEEPALIVE,
    ]


def _most_calls(settings: Settings) -> int:
    return settings.max_concurrency + settings.max_queue + SPARE_CALLS

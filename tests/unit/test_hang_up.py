"""A connection is shut down by the name that gRPC gives its client; no other one is."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import pytest

from services.anonymizer.api.hang_up import OPEN_FILES, hang_up


@contextmanager
def connected(listening: str, calling: str, dual: bool = False) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the server's side of its connection."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with ExitStack() as opened:
        try:
            server = opened.enter_context(socket.create_server((listening, 0), family=family, dualstack_ipv6=dual))
            client = opened.enter_context(socket.create_connection((calling, server.getsockname()[1]), timeout=10))
        except OSError as without:
            pytest.skip(f"no {listening} here: {without}")
        yield client, opened.enter_context(server.accept()[0])


def named(client: socket.socket, family: str) -> str:
    host, port, *_ = client.getsockname()
    return f"{family}:{quote(f'[{host}]')}:{port}" if family == "ipv6" else f"{family}:{host}:{port}"


@pytest.mark.parametrize(
    ("listening", "calling", "dual", "family"),
    [("127.0.0.1", "127.0.0.1", False, "ipv4"), ("::1", "::1", False, "ipv6"), ("::", "127.0.0.1", True, "ipv4")],
)
def test_connection_is_shut_down_and_nothing_else_is_closed(listening, calling, dual, family):
    with (
        connected(listening, calling, dual) as (client, server),
        connected("127.0.0.1", "127.0.0.1") as (other, theirs),
    ):
        files = {file.name for file in OPEN_FILES.iterdir()}
        assert hang_up(named(client, family), server.getsockname()[1])
        assert client.recv(1) == b""
        theirs.sendall(b"x")
        assert other.recv(1) == b"x"
        assert {file.name for file in OPEN_FILES.iterdir()} == files


def test_other_clients_and_ports_are_left_alone():
    with connected("127.0.0.1", "127.0.0.1") as (client, server):
        port = server.getsockname()[1]
        assert not hang_up(named(client, "ipv4"), port + 1)
        assert not hang_up(f"ipv4:127.0.0.1:{client.getsockname()[1] ^ 1}", port)
        for peer in ("unix:/tmp/socket", "", "ipv4:nothing", "ipv4:127.0.0.1:", f"ipv4:nobody:{port}"):
            assert not hang_up(peer, port)
        server.sendall(b"x")
        assert client.recv(1) == b"x"

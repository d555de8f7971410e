"""Closes the connection of a gRPC client that does not read its answer.

A call whose answer waits for the client ends at the client's deadline. Where it set none, gRPC keeps the answer, as
large as a photo, for as long as the client keeps the connection, after the method has ended, and offers the server's
side no way to give the call up. So the connection is shut down, as the HTTP side does; its other calls end as if the
client had gone.
"""

import os
import socket
import stat
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote

OPEN_FILES = Path("/dev/fd")  # of this process


def hang_up(peer: str, port: int) -> bool:
    """Shuts the connection down that a client has with a port of this process.

    Args:
        peer: the client as gRPC names it: `ipv4:ADDRESS:PORT` or `ipv6:[ADDRESS]:PORT`, percent-encoded.
        port: on which it was accepted.

    Returns:
        Whether there was one.
    """
    wanted = _address(peer)
    try:
        return wanted is not None and any(_shut(int(file.name), wanted, port) for file in OPEN_FILES.iterdir())
    except OSError:  # to list the open files takes one more
        return False


def _address(peer: str) -> tuple[str, int] | None:
    family, _, place = unquote(peer).partition(":")
    host, _, port = place.rpartition(":")
    try:
        return (_plain(host.strip("[]")), int(port)) if family in ("ipv4", "ipv6") else None
    except ValueError:
        return None


def _plain(host: str) -> str:
    """An address without a zone; one of IPv4 that came by IPv6 as itself."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _shut(number: int, wanted: tuple[str, int], port: int) -> bool:
    """Shuts down the connection behind an open file, if it is the one that is wanted."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode) or not _is(number, wanted, port):
            return False
        own = os.dup(number)  # of which nobody else can make another file meanwhile
        try:
            return _is(own, wanted, port, shut=True)
        finally:
            os.close(own)
    except OSError:  # it was closed meanwhile, or has no peer
        return False


def _is(number: int, wanted: tuple[str, int], port: int, shut: bool = False) -> bool:
    """Whether an open file is a connection of a client with a port of ours; shuts it down if told to."""
    connection = socket.socket(fileno=number)
    try:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        host, its_port, *_ = connection.getpeername()
        found = (_plain(host), its_port) == wanted and connection.getsockname()[1] == port
        if found and shut:
            connection.shutdown(socket.SHUT_RDWR)
        return found
    finally:
        connection.detach()  # the file stays with whom it is of

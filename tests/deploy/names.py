"""A name server for one name, whose addresses can be changed: what a headless Service is to its clients."""

import socket
import struct
import threading
from collections.abc import Sequence

A, TTL_S = 1, 1


class NameServer:
    """Answers questions for addresses (A) with those it holds, whatever the name, and others with nothing.

    Use as a context manager; `target` is what gRPC takes.
    """

    def __init__(self, addresses: Sequence[str]):
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def target(self, name: str, port: int) -> str:
        """A port of the name, looked up here."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/{name}:{port}"

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # wakes the thread up
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            if not question:
                return
            self._socket.sendto(answer(question, self.addresses), sender)


def answer(question: bytes, addresses: Sequence[str]) -> bytes:
    """The answer to a question with one name in it (RFC 1035, section 4)."""
    end = question.index(b"\0", 12) + 5  # after the name's last label: type and class
    (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
    found = [socket.inet_aton(address) for address in addresses] if kind == A else []
    head = question[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)  # an answer, authoritative, no error
    records = [b"\xc0\x0c" + struct.pack(">HHIH", A, 1, TTL_S, 4) + address for address in found]
    return head + question[12:end] + b"".join(records)

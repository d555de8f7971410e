"""What reaches the port before it is a request, and requests that mean harm: refused, bounded, answered as all else."""

import asyncio
import json
import socket
import struct
import zlib

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.anonymizer.api import wire
from services.anonymizer.api.wire import HEADERS, MOST_HEAD_BYTES
from tests.conftest import as_bytes

HOST = b"Host: 127.0.0.1\r\n"
INDEX = b"GET /v1/index HTTP/1.1\r\n"
POST = b"POST /v1/anonymize HTTP/1.1\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.fixture
def send(stack):
    """Sends bytes and returns all that comes back; an answer that never ends is a failure."""

    def send(data: bytes) -> bytes:
        received = []
        with socket.create_connection(("127.0.0.1", stack.service.port), 20) as connection:
            try:
                connection.sendall(data)
                while piece := connection.recv(1 << 16):
                    received.append(piece)
            except (ConnectionResetError, BrokenPipeError):
                pass
        return b"".join(received)

    return send


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


AMBIGUOUS = {
    "length and chunks": POST + HOST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks and length": POST + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two lengths": POST + HOST + b"Content-Length: 6\r\nContent-Length: 7\r\n\r\n0123456",
    "unknown encoding": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "negative length": POST + HOST + b"Content-Length: -1\r\n\r\n",
    "length with a sign": POST + HOST + b"Content-Length: +1\r\n\r\nx",
    "space before the colon": INDEX + b"Host : 127.0.0.1\r\n\r\n",
    "folded header": INDEX + HOST + b"X: a\r\n b\r\n\r\n",
    "lines without a carriage return": b"GET /v1/index HTTP/1.1\nHost: 127.0.0.1\n\n",
    "zero byte in a header": INDEX + HOST + b"X: a\0b\r\n\r\n",
    "two hosts": INDEX + b"Host: evil.example\r\n" + HOST + b"\r\n",
    "no host": INDEX + b"\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS on a plain port": bytes.fromhex("16030100c8010000c40303"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_two_parsers_could_read_in_two_ways_is_refused_and_the_connection_closed(send, name):
    answer = send(AMBIGUOUS[name])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1  # nothing that was smuggled in is answered
    assert json.loads(body)["error"] == "bad_request"
    assert all(b"%s: %s" % field in head for field in HEADERS.items())


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/index?" + b"a" * 40 * MOST_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + END,
        INDEX + HOST + b"X: " + b"a" * 40 * MOST_HEAD_BYTES + b"\r\n" + END,
        INDEX + HOST + b"X: a\r\n" * 10 * MOST_HEAD_BYTES + END,
    ],
    ids=["address", "header", "headers"],
)
def test_head_without_end_is_given_up(send, data):
    answer = send(data)
    assert b" 200 " not in answer[:20]
    assert answer[:20] == b"" or status(answer) == 400


@pytest.mark.parametrize("kept", [False, True], ids=["first", "kept"])
@pytest.mark.parametrize("sent", [b"G", INDEX, INDEX + HOST])
async def test_client_whose_head_does_not_come_is_hung_up_on(monkeypatch, sent, kept):
    async def app(scope, receive, give):
        await give({"type": "http.response.start", "status": 200, "headers": []})
        await give({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(wire, "HEAD_S", 0.2)
    config = uvicorn.Config(app, timeout_keep_alive=60)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(lambda: wire.BoundedHttp(config, state, {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        if kept:
            writer.write(INDEX + HOST + b"\r\n")
            await reader.readuntil(b"0\r\n\r\n")
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 20) == b""  # closed
        writer.close()


def test_body_is_not_taken_for_a_head_on_a_connection_that_is_kept(http, stack):
    photo = bytes(5 * MOST_HEAD_BYTES)
    for _ in range(3):
        assert http.post("/v1/anonymize", content=photo).status_code == 415


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (INDEX + b"Host: evil.example\r\n", 403),  # a page whose name was pointed at this machine
        (b"GET /v1/index HTTP/1.0\r\n" + HOST, 200),
        (b"HEAD /v1/index HTTP/1.1\r\n" + HOST, 405),
        (b"TRACE /v1/index HTTP/1.1\r\n" + HOST, 405),
        (b"OPTIONS /v1/index HTTP/1.1\r\n" + HOST, 405),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n" + HOST, 404),
        (b"POST /readyz HTTP/1.1\r\nContent-Length: 0\r\n" + HOST, 404),
        (b"GET /v1/index/ HTTP/1.1\r\n" + HOST, 404),  # no redirect
        (b"GET //evil.example/ HTTP/1.1\r\n" + HOST, 404),
        (b"GET /v1/../../etc/passwd HTTP/1.1\r\n" + HOST, 404),
        (b"GET /v1/%2e%2e/%00 HTTP/1.1\r\n" + HOST, 404),
        (b"GET / HTTP/1.1\r\n" + HOST, 404),
        (b"GET /v1/index?%ff=%0d%0aX:1 HTTP/1.1\r\n" + HOST, 200),
        (b"GET /livez HTTP/1.1\r\n" + HOST, 200),
        (b"GET /metrics HTTP/1.1\r\n" + HOST, 200),
        (INDEX + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 200),
        (
            INDEX + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n",
            200,  # as if it had not asked to upgrade
        ),
    ],
)
def test_every_answer_has_the_same_headers_and_names_no_server(send, head, expected):
    answer = send(head + END)
    fields, _, _ = answer.partition(b"\r\n\r\n")
    assert status(answer) == expected
    assert all(b"%s: %s" % field in fields.lower() for field in HEADERS.items())
    names = {line.partition(b":")[0].lower() for line in fields.split(b"\r\n")[1:]}
    assert not names & {b"server", b"x-powered-by", b"location", b"set-cookie", b"access-control-allow-origin"}


def test_name_of_a_file_reaches_no_header_and_is_escaped_in_the_answer(http, astronaut_jpeg):
    name = 'a"\r\nX-Injected: 1\r\n\u2028<script>'
    answer = http.post("/v1/anonymize:batch", files=[("photo", (name, b"no photo"))])
    assert "x-injected" not in answer.headers
    assert set(answer.json()["items"][0]) >= {"name", "error"}
    answer = http.post("/v1/anonymize", files={"photo": (name, astronaut_jpeg)})
    assert answer.status_code == 200
    assert "x-injected" not in answer.headers


def test_line_breaks_in_an_address_make_no_line_of_the_log(send, log_of_service):
    send(b"GET /v1/x%0a2026-01-01%20FORGED HTTP/1.1\r\n" + HOST + END)
    send(b"GET /v1/index?FORGED=%0aFORGED HTTP/1.1\r\n" + HOST + b"X-FORGED: FORGED\r\n" + END)
    assert b"FORGED" not in log_of_service.read_bytes()


def test_compressed_bomb_in_a_photos_text_is_not_unpacked_into_an_answer(http, astronaut):
    """A PNG with a text chunk that says 200 MB: neither kept nor returned."""
    png = as_bytes(astronaut, "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    answer = http.post("/v1/anonymize", content=png[:33] + chunk + png[33:])
    assert answer.status_code in (200, 422)
    assert b"zTXt" not in answer.content

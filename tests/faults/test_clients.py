"""Clients that are slow, vanish, or are too many: they get little, and others get their photos."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.process import wait_until
from deploy.local.stack import Service
from services.proto import anonfaces_v1_pb2 as pb
from services.proto.anonfaces_v1_pb2_grpc import AnonymizerStub
from tests.conftest import as_bytes
from tests.faults.conftest import JPEG, metric, post


@pytest.fixture(scope="module")
def tight(served) -> Service:
    """Two photos at a time, two more wait, for no more than a second; a photo has 6 s."""
    return served(
        max_concurrency=2, max_queue=2, queue_timeout_s=1.0, request_timeout_s=6.0, max_held_bytes=32 * 1024 * 1024
    )


def head(url: str, length: int) -> bytes:
    place = urlsplit(url).netloc
    return f"POST /v1/anonymize HTTP/1.1\r\nHost: {place}\r\nContent-Length: {length}\r\n\r\n".encode()


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=30)


def wait(service: Service, what: Callable[[], bool], limit_s: float = 30) -> None:
    wait_until(what, service.server, limit_s, "as expected")


def is_idle(service: Service) -> bool:
    """Has all that was held been given back?"""
    names = ("requests_held", "bytes_held", "queue_depth", "photos_in_work")
    return all(metric(service.url, f"anonfaces_{name}") == 0 for name in names)


def test_more_requests_than_can_be_held_get_429_and_when_to_come_again(tight, judge):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(tight.url, judge.photo), range(16)))
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        judge.check(answer)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"] == "overloaded"
    assert metric(tight.url, "anonfaces_turned_away_total") >= 1
    wait(tight, lambda: is_idle(tight))


def test_body_too_many_for_what_is_held_gets_429_before_it_is_read(tight, judge):
    with connect(tight.url) as slow:
        slow.sendall(head(tight.url, 32 * 1024 * 1024 - 1000) + judge.photo[:1000])
        wait(tight, lambda: metric(tight.url, "anonfaces_bytes_held") > 0)
        answer = judge.check(post(tight.url, judge.photo))
        assert (answer.status_code, answer.json()["error"]) == (429, "overloaded")
    wait(tight, lambda: is_idle(tight))
    assert judge.check(post(tight.url, judge.photo)).status_code == 200


def test_photo_that_takes_longer_than_its_time_gets_504_and_its_work_ends(served, judge, large, recovery):
    hasty = served(request_timeout_s=0.3)
    for _ in range(3):
        answer = judge.check(post(hasty.url, large))
        assert (answer.status_code, answer.json()["error"]) == (504, "deadline_exceeded")
    recovery(lambda: is_idle(hasty), hasty.server)


def test_slow_upload_gets_504_and_others_are_served_meanwhile(tight, judge):
    with connect(tight.url) as slow:
        slow.sendall(head(tight.url, len(judge.photo)))
        start, sent = monotonic(), 0
        others = []
        while not (answer := _received(slow)):
            slow.sendall(judge.photo[sent : sent + 1])
            sent += 1
            if sent % 10 == 0:
                others.append(judge.check(post(tight.url, judge.photo)).status_code)
            assert monotonic() - start < 30
    assert answer.startswith(b"HTTP/1.1 504")
    assert others
    assert set(others) == {200}
    wait(tight, lambda: is_idle(tight))


def _received(connection: socket.socket) -> bytes:
    connection.settimeout(0.1)
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return b""


def test_upload_in_small_pieces_with_pauses_arrives_whole(tight, judge):
    """A look whether the client is there must not take a piece of the body away."""
    with connect(tight.url) as slow:
        slow.sendall(head(tight.url, len(judge.photo)))
        step = len(judge.photo) // 12 + 1
        for at in range(0, len(judge.photo), step):
            slow.sendall(judge.photo[at : at + step])
            sleep(0.2)
        assert _whole(slow)[0] == 200


def _whole(connection: socket.socket) -> tuple[int, bytes]:
    connection.settimeout(30)
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, file.read(length)


def test_client_that_vanishes_while_sending_leaves_nothing(tight, judge):
    before = _cancelled(tight)
    for _ in range(8):
        gone = connect(tight.url)
        gone.sendall(head(tight.url, len(judge.photo)) + judge.photo[:5000])
        _vanish(gone)
        wait(tight, lambda: is_idle(tight))
    assert _cancelled(tight) == before + 8


def test_client_that_vanishes_while_its_photo_is_worked_on_ends_the_work(tight, judge, large):
    before = _cancelled(tight)
    gone = connect(tight.url)
    gone.sendall(head(tight.url, len(large)) + large)
    wait(tight, lambda: metric(tight.url, "anonfaces_photos_in_work") == 1)
    _vanish(gone)
    wait(tight, lambda: is_idle(tight))
    assert _cancelled(tight) == before + 1
    assert judge.check(post(tight.url, judge.photo)).status_code == 200


def _vanish(connection: socket.socket) -> None:
    """As a phone in a tunnel: a reset, no goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _cancelled(service: Service) -> float:
    lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if 'photos_total{outcome="cancelled"}' in line)


@pytest.fixture(scope="module")
def noisy(astronaut) -> bytes:
    """A photo of which no PNG makes little."""
    noise = np.random.default_rng(0).integers(0, 96, (2048, 2048, 3), dtype=np.uint8)
    return as_bytes(np.kron(astronaut // 2, np.ones((4, 4, 1), np.uint8)) + noise, "JPEG")


def test_slow_reader_of_an_answer_is_given_up_and_what_is_held_for_it_comes_back(tight, judge, noisy):
    photo = noisy
    request = head(tight.url, len(photo)).replace(b"/anonymize ", b"/anonymize?format=png ")
    before = _gave_up(tight, "http", "anonymize")
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        place = urlsplit(tight.url)
        reader.connect((place.hostname, place.port))
        reader.sendall(request + photo)
        wait(tight, lambda: metric(tight.url, "anonfaces_bytes_held") > len(photo) + 1_000_000)  # the answer as well
        wait(tight, lambda: metric(tight.url, "anonfaces_photos_in_work") == 0)
        assert judge.check(post(tight.url, judge.photo)).status_code == 200
        wait(tight, lambda: is_idle(tight), 60)
    assert _gave_up(tight, "http", "anonymize") == before + 1


PNG = pb.Options(format="png")
METHODS: dict[str, tuple[str, Callable[..., Message]]] = {
    "anonymize": ("Anonymize", pb.AnonymizeRequest),
    "anonymize_stream": ("AnonymizeStream", pb.Frame),
}


@contextmanager
def calling(service: Service) -> Iterator[grpc.Channel]:
    """A channel with a small window that does not grow."""
    with grpc.insecure_channel(service.grpc_url.partition("//")[2], [("grpc.http2.bdp_probe", 0)]) as channel:
        yield channel


def ask_without_reading(
    service: Service, channel: grpc.Channel, endpoint: str, photo: bytes, timeout: float | None = None
) -> grpc.Call:
    """A call whose answer waits for its client: as a stream of answers, none is taken before somebody asks for it."""
    method, message = METHODS[endpoint]
    call = channel.stream_stream(f"/anonfaces.v1.Anonymizer/{method}", message.SerializeToString)
    answers = call(iter([message(photo=photo, options=PNG)]), timeout=timeout)
    wait(service, lambda: metric(service.url, "anonfaces_bytes_held") > len(photo) + 1_000_000)  # the answer as well
    wait(service, lambda: metric(service.url, "anonfaces_photos_in_work") == 0)
    return answers


def unexpected(service: Service) -> int:
    """How often the log has an error that nobody foresaw."""
    text = service.server.log.read_text()
    return text.count("Traceback") + text.count("unexpected")


@pytest.mark.parametrize(("endpoint", "far"), [("anonymize", None), ("anonymize", 60), ("anonymize_stream", None)])
def test_grpc_client_that_does_not_read_is_hung_up_on_and_what_is_held_for_it_comes_back(
    tight, judge, noisy, endpoint, far
):
    """It has no deadline, or one long after the time of a photo."""
    before, errors = _gave_up(tight, "grpc", endpoint), unexpected(tight)
    with calling(tight) as channel:
        answers = ask_without_reading(tight, channel, endpoint, noisy, timeout=far)
        assert judge.check(post(tight.url, judge.photo)).status_code == 200
        wait(tight, lambda: not answers.is_active(), 60)
        assert answers.code() is grpc.StatusCode.UNAVAILABLE  # the connection is gone
    wait(tight, lambda: is_idle(tight))
    assert (_gave_up(tight, "grpc", endpoint), unexpected(tight)) == (before + 1, errors)


@pytest.mark.parametrize("endpoint", METHODS)
def test_grpc_client_that_cancels_or_is_late_ends_its_own_call_alone(tight, judge, noisy, endpoint):
    gone, late, errors = _gave_up(tight, "grpc", endpoint), _gave_up(tight, "grpc", endpoint, LATE), unexpected(tight)
    with calling(tight) as channel:
        ask_without_reading(tight, channel, endpoint, noisy).cancel()
        wait(tight, lambda: is_idle(tight))
        answers = ask_without_reading(tight, channel, endpoint, noisy, timeout=5)
        other = AnonymizerStub(channel).AnonymizeStream(_frames_for(6.0, judge.photo))  # until well after that
        assert {answer.WhichOneof("result") for answer in other} == {"done"}
        assert answers.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait(tight, lambda: is_idle(tight))
    assert (_gave_up(tight, "grpc", endpoint), _gave_up(tight, "grpc", endpoint, LATE)) == (gone + 1, late + 1)
    assert unexpected(tight) == errors


def _frames_for(seconds: float, photo: bytes) -> Iterator[pb.Frame]:
    end = monotonic() + seconds
    while monotonic() < end:
        yield pb.Frame(photo=photo)
        sleep(0.5)


LATE = "deadline_exceeded"


def _gave_up(service: Service, protocol: str, endpoint: str, outcome: str = "cancelled") -> float:
    """Requests that ended without a client, or at its deadline."""
    text = httpx.get(f"{service.url}/metrics", timeout=30).text
    wanted = {"endpoint": endpoint, "protocol": protocol, "outcome": outcome}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(one.value for one in samples if one.name == "anonfaces_requests_total" and one.labels == wanted)


async def test_event_loop_is_not_held_up_by_large_photos(tight, large):
    """Health is answered while photos are decoded, blended and encoded."""
    async with httpx.AsyncClient(base_url=tight.url, timeout=60) as client:
        work = [asyncio.create_task(client.post("/v1/anonymize", content=large, headers=JPEG)) for _ in range(2)]
        longest = 0.0
        while not all(task.done() for task in work):
            start = monotonic()
            assert (await client.get("/livez")).status_code == 200
            longest = max(longest, monotonic() - start)
            await asyncio.sleep(0.02)
        assert longest < 2.0
        await asyncio.gather(*work)


def test_batch_does_not_take_every_turn(tight, judge):
    files = [("photo", (f"{i}.jpg", judge.photo, "image/jpeg")) for i in range(8)]
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(lambda: httpx.post(f"{tight.url}/v1/anonymize:batch", files=files, timeout=60))
        wait(tight, lambda: metric(tight.url, "anonfaces_photos_in_work") > 0)
        assert judge.check(post(tight.url, judge.photo)).status_code == 200
        assert not batch.done()
        items = batch.result().json()["items"]
    assert [item["status"] for item in items] == [200] * 8

"""gRPC against the real stack: what HTTP does, and what is gRPC's own: statuses, deadlines, cancellation, streams."""

import asyncio
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import InferenceServerClient, InferInput

from deploy.local.process import wait_until
from deploy.local.stack import LocalStack, Service
from services.anonymizer.models import choose
from services.proto import anonfaces_v1_pb2 as pb
from services.proto.anonfaces_v1_pb2_grpc import AnonymizerStub
from tests.conftest import as_bytes

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Status = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING


def target(stack: LocalStack) -> str:
    return stack.grpc_url.partition("//")[2]


@pytest.fixture(scope="module")
def channel(stack: LocalStack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target(stack), options=OPTIONS) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> AnonymizerStub:
    return AnonymizerStub(channel)


def metric(http: httpx.Client, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def calls(http: httpx.Client, endpoint: str, outcome: str) -> float:
    series = f'anonfaces_requests_total{{endpoint="{endpoint}",outcome="{outcome}",protocol="grpc"}}'
    return metric(http, series)


@contextmanager
def failing(status: grpc.StatusCode) -> Iterator[dict[str, str]]:
    """Expects a status; gives the trailing metadata, and the details as `details`."""
    told: dict[str, str] = {}
    with pytest.raises(grpc.RpcError) as raised:
        yield told
    error: Any = raised.value
    assert error.code() is status
    told.update(dict(error.trailing_metadata()), details=error.details())


@pytest.fixture(scope="module")
def slow_photo(astronaut) -> bytes:
    """Takes the models a second or so: it has many views to look at."""
    return as_bytes(np.kron(astronaut, np.ones((6, 6, 1), np.uint8)), "JPEG", quality=98)


# --- the methods --------------------------------------------------------------------------------------------------


def test_anonymize_gives_the_very_photo_that_http_gives(stub, http, astronaut_jpeg):
    answer = stub.Anonymize(pb.AnonymizeRequest(photo=astronaut_jpeg, options=pb.Options(format="png")))
    over_http = http.post("/v1/anonymize?format=png", content=astronaut_jpeg)
    assert answer.photo == over_http.content
    assert (answer.finished.faces, answer.finished.strangers, answer.finished.media_type) == (1, 1, "image/png")
    assert answer.finished.index_version == over_http.headers["x-anonfaces-index-version"]
    assert answer.finished.k == int(over_http.headers["x-anonfaces-k"])


def test_surrogate_is_that_of_http(stub, http):
    answer = stub.Surrogate(pb.SurrogateRequest(crowd=3, options=pb.SurrogateOptions(format="jpeg", quality=80)))
    assert answer.picture == http.get("/v1/surrogates/3?format=jpeg&quality=80").content
    assert answer.media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("request_of", "status", "code"),
    [
        (lambda photo: pb.AnonymizeRequest(photo=b"no photo"), Status.INVALID_ARGUMENT, "unsupported_media_type"),
        (lambda photo: pb.AnonymizeRequest(photo=photo[:500]), Status.INVALID_ARGUMENT, "bad_photo"),
        (lambda photo: pb.AnonymizeRequest(photo=photo, options={"k": 1}), Status.INVALID_ARGUMENT, "bad_request"),
        (lambda photo: pb.AnonymizeRequest(photo=photo, options={"k": 99}), Status.FAILED_PRECONDITION, "k_not_met"),
        (
            lambda photo: pb.AnonymizeRequest(photo=photo, options={"stranger": "refuse"}),
            Status.FAILED_PRECONDITION,
            "stranger_refused",
        ),
    ],
)
def test_error_has_its_status_and_its_code_in_the_metadata(stub, http, astronaut_jpeg, request_of, status, code):
    before = calls(http, "anonymize", code)
    with failing(status) as told:
        stub.Anonymize(request_of(astronaut_jpeg))
    assert told["anonfaces-error"] == code
    assert told["details"]
    assert calls(http, "anonymize", code) == before + 1


def test_crowd_that_is_not_there_is_not_found(stub):
    with failing(Status.NOT_FOUND) as told:
        stub.Surrogate(pb.SurrogateRequest(crowd=10_000))
    assert told["anonfaces-error"] == "not_found"


def test_photo_beyond_the_limit_is_refused(stub, stack):
    limit = stack.settings.max_body_bytes
    with failing(Status.INVALID_ARGUMENT) as told:
        stub.Anonymize(pb.AnonymizeRequest(photo=bytes(limit + 1)))
    assert told["anonfaces-error"] == "photo_too_large"
    with failing(Status.RESOURCE_EXHAUSTED) as told:  # gRPC's own word: the message was never read
        stub.Anonymize(pb.AnonymizeRequest(photo=bytes(limit + 100_000)))
    assert "larger than max" in told["details"]


def test_call_without_a_request_is_an_error(channel):
    empty = channel.stream_stream("/anonfaces.v1.Anonymizer/Index")
    with failing(Status.INVALID_ARGUMENT) as told:
        list(empty(iter([])))
    assert told["anonfaces-error"] == "bad_request"


# --- time and cancellation ----------------------------------------------------------------------------------------


def test_deadline_of_the_caller_holds_in_the_service(stub, stack, http, slow_photo):
    before = calls(http, "anonymize", "deadline_exceeded")
    with failing(Status.DEADLINE_EXCEEDED):
        stub.Anonymize(pb.AnonymizeRequest(photo=slow_photo), timeout=0.2)
    ended = "anonfaces_photos_in_work 0.0"
    wait_until(lambda: ended in http.get("/metrics").text, stack.service.server, 10, "done with it")
    assert calls(http, "anonymize", "deadline_exceeded") == before + 1


CANCELLED = r'nv_inference_request_failure\{.*reason="CANCELED".*\}'
BUSY, INSTANCES = 6, 2  # requests; and how many of them the first look works on at a time


def triton_sum(stack: LocalStack, series: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{stack.triton.metrics_port}/metrics").text
    return sum(map(float, re.findall(rf"^{series} (\S+)$", text, re.MULTILINE)))


def waiting_for(stack: LocalStack, model: str) -> float:
    return triton_sum(stack, rf'nv_inference_pending_request_count\{{model="{model}",.*\}}')


@contextmanager
def detector_busy(stack: LocalStack) -> Iterator[str]:
    """Gives the first look some seconds of other work, of which fewer than BUSY requests wait; and its model's name."""
    images = np.zeros((8, 1024, 1024, 3), np.uint8)
    tensor = InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    model, finished = choose(stack.settings).detector.first_look, queue.Queue[Any]()
    with InferenceServerClient(stack.triton.url) as server:
        for _ in range(BUSY):
            server.async_infer(model, [tensor], lambda result, error: finished.put(error))
        wait_until(lambda: waiting_for(stack, model) == BUSY - INSTANCES, stack.triton.server, 30, "busy")
        yield model
        assert [finished.get(timeout=60) for _ in range(BUSY)] == [None] * BUSY


def test_cancelled_call_is_cancelled_in_triton_and_gives_its_turn_back(stub, stack, http, slow_photo):
    before, counted = triton_sum(stack, CANCELLED), calls(http, "anonymize", "cancelled")
    with detector_busy(stack) as model:  # what has begun to be calculated is not taken back
        under_way = [stub.Anonymize.future(pb.AnonymizeRequest(photo=slow_photo)) for _ in range(4)]
        wait_until(lambda: waiting_for(stack, model) >= BUSY - 1, stack.service.server, 30, "waiting for the models")
        for call in under_way:
            call.cancel()
    wait_until(lambda: triton_sum(stack, CANCELLED) > before, stack.triton.server, 10, "cancelled in Triton")
    ended = "anonfaces_photos_in_work 0.0"
    wait_until(lambda: ended in http.get("/metrics").text, stack.service.server, 30, "done with them")
    assert calls(http, "anonymize", "cancelled") > counted
    assert "anonfaces_bytes_held 0.0" in http.get("/metrics").text


# --- streams ------------------------------------------------------------------------------------------------------


def test_frames_are_answered_in_their_order_and_errors_one_by_one(stub, astronaut_jpeg):
    frames = [pb.Frame(id=f"frame {n}", photo=b"no photo" if n in (2, 5) else astronaut_jpeg) for n in range(8)]
    answers = list(stub.AnonymizeStream(iter(frames)))
    assert [answer.id for answer in answers] == [frame.id for frame in frames]
    failed = [answer.id for answer in answers if answer.WhichOneof("result") == "error"]
    assert failed == ["frame 2", "frame 5"]
    assert {answer.error.error for answer in answers} == {"", "unsupported_media_type"}


def test_options_hold_until_others_are_given(stub, astronaut_jpeg):
    png, refuse = pb.Options(format="png"), pb.Options(stranger="refuse")
    frames = [pb.Frame(photo=astronaut_jpeg, options=options) for options in (png, None, refuse, None, pb.Options())]
    answers = [answer.done.finished.media_type or answer.error.error for answer in stub.AnonymizeStream(iter(frames))]
    assert answers == ["image/png", "image/png", "stranger_refused", "stranger_refused", "image/jpeg"]


def test_only_a_few_frames_are_taken_ahead_of_their_answers(stub, slow_photo):
    """A sender who is faster is slowed down: what is taken is under way, or in the buffers of the connection."""
    taken = []

    def frames() -> Iterator[pb.Frame]:
        for number in range(40):
            taken.append(number)
            yield pb.Frame(id=str(number), photo=slow_photo)

    answers = stub.AnonymizeStream(frames())
    try:
        assert next(answers).WhichOneof("result") == "done"
        assert len(taken) < 20
    finally:
        answers.cancel()


def test_more_streams_than_are_served_are_turned_away_until_one_ends(stack, http):
    most = stack.settings.max_concurrency

    async def run() -> list[str]:
        async with grpc.aio.insecure_channel(target(stack)) as opened:
            open_stream = AnonymizerStub(opened).AnonymizeStream
            streams = [open_stream() for _ in range(most)]
            for stream in streams:  # each is served once it answers
                await stream.write(pb.Frame(photo=b"no photo"))
                await stream.read()
            outcomes = []
            try:
                await open_stream().read()
            except grpc.aio.AioRpcError as refused:
                outcomes += [refused.code().name, dict(refused.trailing_metadata())["anonfaces-error"]]
            for stream in streams:
                await stream.done_writing()
                await stream.read()
            again = open_stream()
            await again.write(pb.Frame(photo=b"no photo"))
            outcomes.append((await again.read()).error.error)
            again.cancel()
            return outcomes

    assert asyncio.run(run()) == ["RESOURCE_EXHAUSTED", "overloaded", "unsupported_media_type"]


# --- health and reflection ----------------------------------------------------------------------------------------


def test_health_is_serving_for_the_server_and_the_service_and_unknown_for_others(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "anonfaces.v1.Anonymizer"):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
    with failing(Status.NOT_FOUND):
        health.Check(health_pb2.HealthCheckRequest(service="another"))
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == SERVING
    watch.cancel()


def test_reflection_describes_the_service_to_tools_such_as_grpcurl(channel):
    reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    symbol = "anonfaces.v1.Anonymizer"
    asked = (
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
    )
    names, file = reflect(iter(asked))
    assert symbol in [service.name for service in names.list_services_response.service]
    described = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert [method.name for method in described.service[0].method] == [
        "Anonymize",
        "AnonymizeStream",
        "Inspect",
        "Surrogate",
        "Index",
    ]


def test_process_listens_on_the_grpc_port_of_the_settings_alone(stack):
    assert stack.service.server is not None
    listening = {
        place.laddr
        for process in stack.service.server.descendants()
        for place in process.net_connections("tcp")
        if place.status == psutil.CONN_LISTEN
    }
    places = {(host.removeprefix("::ffff:"), port) for host, port in listening}  # gRPC's socket speaks IPv6 as well
    assert places == {(stack.settings.host, port) for port in (stack.service.port, stack.service.grpc_port)}


# --- the end ------------------------------------------------------------------------------------------------------


def test_sigterm_finishes_what_was_read_and_ends_streams_and_tells_health(settings, stack, tmp_path, slow_photo):
    service = Service(settings, stack.triton.url, tmp_path).start()
    stopping = threading.Thread(target=service.stop)
    with grpc.insecure_channel(service.grpc_url.partition("//")[2], options=OPTIONS) as opened:
        stub, frames = AnonymizerStub(opened), queue.SimpleQueue[pb.Frame]()
        answers = stub.AnonymizeStream(iter(frames.get, None))
        frames.put(pb.Frame(id="before", photo=b"no photo"))
        assert next(answers).id == "before"
        watch = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        photo = stub.Anonymize.future(pb.AnonymizeRequest(photo=slow_photo))
        in_work = "anonfaces_photos_in_work 1.0"
        wait_until(lambda: in_work in httpx.get(f"{service.url}/metrics").text, service.server, 30, "at work")
        stopping.start()
        assert photo.result(30).finished.faces > 0
        with failing(Status.UNAVAILABLE) as told:
            next(answers)
        assert told["anonfaces-error"] == "shutting_down"
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        frames.put(None)
    stopping.join(30)
    assert not stopping.is_alive()

"""When the client asks again, how long it waits, and what it makes of answers that are errors."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_type_hints

import grpc
import httpx
import pytest

from services import errors
from services.anonymizer.api.messages import trailing
from services.anonymizer.api.replies import error_reply
from services.anonymizer.options import Options, SurrogateOptions
from services.client import Choices, Client, SurrogateChoices
from services.client.failures import Passing, ServiceUnreachable, by_code, final, of_response, of_rpc
from services.client.retry import ATTEMPTS, LONGEST_PAUSE_S, Retries, ask, ask_async
from services.errors import AnonFacesError, ConfigurationError, ModelServerUnavailable, Overloaded
from services.proto import anonfaces_v1_pb2 as pb
from tests.client_kinds import KINDS, client_of
from tests.unit.test_errors import family

BUSY = Overloaded("come later", 7)
URL = "grpc://there:1"


# --- pauses -------------------------------------------------------------------------------------------------------


def test_pauses_grow_and_are_spread():
    retries = Retries(attempts=4, first_pause_s=1.0)
    for attempt, usual in ((1, 1.0), (2, 2.0), (3, 4.0)):
        pauses = [retries.pause_s(attempt, None) for _ in range(50)]
        assert all(0.75 * usual <= pause <= 1.25 * usual for pause in pauses)
        assert len(set(pauses)) > 1
    assert retries.pause_s(4, None) is None


def test_service_is_not_asked_sooner_than_it_says_and_not_waited_for_too_long():
    retries = Retries(first_pause_s=0.1)
    assert retries.pause_s(1, 7.0) == 7.0
    assert retries.pause_s(1, LONGEST_PAUSE_S + 1) is None


class Question:
    """Fails in passing so many times, then answers."""

    def __init__(self, failures: int):
        self.failures, self.asked, self.waited = failures, 0, list[float]()

    def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise Passing(BUSY, 2.0)
        return "answer"

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return False

    def blocking(self) -> str:
        return ask(self.ask, Retries(first_pause_s=0.01), self.wait)

    def awaited(self) -> str:
        async def asking() -> str:
            return self.ask()

        async def sleep(seconds: float) -> None:
            self.wait(seconds)

        return asyncio.run(ask_async(asking, Retries(first_pause_s=0.01), sleep))


WAYS: list[Callable[[Question], str]] = [Question.blocking, Question.awaited]


@pytest.mark.parametrize("way", WAYS)
def test_question_is_asked_until_it_is_answered(way):
    question = Question(failures=2)
    assert way(question) == "answer"
    assert (question.asked, question.waited) == (3, [2.0, 2.0])


@pytest.mark.parametrize("way", WAYS)
def test_last_failure_is_raised_as_it_is(way):
    question = Question(failures=ATTEMPTS)
    with pytest.raises(Overloaded) as raised:
        way(question)
    assert raised.value is BUSY
    assert (question.asked, len(question.waited)) == (ATTEMPTS, ATTEMPTS - 1)


def test_nothing_is_asked_again_when_there_is_no_time():
    question = Question(failures=1)
    with pytest.raises(Overloaded):
        ask(question.ask, Retries(), lambda seconds: True)
    assert question.asked == 1


# --- errors -------------------------------------------------------------------------------------------------------


class RpcError(grpc.RpcError):
    """As a channel raises it."""

    def __init__(self, status: grpc.StatusCode, details: str, metadata: Any = ()):
        self._told = status, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._told[0]

    def details(self) -> str:
        return self._told[1]

    def trailing_metadata(self) -> Any:
        return self._told[2]


def raised(kind: type[AnonFacesError]) -> AnonFacesError:
    return kind("what to do")


@pytest.mark.parametrize("kind", family())
def test_error_of_the_service_survives_both_protocols(kind: type[AnonFacesError]):
    error = raised(kind)
    reply = error_reply(error)
    over_http = of_response(URL, httpx.Response(reply.status_code, headers=dict(reply.headers), content=reply.body))
    over_grpc = of_rpc(URL, RpcError(error.grpc_status, str(error), trailing(error)))
    for failure in (over_http, over_grpc):
        assert type(final(failure)) is kind
        assert str(final(failure)) == "what to do"
    assert isinstance(over_http, Passing) == isinstance(over_grpc, Passing)
    assert isinstance(over_http, Passing) == (kind.http_status in (429, 503))


def test_time_to_wait_survives_both_protocols():
    reply = error_reply(BUSY)
    over_http = of_response(URL, httpx.Response(429, headers=dict(reply.headers), content=reply.body))
    over_grpc = of_rpc(URL, RpcError(BUSY.grpc_status, "come later", trailing(BUSY)))
    for failure in (over_http, over_grpc):
        assert isinstance(failure, Passing)
        assert failure.asked_s == 7
        assert isinstance(failure.failure, Overloaded)
        assert failure.failure.retry_after_s == 7


@pytest.mark.parametrize(
    ("status", "details", "kind", "passing"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", ServiceUnreachable, True),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", ServiceUnreachable, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", Overloaded, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max", errors.PhotoTooLarge, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.DeadlineExceeded, False),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", ServiceUnreachable, False),
        (grpc.StatusCode.UNKNOWN, "", AnonFacesError, False),
    ],
)
def test_what_grpc_itself_says_has_its_class(status, details, kind, passing):
    failure = of_rpc(URL, RpcError(status, details))
    assert type(final(failure)) is kind
    assert isinstance(failure, Passing) is passing


def test_what_is_no_error_of_the_service_is_not_taken_for_one():
    for code, message in ((None, "text"), ("overloaded", None), ("", "text"), ("overloaded", ""), (1, 2)):
        assert by_code(code, message) is None
    assert type(by_code("of a later version", "text")) is AnonFacesError


# --- over a connection --------------------------------------------------------------------------------------------


@contextmanager
def failing_twice(error: AnonFacesError, asked: list[str | None]) -> Iterator[tuple[str, str]]:
    """A server of each protocol whose first two answers to `index` are an error; notes the API keys. Gives the URLs."""
    reply, index = error_reply(error), {"index_version": "v1"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("x-api-key"))
            fails = len(asked) <= 2
            body = bytes(reply.body) if fails else b'{"index_version": "v1"}'
            self.send_response(reply.status_code if fails else 200)
            for name, value in {**(dict(reply.headers) if fails else {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(dict(context.invocation_metadata()).get("x-api-key"))
        if len(asked) <= 2:
            context.set_trailing_metadata(trailing(error))
            context.abort(error.grpc_status, str(error))
        return bytes(pb.IndexAnswer(**index).SerializeToString())

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server = grpc.server(ThreadPoolExecutor(1))
    methods = {"Index": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("anonfaces.v1.Anonymizer", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}", f"grpc://127.0.0.1:{port}"
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
        server.stop(None).wait()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [Overloaded("busy", 0.0), ModelServerUnavailable("starting")])
def test_busy_service_is_asked_again_with_the_same_key(kind, error):
    asked: list[str | None] = []
    with failing_twice(error, asked) as urls:
        client = client_of(kind, *urls, api_key="a-key", first_pause_s=0.01)
        assert client.index()["index_version"] == "v1"
        client.close()
    assert asked == ["a-key"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_refusal_is_not_asked_again(kind):
    asked: list[str | None] = []
    with failing_twice(errors.Forbidden("not you"), asked) as urls:
        client = client_of(kind, *urls, first_pause_s=0.01)
        with pytest.raises(errors.Forbidden, match="not you"):
            client.index()
        client.close()
    assert asked == [None]


def test_key_of_the_environment_is_used_where_none_is_given(monkeypatch):
    monkeypatch.setenv("ANONFACES_API_KEY", "of-the-environment")
    asked: list[str | None] = []
    with failing_twice(BUSY, asked) as (url, _), Client(url) as client:
        client.hurry()
        with pytest.raises(Overloaded):
            client.index()
    assert asked == ["of-the-environment"]


# --- what a client is made of -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "choices"), [(Options, Choices), (SurrogateOptions, SurrogateChoices)])
def test_keyword_arguments_are_the_options_of_a_request(model, choices):
    assert set(get_type_hints(choices)) == set(model.model_fields)


@pytest.mark.parametrize(
    ("url", "arguments", "told"),
    [
        ("ftp://there", {}, "not a URL"),
        ("grpc://there", {}, "a host and a port"),
        ("grpc://there:1/path", {}, "a host and a port"),
        ("https://there", {"certificate": "a.pem"}, "give both"),
        ("grpc://there:1", {"ca": "a.pem"}, "https and grpcs"),
        ("https://there", {"ca": "/no/such/file.pem"}, "/no/such/file.pem"),
        ("grpcs://there:1", {"ca": "/no/such/file.pem"}, "/no/such/file.pem"),
        ("http://there", {"api_key": "two\nlines"}, "API key"),
    ],
)
def test_client_that_cannot_work_is_refused_with_the_reason(url, arguments, told):
    with pytest.raises(ConfigurationError, match=told):
        Client(url, **arguments)


def test_password_of_a_url_is_not_shown():
    with Client("http://me:secret@127.0.0.1:1") as client:
        assert client.url == "http://127.0.0.1:1"

"""Traces reach a collector, in the caller's trace, with nothing of the photo or of the request in them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from deploy.local.process import wait_until
from deploy.local.stack import Service
from services import tracing
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError
from services.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
STAGES = {"decode", "detect", "embed", "look_up", "synthesise", "blend", "encode"}


class Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.raw: list[bytes] = []

    def spans(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.raw]
        return [s for r in requests for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.raw.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def traced(settings, stack, collector, tmp_path_factory) -> Iterator[Service]:
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    chosen = settings.model_copy(update={"otlp_endpoint": endpoint, "trace_share": 0.0})
    service = Service(chosen, stack.triton.url, tmp_path_factory.mktemp("traced")).start()
    yield service
    service.stop()


def test_request_is_a_span_of_the_callers_trace_with_its_stages_and_inferences_below(traced, collector, astronaut_jpeg):
    caller = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Content-Type": "image/jpeg"}
    url = f"{traced.url}/v1/anonymize?identity=MARKER"
    assert httpx.post(url, content=astronaut_jpeg, headers=caller, timeout=60).status_code == 422
    url = f"{traced.url}/v1/anonymize"
    assert httpx.post(url, content=astronaut_jpeg, headers=caller, timeout=60).status_code == 200
    assert httpx.post(url, content=astronaut_jpeg, timeout=60).status_code == 200  # nobody asked for a trace of it
    wait_until(lambda: any(s.name == "encode" for s in collector.spans()), traced.server, 30, "traced")
    spans = collector.spans()
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    roots = [span for span in spans if span.name == "anonymize"]
    assert len(roots) == 2
    assert all(root.parent_span_id.hex() == CALLER for root in roots)
    by_id = {span.span_id: span for span in spans}
    stages = {s.name: by_id[s.parent_span_id].name for s in spans if s.name in STAGES}
    assert stages == dict.fromkeys(STAGES, "anonymize")
    inferences = [span for span in spans if span.name == "inference"]
    assert {by_id[span.parent_span_id].name for span in inferences} <= STAGES
    assert {a.key for span in inferences for a in span.attributes} == {"model", "rows"}
    assert not any(b"MARKER" in body or span.events for body in collector.raw for span in spans)


async def test_trace_context_is_sent_to_the_model_server(stack, monkeypatch):
    sent: list[dict[str, str]] = []
    async with Triton(stack.triton.url, timeout_s=60) as triton:
        infer = triton._infer

        def watched(request: bytes, **kwargs: Any) -> Any:
            sent.append(dict(kwargs["metadata"]))
            return infer(request, **kwargs)

        monkeypatch.setattr(triton, "_infer", watched)
        chips = {"chips": np.zeros((1, 150, 150, 3), np.uint8)}
        await triton.infer("dlib-resnet", chips, "embedding")
        provider = pytest.importorskip("opentelemetry.sdk.trace").TracerProvider()
        monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
        monkeypatch.setattr(tracing, "_headers_wanted", True)
        await triton.infer("dlib-resnet", chips, "embedding")
    assert sent[0] == {}
    assert sent[1]["traceparent"].startswith("00-")


def test_address_that_is_no_url_is_refused():
    with pytest.raises(ConfigurationError, match="ANONFACES_OTLP_ENDPOINT"):
        tracing.start(Settings(otlp_endpoint="collector:4317"))

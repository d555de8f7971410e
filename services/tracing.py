"""Optional traces (OpenTelemetry): a span a request, a stage, an inference. Off unless a collector is named.

Spans carry names of endpoints, stages and models, numbers of rows, and codes of errors: nothing of a photo, and no text
of an exception. The caller's W3C trace context is continued, and passed on to Triton.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.errors import AnonFacesError, ConfigurationError
from services.settings import Settings

DISABLED = "OTEL_SDK_DISABLED"  # set for BentoML, whose own spans cost more than our whole way to Triton
_w3c = TraceContextTextMapPropagator()
_tracer: trace.Tracer = trace.NoOpTracer()
_headers_wanted = False


def start(settings: Settings) -> None:
    """Sends spans to the collector that the settings name, if they name one.

    Raises:
        ConfigurationError: the extra `traces` is not installed, or the address is no URL.
    """
    global _tracer, _headers_wanted
    if settings.otlp_endpoint is None:
        return
    if urlsplit(settings.otlp_endpoint).scheme not in ("http", "https"):
        raise ConfigurationError("ANONFACES_OTLP_ENDPOINT is no URL of http or https, such as http://collector:4318")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as missing:
        raise ConfigurationError("traces need the extra `traces`: pip install 'anonfaces[traces]'") from missing
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    disabled = os.environ.pop(DISABLED, None)
    try:
        sampler = ParentBasedTraceIdRatio(settings.trace_share)
        provider = TracerProvider(sampler, Resource({"service.name": "anonfaces"}))
    finally:
        if disabled is not None:
            os.environ[DISABLED] = disabled
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer, _headers_wanted = provider.get_tracer("anonfaces"), True


@contextmanager
def span(name: str, headers: Mapping[str, str] | None = None, **attributes: str | int) -> Iterator[trace.Span]:
    """A span around a block. An error is told by its code, or its class; never by its text.

    Args:
        headers: of a request that comes in: the trace it belongs to goes on.
        attributes: from fixed sets; nothing of a photo.
    """
    if not _headers_wanted:
        yield trace.INVALID_SPAN
        return
    parent: Context | None = None if headers is None else _w3c.extract(dict(headers))
    with _tracer.start_as_current_span(
        name, parent, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            code = error.code if isinstance(error, AnonFacesError) else type(error).__name__
            current.set_attribute("error.type", code)
            current.set_status(trace.StatusCode.ERROR)
            raise


def headers() -> dict[str, str] | None:
    """The W3C trace context of the current span, for a request to the model server; None if there are no traces."""
    if not _headers_wanted:
        return None
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier

"""Every metric of the service, named once. Labels come from fixed sets, so the number of series is bounded."""

import os
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as _generate
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

STAGE_SECONDS = Histogram(
    "anonfaces_stage_seconds", "Time of one stage for one photo, waiting included", ["stage"], buckets=_SECONDS
)
INFERENCE_SECONDS = Histogram(
    "anonfaces_inference_seconds", "Time of one Triton request as the service sees it", ["model"], buckets=_SECONDS
)
INFERENCE_ROWS = Counter("anonfaces_inference_rows_total", "Pictures, chips or latents answered by Triton", ["model"])
TRITON_ERRORS = Counter("anonfaces_triton_errors_total", "Triton requests that failed or came too late", ["model"])
REQUESTS = Counter("anonfaces_requests_total", "Requests by what became of them", ["endpoint", "outcome"])
FACES = Counter("anonfaces_faces_total", "Faces by what became of them", ["outcome"])
SURROGATE_LOOKUPS = Counter("anonfaces_surrogate_lookups_total", "Surrogates asked for", ["result"])
SURROGATE_BYTES = Gauge(
    "anonfaces_surrogate_cache_bytes", "Bytes of surrogates kept in memory", multiprocess_mode="livesum"
)
PHOTOS_IN_WORK = Gauge("anonfaces_photos_in_work", "Photos being worked on now", multiprocess_mode="livesum")
INDEX_K = Gauge("anonfaces_index_k", "k of the cluster index that is served", multiprocess_mode="livemin")
INDEX_CROWDS = Gauge("anonfaces_index_crowds", "Crowds of the cluster index", multiprocess_mode="livemin")
INDEX_INFO = Gauge(
    "anonfaces_index_info",
    "1 for the version of the cluster index that is served, and how it resolves a photo",
    ["version", "resolution"],
    multiprocess_mode="livemax",
)
INDEX_ENROLMENT = Gauge(
    "anonfaces_index_enrolment", "1 where the enrolment map is loaded, else 0", multiprocess_mode="livemin"
)
INDEX_RELOADS = Counter(
    "anonfaces_index_reloads_total", "New versions of the cluster index by what became of them", ["outcome"]
)
for _outcome in ("loaded", "refused", "waiting"):
    INDEX_RELOADS.labels(_outcome)


def exposition() -> bytes:
    """All metrics as Prometheus reads them, summed over the worker processes where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return _generate(_Present(REGISTRY))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return _generate(_Present(registry))


class _Present(Collector):
    """A registry less the index versions that are not served any more: between processes a series cannot be removed."""

    def __init__(self, registry: CollectorRegistry):
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            if family.name == "anonfaces_index_info":
                family.samples = [sample for sample in family.samples if sample.value]
            yield family

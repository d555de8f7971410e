"""Every metric of the service, named once. Labels come from fixed sets, so the number of series is bounded."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as _generate
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from services.errors import ConfigurationError

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_DISTANCE = tuple(round(0.05 * step, 2) for step in range(1, 21))

# What each label may hold, for docs/metrics.md.
LABELS = {
    "protocol": "`http`, `grpc`",
    "endpoint": "`anonymize`, `anonymize_batch`, `anonymize_stream`, `inspect`, `surrogate`, `index`, `openapi`; "
    "`none` for everything else",
    "outcome": "`ok`, `cancelled`, or the code of an error ([services/errors.py](../services/errors.py)); of faces "
    "`enrolled`, `stranger`, `masked`, `refused`; of index versions `loaded`, `refused`, `waiting`",
    "limit": "`requests`, `bytes`, `waited`, `rate`",
    "stage": "`decode`, `detect`, `embed`, `look_up`, `synthesise`, `blend`, `encode`",
    "reason": "`too_small`, `uncertain`, `turned_away`, `stranger`",
    "kind": "`enrolled`, `stranger`",
    "model": "the models that the index was made with, and `ANONFACES_OTHER_GENERATORS`",
    "cause": "`too_late`, `unavailable`, `not_loaded`, `failed`, `refused`, `incomplete`, `not_finite`, `other`",
    "result": "`hit`, `miss`, `joined`",
    "version": "the version of the index that is served; one series at a time",
    "resolution": "`enrolled-first`, `nearest-only`",
}

# --- requests -------------------------------------------------------------------------------------------------
REQUESTS = Counter(
    "anonfaces_requests_total",
    "Requests by what became of them: ok, the code of an error, or cancelled",
    ["protocol", "endpoint", "outcome"],
)
REQUEST_SECONDS = Histogram(
    "anonfaces_request_seconds",
    "Time of one request from its first byte to the last of its answer",
    ["protocol", "endpoint"],
    buckets=_SECONDS,
)
PHOTOS = Counter(
    "anonfaces_photos_total", "Photos by what became of them, those of batches and streams one by one", ["outcome"]
)
REQUESTS_HELD = Gauge(
    "anonfaces_requests_held", "Requests between their first byte and their last", multiprocess_mode="livesum"
)
BYTES_HELD = Gauge("anonfaces_bytes_held", "Bytes of the bodies of those requests", multiprocess_mode="livesum")
QUEUE_DEPTH = Gauge("anonfaces_queue_depth", "Photos that wait for their turn", multiprocess_mode="livesum")
QUEUE_SECONDS = Histogram(
    "anonfaces_queue_seconds", "How long a photo waited for its turn", buckets=(*_SECONDS[:-1], 20.0, 30.0)
)
PHOTOS_IN_WORK = Gauge("anonfaces_photos_in_work", "Photos being worked on now", multiprocess_mode="livesum")
TURNED_AWAY = Counter(
    "anonfaces_turned_away_total",
    "Requests refused because too many requests or bytes were held, because their turn did not come, or by rate",
    ["limit"],
)

# --- photos ---------------------------------------------------------------------------------------------------
STAGE_SECONDS = Histogram(
    "anonfaces_stage_seconds", "Time of one stage for one photo, waiting included", ["stage"], buckets=_SECONDS
)
FACES_FOUND = Counter("anonfaces_faces_found_total", "Faces found in photos, whatever became of the photo")
FACES = Counter(
    "anonfaces_faces_total",
    "Faces of finished photos: enrolled or stranger (both replaced), masked; and those of refused photos",
    ["outcome"],
)
MASKED = Counter("anonfaces_masked_faces_total", "Masked faces by why they were not replaced", ["reason"])
CROWD_DISTANCE = Histogram(
    "anonfaces_crowd_distance",
    "Distance of a face to the centroid of the crowd it was given",
    ["kind"],
    buckets=_DISTANCE,
)

# --- models ---------------------------------------------------------------------------------------------------
INFERENCE_SECONDS = Histogram(
    "anonfaces_inference_seconds", "Time of one Triton request as the service sees it", ["model"], buckets=_SECONDS
)
INFERENCE_ROWS = Counter("anonfaces_inference_rows_total", "Pictures, chips or latents answered by Triton", ["model"])
BATCH_ROWS = Histogram(
    "anonfaces_inference_batch_rows", "Rows of one Triton request; Triton joins requests", ["model"], buckets=_ROWS
)
TRITON_ERRORS = Counter("anonfaces_triton_errors_total", "Triton requests that failed, by why", ["model", "cause"])
SURROGATE_LOOKUPS = Counter(
    "anonfaces_surrogate_lookups_total", "Surrogates asked for: kept (hit), rendered (miss), or being so", ["result"]
)
SURROGATE_BYTES = Gauge(
    "anonfaces_surrogate_cache_bytes", "Bytes of surrogates kept in memory", multiprocess_mode="livesum"
)

# --- cluster index --------------------------------------------------------------------------------------------
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

# Series whose first increase must be seen are there from the start, at 0.
for _outcome in ("loaded", "refused", "waiting"):
    INDEX_RELOADS.labels(_outcome)
for _outcome in ("enrolled", "stranger", "masked", "refused"):
    FACES.labels(_outcome)
for _limit in ("requests", "bytes", "waited", "rate"):
    TURNED_AWAY.labels(_limit)


def reserve() -> None:
    """Takes the room on disk that this process's metrics may need, so that they need none later.

    Processes share metrics by files that are mapped into memory and full of holes: a write into a hole that the disk
    has no room for would end the process.

    Raises:
        ConfigurationError: there is no room now.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    try:
        for path in Path(folder).glob(f"*_{os.getpid()}.db"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as full:
        raise ConfigurationError(
            f"the metrics need some megabytes of temporary files ({full.strerror}); make room, or name another folder "
            "with TMPDIR"
        ) from full


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

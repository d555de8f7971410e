"""What the dashboards show: one row a panel. Grafana's dashboards, and our own page, are made of these."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "bytes", "reqps", "percentunit", "short", "ops"]


@dataclass(frozen=True)
class Limit:
    """A line across a picture that is not to be crossed for long, and the alert that tells of it."""

    value: float  # in the unit of the panel
    name: str
    alert: str


@dataclass(frozen=True)
class Panel:
    """One picture: what it asks Prometheus for, and what it means.

    `queries` holds (PromQL, legend) pairs; `WINDOW` in them is the window of a rate, which Grafana chooses.
    """

    title: str
    meaning: str
    unit: Unit
    queries: tuple[tuple[str, str], ...]
    limit: Limit | None = None
    needs_gpu: bool = False


WINDOW = "$__rate_interval"


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[{WINDOW}]))"


def _quantiles(metric: str, by: str, where: str = "") -> tuple[tuple[str, str], ...]:
    legend = f" {{{{{by}}}}}" if by else ""
    labels = f"{by}, le" if by else "le"
    return tuple(
        (f"histogram_quantile({q}, {_rate(f'{metric}_bucket', labels, where)})", f"p{round(100 * q)}{legend}")
        for q in (0.5, 0.95)
    )


def _mean(metric: str, by: str) -> str:
    return f"{_rate(f'{metric}_sum', by)} / {_rate(f'{metric}_count', by)}"


def _inside(microseconds: str, per: str) -> str:
    return f"{_rate(f'nv_inference_{microseconds}', 'model')} / {_rate(per, 'model')} / 1e6"


def _faces(outcomes: str) -> str:
    return f'sum(rate(anonfaces_faces_total{{outcome=~"{outcomes}"}}[{WINDOW}]))'


SERVICE = (
    Panel(
        "Requests", "by what became of them", "reqps", ((_rate("anonfaces_requests_total", "outcome"), "{{outcome}}"),)
    ),
    Panel(
        "By protocol and endpoint",
        "",
        "reqps",
        ((_rate("anonfaces_requests_total", "protocol, endpoint"), "{{protocol}} {{endpoint}}"),),
    ),
    Panel(
        "Failures",
        "share of requests that fail by our fault; budget 0.5 %",
        "percentunit",
        (
            ("anonfaces:request_failures:ratio_rate5m", "5 minutes"),
            ("anonfaces:request_failures:ratio_rate1h", "1 hour"),
        ),
        Limit(0.005, "budget", "AnonfacesAvailabilitySlow"),
    ),
    Panel(
        "Slow photos",
        "share of photos that take longer than 2.5 s; budget 5 %",
        "percentunit",
        (("anonfaces:slow_photos:ratio_rate5m", "5 minutes"), ("anonfaces:slow_photos:ratio_rate1h", "1 hour")),
        Limit(0.05, "budget", "AnonfacesLatencySlow"),
    ),
    Panel(
        "Time of a request",
        "from its first byte to its last; of photos, 95 % within 2.5 s",
        "s",
        _quantiles("anonfaces_request_seconds", "endpoint"),
        Limit(2.5, "goal of p95", "AnonfacesLatencySlow"),
    ),
    Panel("Time of each stage", "waiting for the models included", "s", _quantiles("anonfaces_stage_seconds", "stage")),
    Panel(
        "Wait for a turn",
        "before a photo is worked on",
        "s",
        _quantiles("anonfaces_queue_seconds", ""),
        Limit(2, "limit", "AnonfacesPhotosWait"),
    ),
    Panel(
        "Photos waiting and in work",
        "",
        "short",
        (("sum(anonfaces_queue_depth)", "waiting"), ("sum(anonfaces_photos_in_work)", "in work")),
    ),
    Panel(
        "Held",
        "bytes of bodies and answers held in memory",
        "bytes",
        (("sum(anonfaces_bytes_held)", "bodies and answers"), ("sum(anonfaces_surrogate_cache_bytes)", "surrogates")),
    ),
    Panel(
        "Turned away",
        "by the limit that was met",
        "reqps",
        ((_rate("anonfaces_turned_away_total", "limit"), "{{limit}}"),),
    ),
)
TRITON = (
    Panel("Time of an inference", "as the service sees it", "s", _quantiles("anonfaces_inference_seconds", "model")),
    Panel(
        "Time inside Triton",
        "mean of a request: queue and compute",
        "s",
        (
            (_inside("queue_duration_us", "nv_inference_request_success"), "queue {{model}}"),
            (_inside("compute_infer_duration_us", "nv_inference_request_success"), "compute {{model}}"),
        ),
    ),
    Panel(
        "Rows a run",
        "how many rows Triton's batches hold",
        "short",
        ((f"{_rate('nv_inference_count', 'model')} / {_rate('nv_inference_exec_count', 'model')}", "{{model}}"),),
    ),
    Panel("Rows a second", "", "ops", ((_rate("anonfaces_inference_rows_total", "model"), "{{model}}"),)),
    Panel(
        "Errors",
        "by cause",
        "ops",
        ((_rate("anonfaces_triton_errors_total", "model, cause"), "{{model}} {{cause}}"),),
        Limit(0.05, "limit", "AnonfacesModelServerFails"),
    ),
    Panel(
        "Waiting in Triton",
        "requests in its queues",
        "short",
        (("sum by (model) (nv_inference_pending_request_count)", "{{model}}"),),
    ),
    Panel("GPU", "", "percentunit", (("nv_gpu_utilization", "{{gpu_uuid}}"),), needs_gpu=True),
    Panel("GPU memory", "", "bytes", (("nv_gpu_memory_used_bytes", "{{gpu_uuid}}"),), needs_gpu=True),
)
PRIVACY = (
    Panel(
        "Faces",
        "enrolled and stranger are replaced; k holds for enrolled only",
        "ops",
        ((_rate("anonfaces_faces_total", "outcome"), "{{outcome}}"),),
    ),
    Panel(
        "Masked, refused",
        "shares of faces and of photos, last hour; budget 10 %",
        "percentunit",
        (
            ("anonfaces:masked_faces:ratio_rate1h", "faces masked"),
            ("anonfaces:refused_photos:ratio_rate1h", "photos refused"),
        ),
        Limit(0.1, "budget", "AnonfacesManyMasked"),
    ),
    Panel("Why masked", "", "ops", ((_rate("anonfaces_masked_faces_total", "reason"), "{{reason}}"),)),
    Panel(
        "k that is served",
        "smallest over the services",
        "short",
        (("min(anonfaces_index_k)", "k"),),
    ),
    Panel(
        "Distance to the crowd",
        "mean, last hour and last week",
        "short",
        (("anonfaces:crowd_distance:mean7d", "week {{kind}}"), ("anonfaces:crowd_distance:mean1h", "hour {{kind}}")),
    ),
    Panel(
        "Drift of that distance",
        "of the hour from the week: other people, cameras or models",
        "percentunit",
        (("round(abs(anonfaces:crowd_distance:mean1h / anonfaces:crowd_distance:mean7d - 1), 0.0001)", "{{kind}}"),),
        Limit(0.15, "limit", "AnonfacesCrowdDistanceDrifts"),
    ),
    Panel(
        "Enrolment map",
        "1: people are recognised, and k is claimed",
        "short",
        (("min(anonfaces_index_enrolment)", "loaded"),),
    ),
)
POPULATION = (
    Panel("Crowds", "of the index that is served", "short", (("max(anonfaces_index_crowds)", "crowds"),)),
    Panel(
        "Versions",
        "services by the version they serve",
        "short",
        (("count by (version) (anonfaces_index_info == 1)", "{{version}}"),),
    ),
    Panel(
        "New versions",
        "loaded, refused, waiting for models",
        "short",
        (("sum by (outcome) (increase(anonfaces_index_reloads_total[1h]))", "{{outcome}}"),),
    ),
    Panel(
        "Strangers",
        "share of replaced faces that belong to nobody enrolled",
        "percentunit",
        (
            (
                f"{_faces('stranger')} / {_faces('stranger|enrolled')}",
                "strangers",
            ),
        ),
    ),
    Panel(
        "Surrogates",
        "asked for: kept, rendered, or being rendered",
        "ops",
        ((_rate("anonfaces_surrogate_lookups_total", "result"), "{{result}}"),),
    ),
)
DASHBOARDS = {"service": SERVICE, "triton": TRITON, "privacy": PRIVACY, "population": POPULATION}
NO_GPU = "Triton sees no GPU"
# Panels without an answer where nothing goes wrong, and why that is well.
EMPTY_WHEN_WELL = {
    "Errors": "a series of errors begins with the first error",
    "Why masked": "a reason has a series from the first face that it masks",
}

"""docs/metrics.md, made of the metrics themselves: `python -m services.metrics_doc > docs/metrics.md`."""

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from services import metrics

INTRODUCTION = """# Metrics

`GET /metrics`, in Prometheus' text format, summed over the worker processes. Made by `python -m services.metrics_doc`
from [services/metrics.py](../services/metrics.py); a test compares the two.

Labels have values of fixed sets, so the number of series is bounded, whatever is sent to the service.

| label | values |
|---|---|
"""
KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


def document() -> str:
    """The whole page."""
    labels = "".join(f"| `{name}` | {values} |\n" for name, values in metrics.LABELS.items())
    rows = "".join(map(_row, all_metrics()))
    return f"{INTRODUCTION}{labels}\n| metric | kind | labels | what it tells |\n|---|---|---|---|\n{rows}"


def all_metrics() -> list[MetricWrapperBase]:
    """Every metric that the module declares, in its order."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def _row(metric: MetricWrapperBase) -> str:
    name = f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {KINDS[type(metric)]} | {labels} | {metric._documentation} |\n"


if __name__ == "__main__":
    print(document(), end="")

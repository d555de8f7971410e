"""The metrics, and the page that describes them."""

from pathlib import Path

from prometheus_client import Gauge, Histogram

from services import metrics
from services.metrics_doc import all_metrics, document

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_page_of_metrics_is_that_of_the_code():
    assert PAGE.read_text() == document(), "make it anew: python -m services.metrics_doc > docs/metrics.md"


def test_every_label_says_what_it_may_hold():
    used = {label for metric in all_metrics() for label in metric._labelnames}
    assert used == set(metrics.LABELS)


def test_names_begin_with_the_product_and_say_their_unit_in_base_units():
    for metric in all_metrics():
        assert metric._name.startswith("anonfaces_")
        assert not metric._name.endswith(("_ms", "_mb", "_count"))


def test_every_gauge_says_how_it_is_put_together_from_several_processes():
    for metric in all_metrics():
        if isinstance(metric, Gauge):
            assert metric._multiprocess_mode.startswith("live"), metric._name


def test_buckets_are_floats_as_several_processes_need_them():
    for metric in all_metrics():
        if isinstance(metric, Histogram):
            assert all(isinstance(bound, float) for bound in metric._upper_bounds), metric._name

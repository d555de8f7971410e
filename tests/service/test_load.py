"""The load test's script and its watch, for some seconds, on the real service and by both protocols."""

import time
from collections import Counter

import numpy as np
import pytest

from deploy.load.k6 import K6, Played, Scenario
from deploy.load.photos import LoadPhoto, write_photos
from deploy.load.watch import Watch
from deploy.local.stack import LocalStack
from tests.conftest import as_bytes


@pytest.fixture(scope="module")
def k6(stack: LocalStack, astronaut: np.ndarray, tmp_path_factory) -> K6:
    out = tmp_path_factory.mktemp("load")
    write_photos([LoadPhoto("face", "png", as_bytes(astronaut[:190, 130:320], "PNG"))], stack.url, out / "photos")
    return K6(stack.url, stack.grpc_url, out / "photos", out)


def outcomes(played: Played) -> Counter:
    return Counter((request.protocol, request.outcome) for request in played.requests)


def test_photos_at_a_rate_are_finished_by_both_protocols_within_the_thresholds(k6):
    played = k6.play(Scenario("constant", "both", (4.0,), 3))
    assert played.crossed == []
    assert played.dropped == 0
    assert 10 <= len(played.requests) <= 13
    assert set(outcomes(played)) == {("http", "ok"), ("grpc", "ok")}


def test_answer_without_the_right_number_of_faces_fails_the_test(k6, stack, tmp_path, astronaut):
    photo = LoadPhoto("face", "png", as_bytes(astronaut[:190, 130:320], "PNG"))
    write_photos([photo], stack.url, tmp_path)
    listed = tmp_path / "photos.json"
    listed.write_text(listed.read_text().replace('"faces": 1', '"faces": 2'))
    played = K6(stack.url, stack.grpc_url, tmp_path, tmp_path).play(Scenario("constant", "both", (3.0,), 1))
    assert set(outcomes(played)) == {("http", "uncounted"), ("grpc", "uncounted")}
    assert "anonfaces_uncounted: count==0" in played.crossed


def test_photo_that_is_refused_for_itself_is_a_failure(stack, tmp_path):
    (tmp_path / "photos.json").write_text('[{"file": "no.jpeg", "media_type": "image/jpeg", "faces": 1}]')
    (tmp_path / "no.jpeg").write_bytes(b"no photo")
    played = K6(stack.url, stack.grpc_url, tmp_path, tmp_path).play(Scenario("ramp", "both", (3.0,), 1))
    assert set(outcomes(played)) == {("http", "failed"), ("grpc", "failed")}
    assert played.crossed == ["anonfaces_failed: rate==0"]  # 415 is no server error


def test_watch_sees_every_process_and_the_metrics(stack):
    with Watch(stack, every_s=0.1) as watch:
        deadline = time.monotonic() + 30
        while len(watch.samples) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    last = watch.samples[-1]
    for name in ("service", "triton", "models"):
        assert last.groups[name].rss > 50e6, name
        assert last.groups[name].threads > 1, name
    assert last.shared_bytes > 0
    assert last.metrics["lookups"] >= last.metrics["hits"]

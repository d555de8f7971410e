"""The model server is killed, hangs, loses a model or a stub: a photo is refused until it is well again."""

import os
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest

from deploy.local.stack import LocalStack
from deploy.local.triton import LocalTriton
from services.settings import Settings
from tests.faults.conftest import post


@pytest.fixture(scope="module")
def fragile(settings: Settings, homes) -> Iterator[LocalStack]:
    """Its readiness remembers nothing, and it waits for Triton for no more than 3 s."""
    home = homes()
    changes = {"home": home, "triton_timeout_s": 3.0, "ready_ttl_s": 0.0, "may_relax": False}
    with LocalStack(settings.model_copy(update=changes), work=home / "run") as running:
        yield running


def state(stack: LocalStack, probe: str) -> int:
    return httpx.get(f"{stack.url}/{probe}", timeout=60).status_code


def repository(stack: LocalStack, model: str, verb: str) -> int:
    """What an operator does by hand: curl -X POST http://triton:8000/v2/repository/models/MODEL/load."""
    url = f"http://127.0.0.1:{stack.triton.http_port}/v2/repository/models/{model}/{verb}"
    return httpx.post(url, timeout=60).status_code


def test_hung_triton_gives_504_and_serves_again_when_it_goes_on(fragile, judge, recovery):
    processes = fragile.triton.server.descendants()
    for process in processes:
        process.suspend()
    try:
        answer = judge.check(post(fragile.url, judge.photo))
        assert (answer.status_code, answer.json()["error"]) == (504, "deadline_exceeded")
        assert (state(fragile, "readyz"), state(fragile, "livez")) == (503, 200)
    finally:
        for process in processes:
            process.resume()
    recovery(lambda: judge.check(post(fragile.url, judge.photo)).status_code == 200, fragile.service.server)
    recovery(fragile.service.is_ready, fragile.service.server)


def test_unloaded_model_gives_503_until_it_is_loaded(fragile, judge, recovery):
    model = "dlib-resnet"
    assert repository(fragile, model, "unload") == 200
    answer = judge.check(post(fragile.url, judge.photo))
    assert (answer.status_code, answer.json()["error"]) == (503, "model_server_unavailable")
    assert state(fragile, "readyz") == 503
    assert repository(fragile, model, "load") == 200
    recovery(lambda: judge.check(post(fragile.url, judge.photo)).status_code == 200, fragile.service.server)


def test_dead_stubs_give_503_while_triton_says_healthy_until_models_are_loaded_anew(fragile, judge, recovery):
    family = fragile.triton.server.descendants()
    victims = [p for p in family if "triton_python_backend_stub" in " ".join(p.cmdline())]
    assert victims
    for victim in victims:
        victim.kill()
    health = httpx.get(f"http://127.0.0.1:{fragile.triton.http_port}/v2/health/ready", timeout=10)
    assert health.status_code == 200
    answer = judge.check(post(fragile.url, judge.photo))
    assert answer.status_code in (503, 504)
    assert state(fragile, "readyz") == 503
    for model in fragile.triton.models:
        assert repository(fragile, model, "unload") == 200
        assert repository(fragile, model, "load") == 200
    recovery(lambda: judge.check(post(fragile.url, judge.photo)).status_code == 200, fragile.service.server)
    recovery(fragile.service.is_ready, fragile.service.server)


def test_killed_triton_gives_503_and_a_new_one_on_its_port_is_found(fragile, judge, recovery):
    port = fragile.triton.grpc_port
    os.kill(fragile.triton.server.pid, signal.SIGKILL)
    fragile.triton.stop()
    answer = judge.check(post(fragile.url, judge.photo))
    assert (answer.status_code, answer.json()["error"]) == (503, "model_server_unavailable")
    assert (state(fragile, "readyz"), state(fragile, "livez")) == (503, 200)
    fragile.triton = LocalTriton(fragile.settings.model_repository, fragile.triton.models, fragile.work, port).start()
    recovery(lambda: judge.check(post(fragile.url, judge.photo)).status_code == 200, fragile.service.server)


def test_triton_that_dies_under_a_photo_gives_503_and_no_photo(fragile, judge, large):
    import threading

    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(post(fragile.url, large)))
    thread.start()
    while "anonfaces_photos_in_work 1.0" not in httpx.get(f"{fragile.url}/metrics").text:
        assert thread.is_alive()
    os.kill(fragile.triton.server.pid, signal.SIGKILL)
    thread.join()
    assert answers[0].status_code in (503, 504)
    assert set(answers[0].json()) == {"error", "message"}
    family = fragile.service.server.descendants()
    assert all(p.status() != psutil.STATUS_ZOMBIE for p in family)

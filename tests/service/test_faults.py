"""What breaks, and what a user sees of it. These tests have a stack of their own to break."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import psutil
import pytest

from deploy.local.process import wait_until
from deploy.local.stack import LocalStack, Service
from deploy.local.triton import LocalTriton
from services import serve
from services.errors import ConfigurationError, ConversionError, IndexRefused, StackError
from services.settings import Settings
from tests.conftest import as_bytes

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def fragile(settings: Settings, index, tmp_path_factory) -> Iterator[LocalStack]:
    """Its readiness remembers nothing, and it waits for Triton for no more than 3 s."""
    work = tmp_path_factory.mktemp("fragile")
    for part in ("indexes", "maps", "keys"):
        shutil.copytree(settings.home / part, work / part, symlinks=True)
    changes = {"home": work, "triton_timeout_s": 3.0, "ready_ttl_s": 0.0, "may_relax": False}
    with LocalStack(settings.model_copy(update=changes)) as running:
        yield running


def post(stack: LocalStack, photo: bytes) -> httpx.Response:
    return httpx.post(f"{stack.url}/v1/anonymize", content=photo, headers=JPEG, timeout=60)


def stubs(stack: LocalStack) -> list[psutil.Process]:
    assert stack.triton.server is not None
    return [p for p in stack.triton.server.descendants() if "triton_python_backend_stub" in " ".join(p.cmdline())]


@pytest.mark.parametrize(("query", "status"), [("no_face=pass", 400), ("stranger=mask", 200), ("stranger=assign", 200)])
def test_request_may_be_stricter_than_the_policy_but_not_laxer(fragile, astronaut_jpeg, query, status):
    url = f"{fragile.url}/v1/anonymize?{query}"
    assert httpx.post(url, content=astronaut_jpeg, headers=JPEG, timeout=60).status_code == status


def test_frozen_triton_gives_504_and_recovers_without_restart(fragile, astronaut_jpeg):
    processes = fragile.triton.server.descendants()
    assert post(fragile, astronaut_jpeg).status_code == 200
    for process in processes:
        process.suspend()
    try:
        answer = post(fragile, astronaut_jpeg)
        assert (answer.status_code, answer.json()["error"]) == (504, "deadline_exceeded")
        assert httpx.get(f"{fragile.url}/readyz", timeout=60).status_code == 503
        assert httpx.get(f"{fragile.url}/livez", timeout=60).status_code == 200
    finally:
        for process in processes:
            process.resume()
    wait_until(lambda: post(fragile, astronaut_jpeg).status_code == 200, fragile.service.server, 60, "serving again")
    wait_until(fragile.service.is_ready, fragile.service.server, 60, "ready again")


def test_dead_stub_makes_the_service_unready_while_triton_says_healthy(fragile, astronaut_jpeg):
    victims = stubs(fragile)
    assert victims
    for victim in victims:
        victim.kill()
    health = httpx.get(f"http://127.0.0.1:{fragile.triton.http_port}/v2/health/ready", timeout=10)
    assert health.status_code == 200
    assert post(fragile, astronaut_jpeg).status_code in (503, 504)
    assert httpx.get(f"{fragile.url}/readyz", timeout=60).status_code == 503


def test_killed_triton_gives_503_and_a_new_one_is_found(fragile, astronaut_jpeg):
    port = fragile.triton.grpc_port
    os.kill(fragile.triton.server.pid, signal.SIGKILL)
    fragile.triton.stop()
    answer = post(fragile, astronaut_jpeg)
    assert (answer.status_code, answer.json()["error"]) == (503, "model_server_unavailable")
    assert httpx.get(f"{fragile.url}/readyz", timeout=60).status_code == 503
    fragile.triton = LocalTriton(fragile.settings.model_repository, fragile.triton.models, fragile.work, port).start()
    wait_until(lambda: post(fragile, astronaut_jpeg).status_code == 200, fragile.service.server, 60, "serving again")


def test_sigterm_lets_a_request_finish(fragile, astronaut):
    large = as_bytes(np.kron(astronaut, np.ones((6, 6, 1), np.uint8)), "JPEG")  # takes long enough to be met on its way
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(post(fragile, large).status_code))
    thread.start()
    in_work = "anonfaces_photos_in_work 1.0"
    wait_until(lambda: in_work in httpx.get(f"{fragile.url}/metrics").text, fragile.service.server, 30, "at work")
    family = fragile.service.server.descendants()
    fragile.service.stop()
    thread.join()
    assert answers == [200]
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_service_does_not_start_without_an_index(settings, tmp_path):
    nowhere = settings.model_copy(update={"index": str(tmp_path / "none")})
    with pytest.raises(IndexRefused, match="anonfaces population build"):
        LocalStack(nowhere).start()


def test_port_that_is_taken_is_named_before_anything_starts(settings, stack):
    with pytest.raises(ConfigurationError, match=f"{stack.service.port}.*ANONFACES_PORT"):
        LocalStack(settings, port=stack.service.port).start()


def test_service_process_itself_refuses_a_tampered_index(settings, index, stack, tmp_path, monkeypatch):
    """The launcher's own check is passed by: what counts is that the service does."""
    shutil.copytree(settings.index_path, tmp_path / "demo", symlinks=True)
    crowds = bytearray((tmp_path / "demo" / "current" / "crowds.npz").read_bytes())
    tampered = settings.model_copy(update={"index": f"{tmp_path}/demo"})
    service = Service(tampered, stack.triton.url, tmp_path / "run")
    crowds[len(crowds) // 2] ^= 1
    monkeypatch.setattr(serve, "check", lambda settings: None)
    (tmp_path / "demo" / "current" / "crowds.npz").write_bytes(crowds)
    with pytest.raises(StackError, match="was changed"):
        service.start(timeout_s=20)


def test_changed_model_is_not_served(settings, tmp_path):
    name = "centerface-192"
    shutil.copytree(settings.model_repository / name, tmp_path / name)
    model = tmp_path / name / "1" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(ConversionError, match="SHA-256"):
        LocalTriton(tmp_path, [name], tmp_path / "run").start()


def test_stack_leaves_no_process_and_no_shared_memory(settings, index, tmp_path):
    triton = LocalTriton(settings.model_repository, ["centerface-192"], tmp_path).start()
    family = triton.server.descendants()
    assert len(family) > 1
    assert triton.stop() == 0
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    from deploy.local.triton import SHARED_MEMORY

    assert not list(SHARED_MEMORY.glob(f"{triton.region}*"))

"""The service's own process: told to stop under load, killed, or on a disk that is full."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.local.process import wait_until
from deploy.local.stack import LocalStack, Service
from services.settings import Settings
from tests.faults.conftest import metric, post


def workers(service: Service) -> list[psutil.Process]:
    return [p for p in service.server.descendants() if "_bentoml_impl.worker" in " ".join(p.cmdline())]


def test_sigterm_under_load_lets_every_request_finish_and_ends_with_0(served, judge, large):
    """What comes after it is not accepted: nothing of it is read."""
    service = served()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(post, service.url, photo) for photo in [large, judge.photo] * 3]
        wait_until(lambda: metric(service.url, "anonfaces_photos_in_work") >= 3, service.server, 30, "at work")
        wait_until(lambda: _accepted(service) >= 6, service.server, 30, "asked by all")
        family = service.server.descendants()
        status = service.server.stop(grace_s=60)
        with pytest.raises(httpx.TransportError):
            post(service.url, judge.photo)
        answers = [one.result(60) for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 6
    for answer in answers[1::2]:
        judge.check(answer)
    assert status == 0
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _accepted(service: Service) -> float:
    return metric(service.url, "anonfaces_requests_held") + metric(service.url, "anonfaces_photos_total")


def test_killed_worker_is_replaced_and_its_clients_get_no_photo(served, judge, large, recovery):
    service = served()
    failures: list[str] = []

    def ask() -> None:
        try:
            failures.append(str(post(service.url, large).status_code))
        except httpx.TransportError as broken:
            failures.append(type(broken).__name__)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        wait_until(lambda: metric(service.url, "anonfaces_photos_in_work") == 1, service.server, 30, "at work")
        (worker,) = workers(service)
        worker.kill()
        asked.result(60)
    assert failures[0] in ("RemoteProtocolError", "ReadError")
    recovery(lambda: _serves(service, judge), service.server)
    recovery(service.is_ready, service.server)


def _serves(service: Service, judge) -> bool:
    try:
        return bool(judge.check(post(service.url, judge.photo)).status_code == 200)
    except httpx.TransportError:
        return False


def test_no_write_of_the_service_matters_once_it_serves(served, judge):
    """As on a disk that is full: from now on every write to a file fails, those to the log as well."""
    service = served()
    for process in service.server.descendants():
        process.rlimit(resource.RLIMIT_FSIZE, (0, 0))
    statuses = [judge.check(post(service.url, judge.photo)).status_code for _ in range(3)]
    statuses.append(judge.check(post(service.url, b"no photo")).status_code)
    assert statuses == [200, 200, 200, 415]
    assert metric(service.url, "anonfaces_photos_total") >= 4
    assert service.is_ready()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB, which the test fills."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk_under_temporary_files_and_metrics_changes_nothing(
    full_disk, settings: Settings, stack: LocalStack, judge, monkeypatch
):
    """The metrics of several processes are files in memory; a page of one that the disk has no room for is a SIGBUS."""
    monkeypatch.setenv("TMPDIR", str(full_disk))
    service = Service(settings.model_copy(update={"may_relax": False}), stack.triton.url, full_disk)
    try:
        service.start()
        with (full_disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"\1" * 4096)
            except OSError:
                pass
        before = workers(service)
        statuses = [judge.check(post(service.url, judge.photo)).status_code for _ in range(3)]
        files = {"photo": ("a.jpg", judge.photo, "image/jpeg")}
        statuses.append(httpx.post(f"{service.url}/v1/anonymize", files=files, timeout=60).status_code)
        assert statuses == [200] * 4
        for query in ("format=png", "format=webp", "quality=2", "stranger=mask", "stranger=refuse", "k=99"):
            judge.check(httpx.get(f"{service.url}/v1/nothing?{query}", timeout=60))
        assert metric(service.url, "anonfaces_photos_total") >= 4
        assert workers(service) == before
    finally:
        (full_disk / "filler").unlink(missing_ok=True)
        service.stop()


def test_sigkill_of_the_supervisor_leaves_no_process(served, judge):
    service = served()
    family = service.server.descendants()
    os.kill(service.server.pid, signal.SIGKILL)
    _, left = psutil.wait_procs(family, timeout=40)
    assert not left

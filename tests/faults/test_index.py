"""The index breaks while it serves: what is in memory serves on, and what is broken is never taken up."""

import shutil

import httpx
import pytest

from deploy.local.stack import Service
from services.population.index import CROWDS
from tests.faults.conftest import metric, post


@pytest.fixture(scope="module")
def service(served) -> Service:
    return served(index_poll_s=0.2)


def refusals(service: Service) -> float:
    lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if 'reloads_total{outcome="refused"}' in line)


def serves_the_same(service: Service, judge, version: str) -> bool:
    answer = judge.check(post(service.url, judge.photo))
    return answer.status_code == 200 and answer.headers["x-anonfaces-index-version"] == version


def test_index_that_is_replaced_by_a_corrupt_one_is_refused_and_the_old_one_serves(service, judge, index, recovery):
    path = service.settings.index_path / "current" / CROWDS
    sound = path.read_bytes()
    before = refusals(service)
    path.write_bytes(sound[: len(sound) // 2] + b"\0" * 100)
    recovery(lambda: refusals(service) > before, service.server)
    assert serves_the_same(service, judge, index.version)
    assert service.is_ready()
    path.write_bytes(sound)
    assert serves_the_same(service, judge, index.version)


def test_index_folder_that_is_gone_leaves_the_old_one_serving(service, judge, index, recovery):
    folder = service.settings.index_path
    aside = folder.with_name("aside")
    before = refusals(service)
    shutil.move(folder, aside)
    recovery(lambda: refusals(service) > before, service.server)
    assert serves_the_same(service, judge, index.version)
    shutil.move(aside, folder)
    assert serves_the_same(service, judge, index.version)


def test_map_and_key_that_are_gone_leave_the_old_ones_serving(service, judge, index):
    for part in ("maps", "keys"):
        shutil.rmtree(service.settings.home / part)
    answer = post(service.url, judge.photo)
    assert judge.check(answer).status_code == 200
    assert metric(service.url, "anonfaces_index_enrolment") in (0, 1)


@pytest.mark.parametrize(("query", "status"), [("no_face=pass", 400), ("stranger=mask", 200), ("stranger=assign", 200)])
def test_request_may_be_stricter_than_the_policy_but_not_laxer(service, astronaut_jpeg, query, status):
    name, _, value = query.partition("=")
    assert post(service.url, astronaut_jpeg, **{name: value}).status_code == status

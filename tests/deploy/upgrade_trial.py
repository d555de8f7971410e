"""A new Triton comes and the old one goes as in an upgrade of the chart, and no request fails: `make upgrade-test`.

Two real Tritons behind one name, the real service, requests all the while. The times are the chart's own, so this takes
minutes. Endpoints, the kubelet and a network are not tried: the name is a name server's of ours.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
import yaml

from deploy.checks.tools import CHART, helm
from deploy.local.stack import Service
from deploy.local.triton import LocalTriton
from services.population.compatibility import models_for, served_models
from services.population.index import open_index
from services.processes import free_port
from services.settings import Settings
from tests.deploy.names import NameServer

OLD, NEW = "127.0.0.1", "127.0.0.2"
CLIENTS = 3
AGE = "--grpc-max-connection-age="
FOR_EVER = f"{AGE}{2**31 - 1}"


@dataclass
class Chart:
    """What the chart says of Triton."""

    age: str
    drain_s: float

    @staticmethod
    def read() -> "Chart":
        told = helm(
            "template", "town", str(CHART), "--set=access.keysSecret=k", "--show-only=templates/triton-deployment.yaml"
        )
        (container,) = yaml.safe_load(told)["spec"]["template"]["spec"]["containers"]
        (age,) = (one for one in container["args"] if one.startswith(AGE))
        return Chart(age, container["lifecycle"]["preStop"]["sleep"]["seconds"])


@dataclass
class Load:
    """Requests without a pause, and what came of them."""

    url: str
    photo: bytes
    statuses: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._done = threading.Event()
        self._clients = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for client in self._clients:
            client.start()

    def finish(self) -> None:
        """No more requests; waits for those under way."""
        self._done.set()
        for client in self._clients:
            client.join()

    def _run(self) -> None:
        with httpx.Client(timeout=90) as client:
            while not self._done.is_set():
                try:
                    answer = client.post(
                        f"{self.url}/v1/anonymize", content=self.photo, headers={"Content-Type": "image/jpeg"}
                    )
                    self.statuses.append(str(answer.status_code))
                except httpx.HTTPError as failed:
                    self.statuses.append(type(failed).__name__)


@dataclass
class Upgrade:
    """An upgrade under way: one Triton serves, behind a name, under load."""

    settings: Settings
    models: set[str]
    names: NameServer
    old: LocalTriton
    port: int
    load: Load

    def start(self, host: str, argument: str) -> LocalTriton:
        work = self.settings.home / "run" / f"upgrade-{host}"
        return LocalTriton(self.settings.model_repository, self.models, work, self.port, host, [argument]).start()


def embedded(triton: LocalTriton) -> int:
    """How many requests for embeddings a Triton has answered."""
    text = httpx.get(f"http://127.0.0.1:{triton.metrics_port}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("nv_inference_request_success") and "dlib" in line]
    return sum(int(float(line.split()[-1])) for line in lines)


def wait_until(happened, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture(params=["the chart's", FOR_EVER], ids=["chart", "connections-for-ever"])
def upgrade(request, settings) -> Iterator[tuple[Upgrade, Chart]]:
    chart = Chart.read()
    chart.age = chart.age if request.param != FOR_EVER else FOR_EVER
    models = served_models(settings, models_for(open_index(settings), settings))
    port = free_port()
    work = settings.home / "run" / "upgrade"
    with (
        NameServer([OLD]) as names,
        LocalTriton(settings.model_repository, models, work, port, OLD, [chart.age]) as old,
    ):
        service = Service(settings, names.target("tritons", port), work).start()
        try:
            photo = httpx.get(f"{service.url}/v1/surrogates/0", params={"format": "jpeg"}, timeout=60).content
            load = Load(service.url, photo)
            try:
                yield Upgrade(settings, models, names, old, port, load), chart
            finally:
                load.finish()
        finally:
            service.stop()


def test_triton_is_replaced_and_no_request_fails(upgrade):
    under_way, chart = upgrade
    with under_way.start(NEW, chart.age) as new:
        before = embedded(new)
        under_way.names.addresses = [OLD, NEW]
        if chart.age == FOR_EVER:  # so that the trial can fail: nobody ever looks for the new one
            time.sleep(chart.drain_s)
            assert embedded(new) == before
            return
        wait_until(lambda: embedded(new) > before, 90)
        under_way.names.addresses = [NEW]
        time.sleep(chart.drain_s - 15)
        seen, there = embedded(under_way.old), embedded(new)
        time.sleep(15)
        assert embedded(under_way.old) == seen  # it was left alone before its time was over
        assert embedded(new) > there
        assert under_way.old.stop() == 0
        time.sleep(10)
        under_way.load.finish()
    statuses = under_way.load.statuses
    print(f"\n{len(statuses)} requests while a Triton was replaced")
    assert len(statuses) > 50
    assert set(statuses) == {"200"}, {status: statuses.count(status) for status in set(statuses)}

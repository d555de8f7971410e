"""A Prometheus on this machine that scrapes the local stack, with the rules of the chart."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from deploy.checks.tools import CHART
from deploy.local.process import Server, wait_until
from services.errors import ConfigurationError
from services.processes import child_environment, free_port

KEPT = "1GB"  # of samples; the oldest go first
MISSING = "Prometheus is not installed (Debian, Ubuntu: apt-get install --no-install-recommends prometheus)"
RULES = sorted((CHART / "rules").glob("*.yaml"))


class LocalPrometheus:
    """A running Prometheus. Use as a context manager, or call `start` and `stop`.

    Args:
        targets: where what is scraped listens (http://host:port), by the name of its job.
        work: a folder for its data, configuration and log.
        every_s: how often it scrapes.
        patience: alerts that hold back for minutes do so for this share of them; a test has no minutes.
    """

    def __init__(self, targets: dict[str, str], work: Path, every_s: float = 5.0, patience: float = 1.0):
        self.targets, self.work, self.every_s, self.patience = targets, work, every_s, patience
        self.port = free_port()
        self.server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configuration(self) -> dict[str, Any]:
        """What Prometheus is told. The chart's rules, evaluated as often as is scraped."""
        every = f"{round(1000 * self.every_s)}ms"
        rules = [str(path) for path in self._rules(every)]
        return {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": rules,
            "scrape_configs": [_job(name, at) for name, at in self.targets.items()],
        }

    def _rules(self, every: str) -> list[Path]:
        written = []
        for path in RULES:
            told = yaml.safe_load(path.read_text())
            for group in told["groups"]:
                group["interval"] = every
                for rule in group["rules"]:
                    if "for" in rule:
                        rule["for"] = f"{round(self.patience * _seconds(rule['for']))}s"
            copy = self.work / path.name
            copy.write_text(yaml.safe_dump(told))
            written.append(copy)
        return written

    def start(self, timeout_s: float = 60.0) -> "LocalPrometheus":
        """Starts it, and waits until it answers.

        Raises:
            ConfigurationError: Prometheus is not installed.
            StackError: it did not come up; with the end of its log.
        """
        program = shutil.which("prometheus")
        if program is None:
            raise ConfigurationError(MISSING)
        self.work.mkdir(parents=True, exist_ok=True)
        file = self.work / "prometheus.yaml"
        file.write_text(yaml.safe_dump(self.configuration()))
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={self.work / 'data'}"]
        command += [
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
            f"--storage.tsdb.retention.size={KEPT}",
        ]
        self.server = Server("prometheus", command, self.work / "prometheus.log", child_environment())
        try:
            wait_until(self._answers, self.server, timeout_s, "ready")
        except BaseException:
            self.stop()
            raise
        return self

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query. Raises ValueError if Prometheus does not understand it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(f"{query}: {answer.get('error')}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def check_alive(self) -> None:
        """Raises StackError, with the end of its log, if it has ended."""
        if self.server is not None:
            self.server.check_alive()

    def stop(self) -> None:
        """Stops it; its data goes with its folder's owner."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def __enter__(self) -> "LocalPrometheus":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _job(name: str, url: str) -> dict[str, Any]:
    place = urlsplit(url)
    job: dict[str, Any] = {"job_name": name, "scheme": place.scheme, "static_configs": [{"targets": [place.netloc]}]}
    if place.scheme == "https":
        job["tls_config"] = {"insecure_skip_verify": True}  # a process of this machine, whatever its certificate says
    return job


def _seconds(told: str) -> float:
    """Seconds of a time as the rules tell it: 5m, 2h."""
    return float(told[:-1]) * {"s": 1, "m": 60, "h": 3600}[told[-1]]

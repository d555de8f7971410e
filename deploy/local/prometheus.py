"""A Prometheus on this machine that scrapes the local stack, with the rules of the chart."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.checks.tools import CHART
from deploy.local.process import Server, wait_until
from services.errors import ConfigurationError
from services.processes import child_environment, free_port

RULES = sorted((CHART / "rules").glob("*.yaml"))


class LocalPrometheus:
    """A running Prometheus. Use as a context manager, or call `start` and `stop`.

    Args:
        targets: host:port of what is scraped, by the name of its job.
        work: a folder for its data, configuration and log.
        every_s: how often it scrapes.
    """

    def __init__(self, targets: dict[str, str], work: Path, every_s: float = 5.0, port: int = 0):
        self.targets, self.work, self.every_s = targets, work, every_s
        self.port = port or free_port()
        self.server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configuration(self) -> dict[str, Any]:
        """What Prometheus is told. The chart's rules, evaluated as often as is scraped."""
        every = f"{round(1000 * self.every_s)}ms"
        jobs = [{"job_name": name, "static_configs": [{"targets": [at]}]} for name, at in self.targets.items()]
        rules = [str(path) for path in self._rules(every)]
        return {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": rules,
            "scrape_configs": jobs,
        }

    def _rules(self, every: str) -> list[Path]:
        written = []
        for path in RULES:
            told = yaml.safe_load(path.read_text())
            for group in told["groups"]:
                group["interval"] = every
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
            raise ConfigurationError("Prometheus is not installed (Debian: apt install prometheus)")
        self.work.mkdir(parents=True, exist_ok=True)
        file = self.work / "prometheus.yaml"
        file.write_text(yaml.safe_dump(self.configuration()))
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={self.work / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
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

    def stop(self) -> None:
        """Stops it; its data goes with its folder's owner."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def __enter__(self) -> "LocalPrometheus":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

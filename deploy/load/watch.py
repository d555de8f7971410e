"""What a running stack takes, second by second: memory, processor, files, threads, shared memory; and its metrics."""

import contextlib
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.stack import LocalStack
from deploy.local.triton import SHARED_MEMORY

STUB = "triton_python_backend_stub"
GAUGES = (
    "anonfaces_queue_depth",
    "anonfaces_photos_in_work",
    "anonfaces_requests_held",
    "anonfaces_surrogate_cache_bytes",
)
LOOKUPS = "anonfaces_surrogate_lookups_total"


@dataclass(frozen=True)
class Group:
    """Some processes together."""

    rss: int  # bytes
    cpu_s: float  # since they started
    files: int | None  # open; None: this user may not look
    threads: int


@dataclass(frozen=True)
class Sample:
    """One moment."""

    at: float  # seconds since the epoch
    groups: dict[str, Group]  # service, triton, models, k6
    machine_s: float  # processor time of the whole machine that was not idle
    shared_bytes: int  # of /dev/shm, by Triton's regions
    metrics: dict[str, float]  # the gauges; lookups and hits of surrogates; empty if the service did not answer

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Watch:
    """Takes a sample a second, from `start` to `stop`, in a thread."""

    def __init__(self, stack: LocalStack, every_s: float = 1.0):
        self.samples: list[Sample] = []
        self._stack, self._every_s = stack, every_s
        self._client: psutil.Process | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def look_at_client(self, pid: int) -> None:
        """Which process sends the load."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._client = psutil.Process(pid)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=5) as http:
            while True:
                self.samples.append(self._look(http))
                if self._ended.wait(self._every_s):
                    return

    def _look(self, http: httpx.Client) -> Sample:
        at, groups = time.time(), {name: _group(members) for name, members in self._members().items()}
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return Sample(at, groups, busy, _shared_bytes(self._stack.triton.region), self._metrics(http))

    def _members(self) -> dict[str, list[psutil.Process]]:
        service, triton = self._stack.service.server, self._stack.triton.server
        members: dict[str, list[psutil.Process]] = {"service": service.descendants() if service else []}
        below = triton.descendants() if triton else []
        stubs = []
        for process in below:
            with contextlib.suppress(psutil.Error):
                if STUB in " ".join(process.cmdline()):
                    stubs.append(process)
        members["triton"], members["models"] = [one for one in below if one not in stubs], stubs
        members["k6"] = [self._client] if self._client else []
        return members

    def _metrics(self, http: httpx.Client) -> dict[str, float]:
        try:
            text = http.get(f"{self._stack.url}/metrics").raise_for_status().text
        except httpx.HTTPError:
            return {}
        found = dict.fromkeys((*GAUGES, "lookups", "hits"), 0.0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in GAUGES:
                    found[sample.name] = sample.value
                elif sample.name == LOOKUPS:
                    found["lookups"] += sample.value
                    found["hits"] += sample.value if sample.labels["result"] == "hit" else 0
        return found


def _group(members: list[psutil.Process]) -> Group:
    rss = threads = files = 0
    cpu_s, readable = 0.0, True
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
            rss += process.memory_info().rss
            times = process.cpu_times()
            cpu_s += times.user + times.system
            threads += process.num_threads()
            try:
                files += process.num_fds()
            except psutil.AccessDenied:
                readable = False
    return Group(rss, cpu_s, files if readable else None, threads)


def _shared_bytes(region: str) -> int:
    """What Triton's regions take of /dev/shm, as blocks in use."""
    size = 0
    for path in SHARED_MEMORY.glob(f"{region}*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_blocks * 512
    return size

"""A server as a child process: its own process group, a log file, and no survivors."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from services.errors import StackError

PR_SET_PDEATHSIG = 1
# A photo is a few megabytes, which glibc would map and unmap anew at each copy; page faults then cost more than the
# copies do. So freed memory up to these sizes stays with the process.
STEADY_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(32 << 20),
}
_libc = ctypes.CDLL(None, use_errno=True)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(host: str, port: int, setting: str) -> None:
    """Raises StackError if somebody listens on a port already; names the setting that chooses another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as taken:
            raise StackError(
                f"cannot listen on {host}:{port} ({taken.strerror}); choose another with {setting}"
            ) from taken


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """Starts a command, waits until it is ready, and stops it with everything it started."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]):
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_die_with_parent,  # a killed parent leaves no orphan; start servers from the main thread
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def descendants(self) -> list[psutil.Process]:
        """The server's own process and all below it that are alive."""
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def check_alive(self) -> None:
        """Raises StackError, with the end of the log, if the process has ended."""
        if self.process.poll() is not None:
            raise StackError(f"{self.name} ended with status {self.process.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) + f"\n(whole log: {self.log})"

    def stop(self, grace_s: float = 15.0) -> int:
        """SIGTERM, then SIGKILL for what is left after `grace_s`. Returns the exit status."""
        family = self.descendants()
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        status = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # those whose parent died before them
        psutil.wait_procs(family, timeout=5)
        return status


def wait_until(check: Callable[[], bool], server: Server, timeout_s: float, what: str) -> None:
    """Calls `check()` every 0.1 s until it is true.

    Raises:
        StackError: the server ended, or `timeout_s` passed; with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not check():
        server.check_alive()
        if time.monotonic() > deadline:
            raise StackError(f"{server.name} was not {what} within {timeout_s:.0f} s:\n{server.tail()}")
        time.sleep(0.1)


def child_environment(**extra: str) -> dict[str, str]:
    """This process's environment with `extra`, and this interpreter's folder first on PATH."""
    return {**os.environ, **STEADY_HEAP, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}", **extra}

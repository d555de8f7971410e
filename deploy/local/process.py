"""A server as a child process: its own process group, a log file, and no survivors."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from services.errors import StackError
from services.processes import prepare_child


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
                preexec_fn=prepare_child,  # a killed parent leaves no orphan; start servers from the main thread
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

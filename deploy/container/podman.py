"""Containers as production runs them: read-only, as nobody, without a capability; and a look into images."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.errors import StackError

# Podman's own choice, crun, and the limits it asks for are not allowed everywhere; runc with modest ones is.
RUN = [
    "--runtime",
    shutil.which("runc") or "runc",
    "run",
    "--ulimit",
    "nofile=10000:10000",
    "--ulimit",
    "nproc=4096:4096",
]
HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt", "no-new-privileges"]


def podman(*arguments: str, timeout_s: float = 900) -> str:
    """What podman prints. Raises StackError with what it said, if it fails."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise StackError(f"podman {arguments[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


class Container:
    """A container that is running, or has ended. Use as a context manager: it is removed in the end.

    Args:
        arguments: after the image's entry point; its own if none.
        volumes: host folder or file -> "PATH" or "PATH:ro" within.
        network: "host", or "none".
        scratch: size of /tmp, which is memory.
    """

    def __init__(
        self,
        image: str,
        *arguments: str,
        volumes: Mapping[Path, str] | None = None,
        environment: Mapping[str, str] | None = None,
        network: str = "none",
        scratch: str = "64m",
    ):
        told = [f"--volume={host}:{inside}" for host, inside in (volumes or {}).items()]
        told += [f"--env={name}={value}" for name, value in (environment or {}).items()]
        # noexec: what is written cannot be run.
        told += [f"--network={network}", f"--tmpfs=/tmp:rw,size={scratch},mode=1777,nosuid,nodev,noexec"]
        self.id = podman(*RUN, *HARDENED, *told, "--detach", image, *arguments).strip()

    def run(self, *command: str) -> str:
        """What a command prints within the container. Raises StackError if it fails."""
        return podman("exec", self.id, *command)

    def wait(self, timeout_s: float = 900) -> int:
        """Waits until it has ended. Returns its exit status."""
        return int(podman("wait", self.id, timeout_s=timeout_s))

    def stop(self, grace_s: int) -> int:
        """Tells it to stop (SIGTERM), kills it after the grace. Returns its exit status: 137 if it was killed."""
        podman("stop", f"--time={grace_s}", self.id)
        return int(self.state()["ExitCode"])

    def state(self) -> dict[str, Any]:
        """What podman knows of it: Running, ExitCode, Pid, OOMKilled ..."""
        state: dict[str, Any] = json.loads(podman("container", "inspect", self.id))[0]["State"]
        return state

    def logs(self) -> str:
        """All that it has printed."""
        done = subprocess.run(["podman", "logs", self.id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *exc: object) -> None:
        podman("rm", "--force", "--time=5", self.id)


@contextmanager
def files_of(image: str) -> Iterator[Path]:
    """The root of an image's files, mounted read-only while the block runs."""
    root = Path(podman("image", "mount", image).strip())
    try:
        yield root
    finally:
        podman("image", "unmount", image)


def config_of(image: str) -> dict[str, Any]:
    """User, Env, Entrypoint, Cmd ... of an image, and its Size in bytes."""
    told = json.loads(podman("image", "inspect", image))[0]
    return {**told["Config"], "Size": told["Size"]}

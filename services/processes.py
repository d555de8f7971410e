"""Child processes, and what a process leaves behind: no orphans, no dumps of its memory."""

import ctypes
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from services.errors import ConfigurationError

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
# A photo is a few megabytes, which glibc would map and unmap anew at each copy; page faults then cost more than the
# copies do. So freed memory up to these sizes stays with the process.
STEADY_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(32 << 20),
}
_libc = ctypes.CDLL(None, use_errno=True)


def child_environment(**extra: str) -> dict[str, str]:
    """This process's environment with `extra`, and this interpreter's folder first on PATH."""
    return {**os.environ, **STEADY_HEAP, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}", **extra}


def prepare_child() -> None:
    """In a child before it runs its program: no orphan of a killed parent, no core dump, files for their owner only.

    Start the child from the main thread.
    """
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def end_with_parent() -> None:
    """This process is told to stop when its parent dies: a worker without a supervisor would keep the port."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def keep_memory_private() -> None:
    """This process's memory, which holds photos, goes to no core file, and to no other process of the same user.

    A limit of size alone does not keep it from a handler of core dumps that the kernel pipes into.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(PR_SET_DUMPABLE, 0)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(host: str, port: int, setting: str) -> None:
    """Raises ConfigurationError if a port cannot be listened on; names the setting that chooses another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as taken:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({taken.strerror}); choose another with {setting}"
            ) from taken

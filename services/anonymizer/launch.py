"""BentoML's command line, its supervisor listening in a private folder only.

As it ships, the supervisor (circus) takes commands on a TCP port of the machine without asking who sends them: any of
the machine's users could stop the service, or have it start programs of theirs.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bentoml._internal.utils import circus
from bentoml_cli.cli import cli

LONGEST_SOCKET_PATH = 107  # bytes, of Linux
SOCKETS = {"endpoint": "control", "pubsub_endpoint": "events"}


def _private_folder() -> Path:
    """BentoML's own home; a folder of ours if its path is too long for a socket."""
    home = Path(os.environ["BENTOML_HOME"])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    if len(os.fsencode(home / "control")) > LONGEST_SOCKET_PATH:
        home = Path(tempfile.mkdtemp(prefix="anonfaces-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


class _PrivateArbiter(circus.Arbiter):
    def __init__(self, *args: Any, **kwargs: Any):
        folder = _private_folder()
        super().__init__(*args, **{**kwargs, **{name: f"ipc://{folder / file}" for name, file in SOCKETS.items()}})


if __name__ == "__main__":
    vars(circus)["Arbiter"] = _PrivateArbiter  # what its `create_standalone_arbiter` makes
    cli()

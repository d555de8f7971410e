"""Starts the service, the same way everywhere: checked first, in one environment, stopped by SIGTERM."""

import contextlib
import ipaddress
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from services.anonymizer.api import tls
from services.anonymizer.api.access import Access
from services.errors import ConfigurationError
from services.population.compatibility import models_for
from services.population.index import open_index
from services.processes import child_environment, free_port, prepare_child, require_free
from services.settings import Settings

SERVICE = "services.anonymizer.service:Anonymizer"
# How long a connection may be idle: longer than proxies and load balancers keep theirs (nginx and others: 60 s). Of the
# two that close one at the same moment, the client's request is lost if it is the server.
KEEP_ALIVE_S = 75


def check(settings: Settings) -> None:
    """Whether a service with these settings can start. What it needs of Triton, it waits for.

    Raises:
        ConfigurationError: the address, the port, the API keys or the certificates.
        IndexRefused: there is no index, or it does not add up, or was made for other models.
    """
    try:
        ipaddress.ip_address(settings.host)
    except ValueError:
        raise ConfigurationError(
            f"ANONFACES_HOST={settings.host} is no address; it is one of this machine's, such as 127.0.0.1 or 0.0.0.0"
        ) from None
    require_free(settings.host, settings.port, "ANONFACES_PORT")
    require_free(settings.host, settings.grpc_port, "ANONFACES_GRPC_PORT")
    Access(settings)
    tls.check(settings)
    models_for(open_index(settings), settings)


def command(settings: Settings) -> list[str]:
    """What runs the service."""
    bentoml = [sys.executable, "-m", "services.anonymizer.launch", "serve", SERVICE]
    idle = ("--timeout-keep-alive", str(KEEP_ALIVE_S))
    return [*bentoml, "--host", settings.host, "--port", str(settings.port), *idle]


def environment(settings: Settings, home: Path) -> dict[str, str]:
    """The environment of the service: these settings and no others, and nothing that calls home.

    Args:
        home: a private folder of its own: BentoML wipes the metrics of others that share one.
    """
    chosen = {f"ANONFACES_{name.upper()}": str(value) for name, value in settings if value is not None}
    told = child_environment(
        **chosen,
        BENTOML_HOME=str(home),
        BENTOML_DO_NOT_TRACK="True",
        BENTOML_DEBUG="False",  # logs requests otherwise
        OTEL_SDK_DISABLED="true",  # BentoML's own spans; ours are sent if the settings name a collector
        # Photos run side by side. Threads of BLAS would spin after each small product: 50 ms of a processor a photo.
        OPENBLAS_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
    )
    return {name: value for name, value in told.items() if not name.startswith("ANONFACES_") or name in chosen}


def run(settings: Settings) -> int:
    """Serves until SIGTERM or Ctrl-C. Returns the exit status: 0 if it was told to stop, and did.

    Raises:
        AnonFacesError: as `check` does.
    """
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port()})
    check(settings)
    with tempfile.TemporaryDirectory(prefix="anonfaces-") as home:
        service = subprocess.Popen(
            command(settings),
            env=environment(settings, Path(home)),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches it once, through us
            preexec_fn=prepare_child,
        )
        stopping = False

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal stopping
            stopping = True
            service.terminate()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        status = service.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGKILL)  # workers whose supervisor died
    return 0 if stopping and status in (0, -signal.SIGTERM) else abs(status) or 1

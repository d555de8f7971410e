"""Triton and the service together on this machine: up, ready, down."""

import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx

from deploy.local.process import Server, wait_until
from deploy.local.triton import LocalTriton
from services import serve
from services.errors import StackError
from services.population.compatibility import check_built_with, models_for, served_models
from services.population.index import open_index
from services.processes import free_port, require_free
from services.settings import Settings


class Service:
    """The BentoML service as a child process.

    Args:
        trust: how readiness is asked for over TLS; None: the service's own certificate is trusted. With mTLS it must
            hold a client's certificate.
    """

    def __init__(
        self,
        settings: Settings,
        triton_url: str,
        work: Path,
        port: int = 0,
        grpc_port: int | None = None,
        trust: ssl.SSLContext | None = None,
    ):  # no port for gRPC: a free one, as 0 is for HTTP; 0: no gRPC, as in the settings
        self.port, self.grpc_port = port or free_port(), free_port() if grpc_port is None else grpc_port
        self.settings, self.triton_url, self.work = settings, triton_url, work
        self.home = work / f"bentoml-{self.port}"  # of its own: bentoml wipes the metrics of others that share one
        self.server: Server | None = None
        self.trust = trust or _trusting(settings.tls_certificate)

    @property
    def url(self) -> str:
        scheme = "http" if self.settings.tls_certificate is None else "https"
        return f"{scheme}://{self.settings.host}:{self.port}"

    @property
    def grpc_url(self) -> str:
        scheme = "grpc" if self.settings.tls_certificate is None else "grpcs"
        return f"{scheme}://{self.settings.host}:{self.grpc_port}"

    def start(self, timeout_s: float = 90.0) -> "Service":
        """Starts the service and waits for /readyz.

        Raises:
            ConfigurationError, IndexRefused: as `services.serve.check` does.
            StackError: the service did not come up; with the end of its log.
        """
        places = {"triton_url": self.triton_url, "port": self.port, "grpc_port": self.grpc_port}
        settings = self.settings.model_copy(update=places)
        serve.check(settings)
        command, env = serve.command(settings), serve.environment(settings, self.home)
        self.server = Server("service", command, self.work / "logs" / "service.log", env)
        try:
            wait_until(self.is_ready, self.server, timeout_s, "ready")
        except BaseException:
            self.stop()
            raise
        return self

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=30, verify=self.trust).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Stops the service. Returns its exit status."""
        if self.server is None:
            return 0
        status = self.server.stop()
        self.server = None
        shutil.rmtree(self.home, ignore_errors=True)
        return status


def _trusting(certificate: Path | None) -> ssl.SSLContext | bool:
    """TLS to a service on this machine, whatever its certificate calls it."""
    if certificate is None:
        return True
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file need not hold who signed it
    context.check_hostname = False
    return context


class LocalStack:
    """Triton and the service, started in that order and stopped in the other."""

    def __init__(
        self,
        settings: Settings,
        port: int = 0,
        extra_models: Iterable[str] = (),
        work: Path | None = None,
        grpc_port: int | None = None,
    ):
        models = models_for(open_index(settings), settings)
        self.settings, self.work = settings, work or settings.home / "run"
        served = {*served_models(settings, models), *extra_models}
        self.triton = LocalTriton(settings.model_repository, served, self.work)
        self.service = Service(settings, self.triton.url, self.work, port, grpc_port)

    @property
    def url(self) -> str:
        """Where the service listens."""
        return self.service.url

    @property
    def grpc_url(self) -> str:
        """Where it listens for gRPC."""
        return self.service.grpc_url

    def start(self) -> "LocalStack":
        """Starts both and waits until a real inference went through every model. Raises as their `start` do."""
        # before minutes are spent on the rest
        require_free(self.settings.host, self.service.port, "ANONFACES_PORT")
        require_free(self.settings.host, self.service.grpc_port, "ANONFACES_GRPC_PORT")
        check_built_with(open_index(self.settings), self.settings.model_repository)
        self.triton.start()
        try:
            self.service.start()
        except BaseException:
            self.triton.stop()
            raise
        return self

    def check_alive(self) -> None:
        """Raises StackError if either process has ended."""
        for server in (self.triton.server, self.service.server):
            if server is not None:
                server.check_alive()

    def stop(self) -> None:
        """Stops the service first: Triton ends cleanly only when its clients have gone.

        Raises:
            StackError: a process outlived its kill.
        """
        family = [*(self.service.server.descendants() if self.service.server else [])]
        family += self.triton.server.descendants() if self.triton.server else []
        self.service.stop()
        self.triton.stop()
        left = [process.pid for process in family if process.is_running() and process.status() != "zombie"]
        if left:
            raise StackError(f"processes {left} are still running")

    def __enter__(self) -> "LocalStack":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

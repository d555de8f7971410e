"""A real Triton server on this machine, from the wheel `nvidia-pytriton`, serving the committed repository."""

import contextlib
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from deploy.local.process import Server, wait_until
from services.errors import ConfigurationError, StackError
from services.processes import child_environment, free_port
from services.provenance import check_model

BACKEND = Path(__file__).with_name("backend") / "model.py"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Triton puts its regions
EXIT_TIMEOUT_S = 5


def _wheel() -> Path:
    spec = find_spec("pytriton")  # found, not imported: importing it starts things
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the local Triton server needs the extra `local` (nvidia-pytriton); Linux x86-64 only")
    return Path(next(iter(spec.submodule_search_locations)))


def _libpython_folder() -> Path:
    """Where this interpreter's shared library is, which Triton's stub is linked to.

    Raises:
        ConfigurationError: this Python was built without one.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    places = [Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), Path(sys.base_prefix) / "lib"]
    for place in (*places, *Path("/usr/lib").glob("*-linux-gnu")):
        if (place / name).is_file():
            return place
    raise ConfigurationError(
        f"Triton's stub needs {name}, which this Python ({sys.base_prefix}) does not have; install it "
        f"(Debian: {name.split('.so')[0]}) or use a Python built with --enable-shared"
    )


def build_backends(folder: Path) -> Path:
    """Lays out Triton's backend directory: the python backend of the wheel, and `onnxruntime` made of it.

    Files are copied, since Triton refuses links out of the directory.

    Raises:
        ConfigurationError: the wheel is not installed, has no stub for this Python, or numpy is 2 or later.
    """
    if int(np.__version__.split(".")[0]) >= 2:
        raise ConfigurationError(f"numpy {np.__version__}: Triton's stub would send empty tensors; install numpy 1.26")
    server = _wheel() / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise ConfigurationError(f"nvidia-pytriton has no stub for Python {version}; use 3.11 or 3.12")
    shutil.rmtree(folder, ignore_errors=True)
    python, onnx = folder / "python", folder / "onnxruntime"
    shutil.copytree(server / "backends" / "python", python)
    shutil.copy2(stub, python)
    onnx.mkdir()
    shutil.copy2(BACKEND, onnx)
    return folder


class LocalTriton:
    """A running Triton server. Use as a context manager, or call `start` and `stop`.

    Args:
        host: a loopback address for gRPC; its other ports are on 127.0.0.1.
        arguments: further ones of the server.
    """

    def __init__(
        self,
        repository: Path,
        models: Iterable[str],
        work: Path,
        grpc_port: int | None = None,
        host: str = "127.0.0.1",
        arguments: Sequence[str] = (),
    ):
        self.repository, self.models, self.work = repository, sorted(models), work
        self.host, self.arguments = host, arguments
        self.grpc_port, self.http_port, self.metrics_port = grpc_port or free_port(), free_port(), free_port()
        self.region = f"anonfaces_{self.http_port}_"  # prefix of its files in shared memory
        self.server: Server | None = None

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{self.host}:{self.grpc_port}"

    def start(self, timeout_s: float = 120.0) -> "LocalTriton":
        """Checks the models' files, starts the server, and waits until every model has answered one inference.

        Raises:
            ConversionError: a model is not converted, or was changed since.
            StackError: the server did not come up; with the end of its log.
        """
        for model in self.models:
            check_model(self.repository, model)
        backends = build_backends(self.work / f"backends-{self.grpc_port}")
        wheel = _wheel()
        libraries = f"{wheel.parent / 'nvidia_pytriton.libs'}:{_libpython_folder()}"
        env = child_environment(LD_LIBRARY_PATH=libraries, OMP_NUM_THREADS="1")
        command = [
            str(wheel / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self.region}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            *(f"--{kind}-address=127.0.0.1" for kind in ("http", "metrics")),
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--http-port={self.http_port}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            "--allow-gpu-metrics=false",
            "--log-verbose=0",
            *self.arguments,
        ]
        self.server = Server("triton", command, self.work / "logs" / "triton.log", env)
        try:
            wait_until(self._answers, self.server, timeout_s, "ready")
            for region in SHARED_MEMORY.glob(f"{self.region}*"):
                region.chmod(0o600)  # photos go through it, and the backend makes it readable for everybody
        except BaseException:
            self.stop()
            raise
        return self

    def _answers(self) -> bool:
        """One inference of zeros through every model: health alone stays green when a stub is dead."""
        with grpcclient.InferenceServerClient(self.url) as client:
            try:
                return client.is_server_ready() and all(_infer_zeros(client, model) for model in self.models)
            except InferenceServerException:
                return False

    def stop(self) -> int:
        """Stops the server and removes what it left in shared memory. Returns its exit status."""
        if self.server is None:
            return 0
        status = self.server.stop(grace_s=EXIT_TIMEOUT_S + 5)
        self.server = None
        for left in SHARED_MEMORY.glob(f"{self.region}*"):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()
        shutil.rmtree(self.work / f"backends-{self.grpc_port}", ignore_errors=True)
        return status

    def __enter__(self) -> "LocalTriton":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _infer_zeros(client: grpcclient.InferenceServerClient, model: str) -> bool:
    """Zeros of the shape the model is warmed up with: inputs may have free sides."""
    config = client.get_model_config(model).config
    warm = config.model_warmup[0].inputs if config.model_warmup else {}
    inputs = []
    for tensor in config.input:
        kind = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
        kind = kind.removeprefix("TYPE_")
        value = np.zeros([1, *warm.get(tensor.name, tensor).dims], triton_to_np_dtype(kind))
        inputs.append(grpcclient.InferInput(tensor.name, list(value.shape), kind))
        inputs[-1].set_data_from_numpy(value)
    answer = client.infer(model, inputs)
    for tensor in config.output:
        if answer.as_numpy(tensor.name) is None:
            raise StackError(f"{model} answered without {tensor.name}")
    return True

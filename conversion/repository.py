"""Publishes converted models into Triton's repository, each with a provenance file, and checks what is there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion import CONVERTER_VERSION
from conversion.catalogue import Catalogue
from conversion.converted import Converted
from conversion.names import require_free, require_name
from conversion.registry import Kind, Options, kind, recipe
from conversion.triton_config import CONFIG, GPU_CONFIG, config_of, gpu_config_of
from services.errors import AnonFacesError, ConversionError
from services.files import replacing_directories, sha256_of, write_durably
from services.provenance import PROVENANCE, VERSION_FOLDER, check_model
from services.text import plain


@dataclass(frozen=True)
class Published:
    """One model folder after conversion."""

    name: str
    parity: dict[str, Any]
    bytes: int


def convert(name: str, catalogue: Catalogue, repository: Path) -> list[Published]:
    """Converts every model of one row of the catalogue, checks each against its source, and only then publishes them.

    Raises:
        WeightsError: the weights are not here, or not the catalogue's.
        ConversionError: unknown row, a file that cannot be converted, or parity above its tolerance.
    """
    row = recipe(name)
    files = catalogue.verified(row.weights)
    converted = row.convert(files)
    weight = catalogue[row.weights]
    origin = {
        "weights": row.weights,
        "source": weight.source.model_dump(),
        "source_sha256": {file: want.sha256 for file, want in weight.files.items()},
        "licence": weight.licence,
        "restricted": weight.restricted,
    }
    for model in converted:
        model.parity.require(model.name)
        if not (repository / model.name / CONFIG).is_file():
            raise ConversionError(f"{repository / model.name} has no config.pbtxt; Triton would not serve the model")
    with _writing(repository), replacing_directories([repository / m.name / VERSION_FOLDER for m in converted]) as new:
        return [_write(model, origin, folder) for model, folder in zip(converted, new, strict=True)]


def convert_file(what: str, path: Path, name: str, repository: Path, options: Options) -> list[Published]:
    """Converts a user's file, checks every model against its source, and publishes all of them or none.

    Args:
        what: a kind of file, a row of the registry.
        path: the file, or the folder of a kind that has several files.
        name: what the models are called after; the services know the generator or embedder by it.
        repository: Triton's model repository; made if it is not there.

    Raises:
        ConversionError: the file is not of that kind, or damaged, or hostile; or parity above its tolerance.
        ConfigurationError: a package is missing.
    """
    row = kind(what)
    require_name(name, row.name, repository)
    files = _files(path, row)
    with _one_error(row.name, path):
        hashes = {file.name: sha256_of(file) for file in files}
        converted = row.convert(path, name, options)
        if hashes != {file.name: sha256_of(file) for file in files}:
            raise ConversionError(f"{path.name} was changed while it was read; convert it again")
    origin = {
        "weights": None,
        "group": name,
        "source": {"kind": row.name, "files": list(hashes)},
        "source_sha256": hashes,
        "licence": "not known here: the terms of the file hold",
        "restricted": True,
    }
    for model in converted:
        model.parity.require(model.name)
        require_free(model, row.name, name, repository)
    return publish(converted, origin, repository)


def _files(path: Path, row: Kind) -> list[Path]:
    """The file, or those of the folder of a kind that has several. Refuses what would be waited for, for ever."""
    try:
        if path.is_file():
            return [path]
        if row.folder and path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file())
        there = path.exists()
    except OSError as unreadable:
        raise ConversionError(f"{path.name[:80]} cannot be read: {unreadable.strerror}") from unreadable
    wanted = "a folder, or one file" if row.folder else "a file"
    raise ConversionError(f"{path} is not {wanted}" if there else f"{path} does not exist")


def publish(converted: list[Converted], origin: dict[str, Any], repository: Path) -> list[Published]:
    """Writes whole model folders, configurations included; all become visible once all are on disk, or none.

    Raises:
        ConversionError: the repository cannot be written to, or the disk is full.
    """
    published = []
    with _writing(repository), replacing_directories([repository / model.name for model in converted]) as folders:
        for folder, model in zip(folders, converted, strict=True):
            write_durably(folder / CONFIG, config_of(model.name, model.model).encode())
            (folder / GPU_CONFIG).parent.mkdir()
            write_durably(folder / GPU_CONFIG, gpu_config_of((folder / CONFIG).read_text()).encode())
            (folder / VERSION_FOLDER).mkdir()
            published.append(_write(model, origin, folder / VERSION_FOLDER))
    return published


@contextmanager
def _writing(repository: Path) -> Iterator[None]:
    """A full disk, or a folder that is not ours to write to, as one error."""
    try:
        yield
    except OSError as refused:
        raise ConversionError(f"cannot write to {repository}: {refused.strerror}; nothing was published") from refused


@contextmanager
def _one_error(what: str, path: Path) -> Iterator[None]:
    """A damaged file fails in many ways, in many libraries; the user gets one."""
    try:
        yield
    except AnonFacesError:
        raise
    except MemoryError:
        raise ConversionError(f"{plain(path.name)} does not fit in memory as {what}; nothing was published") from None
    except Exception as broken:
        reason = plain(" ".join(str(broken).split())[:300])
        raise ConversionError(
            f"{plain(path.name)} is not converted as {what}: {type(broken).__name__}: {reason}; nothing was published"
        ) from broken


def _write(model: Converted, origin: dict[str, Any], folder: Path) -> Published:
    """model.onnx and provenance.json of one version folder."""
    data = model.model.SerializeToString()
    serves = {type(model.serves).__name__.lower(): model.serves.model_dump()} if model.serves else None
    provenance = {
        "model": model.name,
        **origin,
        "converter_version": CONVERTER_VERSION,
        "parity": model.parity.as_dict(),
        "card": model.card,
        "serves": serves,
    }
    write_durably(folder / "model.onnx", data)
    sealed = {**provenance, "model_sha256": sha256_of(folder / "model.onnx")}
    write_durably(folder / PROVENANCE, json.dumps(sealed, indent=1).encode() + b"\n")
    return Published(model.name, model.parity.as_dict(), len(data))


def is_current(name: str, catalogue: Catalogue, repository: Path) -> bool:
    """Whether every model of a row is published, whole, and made from the catalogue's weights by this converter."""
    row = recipe(name)
    want = {file: value.sha256 for file, value in catalogue[row.weights].files.items()}
    for model in row.models:
        try:
            provenance = check_model(repository, model)
        except ConversionError:
            return False
        if provenance.get("source_sha256") != want or provenance.get("converter_version") != CONVERTER_VERSION:
            return False
    return True

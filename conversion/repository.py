"""Publishes converted models into Triton's repository, each with a provenance file, and checks what is there."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion import CONVERTER_VERSION
from conversion.catalogue import Catalogue
from conversion.converted import Converted
from conversion.registry import KINDS, RECIPES, Options, kind, recipe
from conversion.triton_config import CONFIG, GPU_CONFIG, config_of, gpu_config_of
from services.anonymizer.models import EMBEDDERS, GENERATORS, INVERTERS
from services.errors import AnonFacesError, ConversionError
from services.files import replacing_directory, sha256_of, write_durably
from services.provenance import PROVENANCE, VERSION_FOLDER, check_model

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
    published = []
    for model in converted:
        with replacing_directory(repository / model.name / VERSION_FOLDER) as folder:
            published.append(_write(model, origin, folder))
    return published


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
    require_name(name, repository)
    if not path.exists():
        raise ConversionError(f"{path} does not exist")
    with _one_error(row.name, path):
        converted = row.convert(path, name, options)
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    origin = {
        "weights": None,
        "source": {"kind": row.name, "files": [file.name for file in files]},
        "source_sha256": {file.name: sha256_of(file) for file in files},
        "licence": "not known here: the terms of the file hold",
        "restricted": True,
    }
    for model in converted:
        model.parity.require(model.name)
        _require_ours(repository / model.name)
    return publish(converted, origin, repository)


def publish(converted: list[Converted], origin: dict[str, Any], repository: Path) -> list[Published]:
    """Writes whole model folders, configurations included; all become visible once all are on disk."""
    with ExitStack() as folders:
        published = []
        for model in converted:
            folder = folders.enter_context(replacing_directory(repository / model.name))
            write_durably(folder / CONFIG, config_of(model.name, model.model).encode())
            (folder / GPU_CONFIG).parent.mkdir()
            write_durably(folder / GPU_CONFIG, gpu_config_of((folder / CONFIG).read_text()).encode())
            (folder / VERSION_FOLDER).mkdir()
            published.append(_write(model, origin, folder / VERSION_FOLDER))
    return published


@contextmanager
def _one_error(what: str, path: Path) -> Iterator[None]:
    """A damaged file fails in many ways, in many libraries; the user gets one."""
    try:
        yield
    except AnonFacesError:
        raise
    except MemoryError:
        raise ConversionError(f"{path.name} does not fit in memory as {what}; nothing was published") from None
    except Exception as broken:
        reason = " ".join(str(broken).split())[:300]
        raise ConversionError(
            f"{path.name} cannot be converted as {what}: {type(broken).__name__}: {reason}; nothing was published"
        ) from broken


def require_name(name: str, repository: Path) -> None:
    """Refuses a name for new models before anything is read: unfit, of a shipped model, or of somebody else's folder.

    Raises:
        ConversionError: says what is wrong with it.
    """
    if not NAME.fullmatch(name):
        raise ConversionError(f"{name!r} is no name for a model; letters, digits, dots and dashes, at most 64")
    _require_ours(repository / name)


def _shipped() -> set[str]:
    return {model for row in RECIPES.values() for model in row.models} | {*GENERATORS, *EMBEDDERS, *INVERTERS}


def _require_ours(folder: Path) -> None:
    """Refuses to put a user's model where a shipped one, or a folder of somebody else, is."""
    if folder.name in _shipped():
        raise ConversionError(f"{folder.name} is the name of a model that ships; choose another with --name")
    if folder.exists():
        try:
            made_from = json.loads((folder / VERSION_FOLDER / PROVENANCE).read_text())["source"]["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            made_from = None
        if made_from not in KINDS:
            raise ConversionError(f"{folder} is there already and no conversion made it; choose another with --name")


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

"""Publishes converted models into Triton's repository, each with a provenance file, and checks what is there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion import CONVERTER_VERSION
from conversion.catalogue import Catalogue
from conversion.registry import Converted, Recipe, recipe
from services.errors import ConversionError
from services.files import replacing_directory, sha256_of, write_durably
from services.provenance import PROVENANCE, VERSION_FOLDER, check_model


@dataclass(frozen=True)
class Published:
    """One model folder after conversion."""

    name: str
    parity: dict[str, Any]
    bytes: int


def convert(name: str, catalogue: Catalogue, repository: Path) -> list[Published]:
    """Converts every model of one row, checks each against its source, and only then publishes them.

    Raises:
        WeightsError: the weights are not here, or not the catalogue's.
        ConversionError: unknown row, a file that cannot be converted, or parity above its tolerance.
    """
    row = recipe(name)
    files = catalogue.verified(row.weights)
    converted = row.convert(files)
    for model in converted:
        model.parity.require(model.name)
        if not (repository / model.name / "config.pbtxt").is_file():
            raise ConversionError(f"{repository / model.name} has no config.pbtxt; Triton would not serve the model")
    return [_publish(model, row, catalogue, repository) for model in converted]


def _publish(model: Converted, row: Recipe, catalogue: Catalogue, repository: Path) -> Published:
    data = model.model.SerializeToString()
    weight = catalogue[row.weights]
    provenance = {
        "model": model.name,
        "weights": row.weights,
        "source": weight.source.model_dump(),
        "source_sha256": {file: want.sha256 for file, want in weight.files.items()},
        "licence": weight.licence,
        "restricted": weight.restricted,
        "converter_version": CONVERTER_VERSION,
        "parity": model.parity.as_dict(),
        "card": model.card,
    }
    with replacing_directory(repository / model.name / VERSION_FOLDER) as folder:
        write_durably(folder / "model.onnx", data)
        write_durably(folder / PROVENANCE, _sealed(provenance, folder / "model.onnx"))
    return Published(model.name, model.parity.as_dict(), len(data))


def _sealed(provenance: dict[str, Any], model: Path) -> bytes:
    return json.dumps({**provenance, "model_sha256": sha256_of(model)}, indent=1).encode() + b"\n"


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

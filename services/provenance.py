"""What a model folder says of itself, and whether its file is still the one that was published."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.errors import ConversionError
from services.files import sha256_of

PROVENANCE = "provenance.json"
VERSION_FOLDER = "1"


def check_model(repository: Path, name: str) -> dict[str, Any]:
    """Reads a model's provenance and hashes its file.

    Returns:
        The provenance: weights, source_sha256, licence, parity, card, model_sha256.

    Raises:
        ConversionError: not converted yet, or the file is not the one that was published.
    """
    folder = repository / name / VERSION_FOLDER
    try:
        provenance: dict[str, Any] = json.loads((folder / PROVENANCE).read_text())
        found = sha256_of(folder / "model.onnx")
        if not isinstance(provenance, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as missing:
        raise ConversionError(
            f"model {name} is not in {repository} (or not whole); run `anonfaces models convert`"
        ) from missing
    if found != provenance.get("model_sha256"):
        raise ConversionError(
            f"{folder / 'model.onnx'} has SHA-256 {found}, its provenance says {provenance.get('model_sha256')}; "
            "convert it again with `anonfaces models convert`"
        )
    return provenance


def is_converted(repository: Path, name: str) -> bool:
    """Whether a model lies in a repository; whether it is whole, `check_model` says."""
    return (repository / name / VERSION_FOLDER / PROVENANCE).is_file()


def how_to_bring(names: Sequence[str]) -> str:
    """Says that rows of the weights catalogue are wanted, and the commands that bring them."""
    converting = " && ".join(f"anonfaces models convert {name}" for name in names)
    return (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not here; bring "
        f"{'it' if len(names) == 1 else 'them'} with `anonfaces models pull {' '.join(names)} && {converting}`"
    )


def weights_of(model: str, repository: Path) -> str:
    """One hash over the files that a model was converted from; another conversion of the same weights has the same."""
    sources = sorted(check_model(repository, model)["source_sha256"].items())
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()

"""What models of a repository may be called: no name of a model that ships, none that is something else already."""

import json
import os
import re
from pathlib import Path
from typing import Any

from conversion.converted import Converted
from conversion.registry import RECIPES
from services.anonymizer.models import EMBEDDERS, ESTIMATORS, GENERATORS, INVERTERS
from services.errors import ConversionError
from services.provenance import PROVENANCE, VERSION_FOLDER

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHIPPED = {model for row in RECIPES.values() for model in row.models} | {
    *GENERATORS,
    *EMBEDDERS,
    *INVERTERS,
    *ESTIMATORS,
}


def require_name(name: str, kind: str, repository: Path) -> None:
    """Refuses a name for new models of a kind before anything is read.

    Raises:
        ConversionError: says what is wrong with it, or that the repository cannot be written to.
    """
    if not NAME.fullmatch(name):
        raise ConversionError(f"{name!r} is no name for a model; letters, digits, dots and dashes, at most 64")
    _require_own_folder(repository / name, kind, name)
    existing = next(folder for folder in (repository, *repository.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConversionError(f"cannot write to {repository}; name another folder with --repository")


def require_free(model: Converted, kind: str, group: str, repository: Path) -> None:
    """Refuses a model whose folder, or whose name as a generator or embedder, belongs to another conversion.

    Args:
        kind, group: the kind of file that is converted, and what its models are called after.

    Raises:
        ConversionError: it does; names the folder.
    """
    _require_own_folder(repository / model.name, kind, group)
    if model.serves is None:
        return
    what = type(model.serves).__name__.lower()
    for path in repository.glob(f"[!.]*/{VERSION_FOLDER}/{PROVENANCE}"):
        told = _provenance(path.parent.parent)
        name = ((told.get("serves") or {}).get(what) or {}).get("name")
        if name == model.serves.name and _made_as(told) != (kind, group):
            raise ConversionError(f"{path.parent.parent} is the {what} {name} already; choose another with --name")


def _require_own_folder(folder: Path, kind: str, group: str) -> None:
    if folder.name in SHIPPED:
        raise ConversionError(f"{folder.name} is the name of a model that ships; choose another with --name")
    if folder.is_symlink() or (folder.exists() and _made_as(_provenance(folder)) != (kind, group)):
        raise ConversionError(f"{folder} is there already and is something else; choose another with --name")


def _made_as(provenance: dict[str, Any]) -> tuple[str | None, str | None]:
    """(kind, what the models are called after)."""
    return provenance.get("source", {}).get("kind"), provenance.get("group")


def _provenance(folder: Path) -> dict[str, Any]:
    """What a model folder says of itself; empty if it says nothing that can be read."""
    try:
        told = json.loads((folder / VERSION_FOLDER / PROVENANCE).read_text())
        return told if isinstance(told, dict) and isinstance(told.get("source"), dict) else {}
    except (OSError, ValueError):
        return {}

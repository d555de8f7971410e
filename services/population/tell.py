"""What came of a command, for other programs: JSON on the standard output, or in a file."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from services.errors import ConfigurationError


def tell(told: dict[str, Any], target: Path) -> None:
    """Writes JSON to a file, whole or not at all; prints it if the file is called `-`.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if str(target) == "-":
        typer.echo(json.dumps(told))
        return
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.write_text(json.dumps(told, indent=1) + "\n")
        partial.replace(target)
    except OSError as refused:
        with suppress(OSError):
            partial.unlink()
        raise ConfigurationError(f"{target} cannot be written: {refused.strerror or refused}") from refused

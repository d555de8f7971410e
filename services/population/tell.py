"""What came of a command, for other programs: JSON on the standard output, or in a file."""

import json
from pathlib import Path
from typing import Any

import typer


def tell(told: dict[str, Any], target: Path) -> None:
    """Writes JSON to a file, whole or not at all; prints it if the file is called `-`."""
    if str(target) == "-":
        typer.echo(json.dumps(told))
        return
    partial = target.with_name(f".{target.name}.part")
    partial.write_text(json.dumps(told, indent=1) + "\n")
    partial.replace(target)

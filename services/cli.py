"""The `anonfaces` command. Each group of commands lives beside the code it drives."""

import sys
from importlib import import_module

import typer
from rich.console import Console
from rich.markup import escape

from services.check_cli import check
from services.client_cli import anonymize
from services.errors import AnonFacesError
from services.keys_cli import app as keys
from services.serve_cli import serve

COMMANDS = typer.Typer(
    help="Replaces the faces in photos by synthetic faces that each stand for at least k people.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold photos and embeddings
)

COMMANDS.command("anonymize")(anonymize)
COMMANDS.command("check")(check)
COMMANDS.command("serve")(serve)
COMMANDS.add_typer(keys, name="keys")

# A group whose packages are not there is left out, and named in the help: a service needs no converters.
GROUPS = {
    "models": ("conversion.cli", "convert"),
    "population": ("services.population.cli", "population,local"),
    "index": ("services.population.index.cli", "population"),
    "bench": ("services.population.bench.cli", "population,local"),
    "photos": ("services.population.photos_cli", "local"),
    "local": ("deploy.local.cli", "local"),
}
for _name, (_module, _extra) in GROUPS.items():
    try:
        COMMANDS.add_typer(import_module(_module).app, name=_name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "services":
            raise
        note = f"`{_name}` needs `{_extra}` (no module {missing.name})."
        COMMANDS.info.epilog = f"{COMMANDS.info.epilog or ''} {note}".strip()


def app() -> None:
    """Runs the command line; a known error is one red line and its exit status, never a traceback."""
    try:
        COMMANDS()
    except AnonFacesError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(error.exit_status)
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f": {error.filename}" if error.filename else ""
        told = escape(f"{error.strerror or error}{where}")
        Console(stderr=True).print(f"[bold red]error:[/] {told}", soft_wrap=True, highlight=False)
        sys.exit(1)

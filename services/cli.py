"""The `anonfaces` command. Each group of commands lives beside the code it drives."""

import sys
from importlib import import_module
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from services.check_cli import check
from services.client_cli import anonymize
from services.errors import AnonFacesError, ConfigurationError
from services.keys_cli import app as keys
from services.serve_cli import serve

# Groups of commands, by their module and the extras that it needs. Each is imported when it is used: together they
# take seconds, and a service has none of the converters' packages.
GROUPS = {
    "models": ("conversion.cli", "convert"),
    "population": ("services.population.cli", "population,local"),
    "index": ("services.population.index.cli", "population"),
    "bench": ("services.population.bench.cli", "population,local"),
    "photos": ("services.population.photos_cli", "local"),
    "release": ("services.release.cli", "population,local"),
    "report": ("services.report.cli", "population,local"),
    "local": ("deploy.local.cli", "local"),
}
SET_UP = ("conversion", "deploy")  # packages of this project that its images leave out, as far as they are not theirs


class Groups(TyperGroup):
    """The command's own commands, and the groups whose packages are there."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in GROUPS:
            return super().get_command(ctx, cmd_name)
        module, extra = GROUPS[cmd_name]
        try:
            group = typer.main.get_group(import_module(module).app)
        except ModuleNotFoundError as missing:
            absent = missing.name or ""
            if absent in SET_UP:
                return _refusing(
                    cmd_name, "is not in this installation, a part of the whole; deploy/container has others"
                )
            if absent.split(".")[0] in ("services", *SET_UP):
                raise
            told = f"needs the extra `{extra}` (no module {absent}): pip install 'anonfaces[{extra}]'"
            return _refusing(cmd_name, told)
        group.name = cmd_name
        return group


def _refusing(name: str, told: str) -> TyperCommand:
    """What stands for a group whose packages are not there."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConfigurationError(f"`anonfaces {name}` {told}")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return TyperCommand(name, callback=refuse, help=escape(told), context_settings=settings, add_help_option=False)


COMMANDS = typer.Typer(
    cls=Groups,
    help="Replaces the faces in photos by synthetic faces that each stand for at least k people.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold photos and embeddings
)

COMMANDS.command("anonymize")(anonymize)
COMMANDS.command("check")(check)
COMMANDS.command("serve")(serve)
COMMANDS.add_typer(keys, name="keys")


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

"""A group of commands of which one need not be named: `anonfaces release FOLDER` is `anonfaces release make FOLDER`."""

from typing import Any

from typer.core import TyperGroup


def by_default(command: str) -> type[TyperGroup]:
    """The class of a group that runs `command` where no command is named first."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args and args[0] not in (*self.commands, "--help"):
                args = [command, *args]
            return super().parse_args(ctx, args)

    return Group

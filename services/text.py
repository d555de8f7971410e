"""Text made fit for a terminal."""

from rich.console import Console

WIDE = 150  # columns of the widest table


def plain(text: str) -> str:
    """What others wrote, on one line: what does not print, such as a line break or a terminal's command, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def figures_console(stderr: bool = False) -> Console:
    """A console for tables of figures, which are never cut short: on a narrow terminal their lines wrap."""
    console = Console(stderr=stderr)
    return console if console.width >= WIDE else Console(stderr=stderr, width=WIDE)

"""Text that others wrote, made fit for a terminal."""


def plain(text: str) -> str:
    """The text on one line: what does not print, such as a line break or a terminal's command, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

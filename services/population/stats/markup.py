"""The few elements the page is made of. Whatever others wrote is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from services.text import plain


def text(value: object) -> str:
    """A value as text of a page: one line, escaped. `k = 5` is not broken."""
    return escape(plain(str(value))).replace("k = ", "k&nbsp;=&nbsp;")


def paragraph(words: str, soft: bool = False) -> str:
    kind = ' class="soft"' if soft else ""
    return f"<p{kind}>{text(words)}</p>"


def tile(number: str, what: str) -> str:
    """One figure to remember."""
    return f'<div class="tile"><b>{text(number)}</b><span>{text(what)}</span></div>'


def figure(svg: str, seen: str, how: str) -> str:
    """A drawing below a sentence that says what is seen in it, and one that says how it is read."""
    return f"<figure><figcaption>{text(seen)}<small>{text(how)}</small></figcaption>\n{svg}\n</figure>"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], kind: Literal["short", "mixed", "words"]) -> str:
    """A table: of numbers, of numbers after a first column of words, or of words."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return _table(kind, head, body)


def bars(head: str, counts: dict[str, int], of: int) -> str:
    """Counts by name, each with its share of a whole as a bar."""
    rows = "\n".join(
        f"<tr><td>{text(name)}</td><td>{count:,}</td><td>{share(count / max(of, 1))}</td>"
        f'<td class="bar"><i style="width:{100 * count / max(of, 1):.2f}%"></i></td></tr>'
        for name, count in counts.items()
    )
    heads = f'<th scope="col">{text(head)}</th><th scope="col">count</th><th scope="col">share</th><th></th>'
    return _table("mixed", heads, rows)


def _table(kind: str, heads: str, rows: str) -> str:
    inner = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="scroll" tabindex="0"><table class="{kind}">{inner}</table></div>'


def definitions(meanings: dict[str, str]) -> str:
    items = "\n".join(f"<dt>{text(term)}</dt><dd>{text(meaning)}</dd>" for term, meaning in meanings.items())
    return f"<dl>\n{items}\n</dl>"


def share(part: float | None) -> str:
    """A share in per cent, never rounded to none or to all where it is neither."""
    if part is None:
        return "not known"
    if 0 < part < 0.001:
        return "under 0.1 %"
    if 0.999 < part < 1:
        return "over 99.9 %"
    return f"{100 * part:.1f} %" if 0 < part < 1 else f"{100 * part:.0f} %"


def number(value: float) -> str:
    """A measure, in about three digits."""
    digits = next((digits for digits, least in enumerate((100, 10, 1)) if abs(value) >= least), 3)
    return f"{value:,.{digits}f}"

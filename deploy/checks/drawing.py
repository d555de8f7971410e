"""A few shapes as SVG, calm in light and in dark: boxes with a title, chips, arrows that go straight."""

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

STYLE = """
svg { --ink: #1f2328; --dim: #656d76; --line: #8c959f; --page: #ffffff; --box: #f6f8fa; --edge: #d0d7de;
      --mark: #0969da; --tint: #ddf4ff; --keep: #fff8e5; --kept: #d4a72c; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --dim: #9198a1; --line: #768390; --page: #0d1117; --box: #161b22; --edge: #3d444d;
        --mark: #58a6ff; --tint: #12283f; --keep: #272115; --kept: #9e7a1f; } }
text { font: 12px ui-sans-serif, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.title { font-size: 15px; font-weight: 600; }
.dim, .label { fill: var(--dim); }
.label { font-size: 11px; paint-order: stroke; stroke: var(--page); stroke-width: 5px; stroke-linejoin: round; }
.page { fill: var(--page); }
.box { fill: var(--box); stroke: var(--edge); }
.volume { fill: var(--keep); stroke: var(--kept); }
.chip { fill: var(--page); stroke: var(--edge); }
.strong { fill: var(--tint); stroke: var(--mark); }
.faint { stroke-dasharray: 3 3; }
.fence { fill: none; stroke: var(--line); stroke-dasharray: 2 5; stroke-linecap: round; }
.arrow { fill: none; stroke: var(--line); stroke-width: 1.5; }
.head { fill: var(--line); }
""".strip()


class Drawing:
    """A picture of so many pixels. What is drawn later lies above."""

    def __init__(self, width: int, height: int):
        self._size = width, height
        self._shapes: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, title: str, lines: Sequence[str], name: str = "",
        kind: str = "box",
    ) -> None:  # fmt: skip
        """A titled box; `name` stands in its corner."""
        self._rect(x, y, width, height, 8, kind)
        self._text(x + 16, y + 27, title, "title")
        self._text(x + width - 16, y + 26, name, "dim", "end")
        for number, line in enumerate(lines):
            self._text(x + 16, y + 50 + 18 * number, line, "dim")

    def chip(self, x: float, y: float, width: float, text: str, kind: str = "chip") -> None:
        """A small part of a box, 28 pixels high."""
        self._rect(x, y, width, 28, 6, kind)
        self._text(x + width / 2, y + 18, text, "", "middle")

    def note(self, x: float, y: float, text: str) -> None:
        self._text(x, y, text, "dim")

    def fence(self, x: float, y: float, width: float, height: float, lines: Sequence[str]) -> None:
        """A border around what belongs together, with lines in its last corner."""
        self._rect(x, y, width, height, 14, "fence")
        for number, line in enumerate(reversed(lines)):
            self._text(x + width - 20, y + height - 16 - 16 * number, line, "label", "end")

    def arrow(
        self, start: Point, end: Point, label: str = "", *, label_at: float | None = None, small: bool = False
    ) -> None:
        """A straight line with a head. The label lies above its middle, or beside it: at `label_at`, or its middle."""
        (x0, y0), (x1, y1) = start, end
        size = 5 if small else 7
        dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        neck = x1 - dx * size, y1 - dy * size
        half = size * 0.6
        self._shapes.append(f'<path class="arrow" d="M{x0:g} {y0:g}L{neck[0]:g} {neck[1]:g}"/>')
        corners = [end, (neck[0] - dy * half, neck[1] - dx * half), (neck[0] + dy * half, neck[1] + dx * half)]
        outline = "L".join(f"{x:g} {y:g}" for x, y in corners)
        self._shapes.append(f'<path class="head" d="M{outline}Z"/>')
        if dx:
            self._text((x0 + neck[0]) / 2, y0 - 7, label, "label", "middle")
        else:
            self._text(x0 + 9, (label_at or (y0 + neck[1]) / 2) + 4, label, "label")

    def text(self) -> str:
        """The picture as SVG."""
        width, height = self._size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        )
        head += ' role="img" aria-label="The parts of AnonFACES and who speaks with whom">'
        page = f'<rect class="page" width="{width}" height="{height}"/>'
        return "\n".join([head, f"<style>\n{STYLE}\n</style>", page, *self._shapes, "</svg>"]) + "\n"

    def _rect(self, x: float, y: float, width: float, height: float, radius: float, kind: str) -> None:
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"'
        self._shapes.append(f'<rect class="{kind}" {place}/>')

    def _text(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        if text:
            self._shapes.append(
                f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
            )

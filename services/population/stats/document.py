"""Parts of a page -> one HTML file that needs nothing else: no request, no script."""

from collections.abc import Sequence

from services.population.stats.markup import text
from services.population.stats.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser would refuse any request


def document(title: str, body: Sequence[str], css: str = "", policy: str = POLICY) -> str:
    """The whole file.

    Args:
        title: as text; escaped here.
        body: elements, as HTML.
        css: further rules, after the common ones.
        policy: of what the browser may load.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{text(title)}</title>
<style>{CSS}{css}</style>
</head>
<body>
<main>
{chr(10).join(body)}
</main>
</body>
</html>
"""

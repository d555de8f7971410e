"""The runbook as a page, so that an alert leads to its entry."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from deploy.checks.tools import CHART

RUNBOOK = CHART.parents[2] / "docs" / "runbook.md"
FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runbook - AnonFACES</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
</head>
<body class="runbook">
<p><a href=".">All panels</a></p>
{body}</body>
</html>
"""


def runbook_page() -> str:
    """docs/runbook.md as HTML; each heading can be linked to as on GitHub: #anonfacesdown."""
    markdown = MarkdownIt()
    markdown.options["html"] = False
    tokens = markdown.parse(RUNBOOK.read_text())
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", re.sub(r"[^\w-]", "", tokens[number + 1].content.lower().replace(" ", "-")))
        if token.children:
            token.children = _without_files(token.children)
    return FRAME.format(body=markdown.renderer.render(tokens, markdown.options, {}))


def _without_files(tokens: Sequence[Token]) -> list[Token]:
    """Links to other files lose their target: only this page is served."""
    kept, away = [], False
    for token in tokens:
        if token.type == "link_open":
            away = not str(token.attrGet("href")).startswith("#")
        if not (away and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept

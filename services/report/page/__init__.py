"""A report -> one HTML file that needs nothing else: no request, no script. Sentences on it follow from its figures."""

from pathlib import Path

from services.release.write import write_at_once
from services.report.page.whole import page_of
from services.report.report import Report

__all__ = ["PAGE_SUFFIX", "page_of", "write_page"]

PAGE_SUFFIX = ".html"


def write_page(of: Report, target: Path, public: bool) -> None:
    """Writes the page, whole or not at all; for its owner alone unless it is public.

    Raises:
        ReleaseError: no room, or no permission.
    """
    write_at_once(target, page_of(of, public).encode(), 0o644 if public else 0o600)

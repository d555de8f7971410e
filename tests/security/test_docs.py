"""The claims of docs/security.md are shown by tests that are there."""

import re

from services.settings import ROOT


def test_every_test_that_the_document_names_is_there():
    document = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", document))
    files = [*(ROOT / "tests" / "security").glob("test_*.py"), *(ROOT / "tests" / "service").glob("test_*.py")]
    there = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in files)))
    assert len(named) > 30
    assert named <= there

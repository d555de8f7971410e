"""docs/faults.md names tests that exist, and every test of a fault."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {  # of starting, stopping and policies: no faults of a running service
    "test_request_may_be_stricter_than_the_policy_but_not_laxer",
    "test_port_that_is_taken_is_named_before_anything_starts",
    "test_stack_leaves_no_process_and_no_shared_memory",
}


def test_every_row_names_its_test_and_every_test_has_a_row():
    told = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "faults.md").read_text()))
    there: set[str] = set()
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        there |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert told - there == set()
    assert there - told - ELSEWHERE == set()

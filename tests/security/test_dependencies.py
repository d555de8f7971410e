"""What the locks promise, as far as it can be told without a network; `make audit` asks for known vulnerabilities."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

from services.settings import ROOT

LOCKS = [
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-models.lock",
    "requirements-population.lock",
    "requirements-uv.lock",
]
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z0-9,-]+\])?==([A-Za-z0-9.+!_-]+)(?: ;|$)")
# Of what a running service installs. Words that a licence must be made of, whichever way it is written.
LICENCES = re.compile(
    r"^(apache|software|license|licence|2\.0|mit|mit-0|mit-cmu|apache-2\.0|bsd|bsd-[23]-clause|bsd-3-clause-clear|isc|iscl"
    r"|3-clause|psf-2\.0|python|foundation|mozilla|public|mpl|mpl-2\.0|or|and|\s|[()|,])+$"
)


def requirements(lock: str) -> list[tuple[str, list[str]]]:
    """Each requirement of a lock, as it is written, and its hashes."""
    lines = [line.strip() for line in (ROOT / lock).read_text().replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return [(line.partition(" --hash")[0].strip(), re.findall(r"--hash=(\S+)", line)) for line in lines]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_to_hashes_and_comes_from_the_index(lock):
    found = requirements(lock)
    assert found
    for requirement, hashes in found:
        assert PINNED.match(requirement), requirement  # no URL, no path, no option, no range
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


def test_locks_agree_with_each_other():
    service, development, *images = (
        dict(PINNED.match(line).groups() for line, _ in requirements(lock)) for lock in LOCKS[:4]
    )
    for image in images:
        assert service.items() <= image.items() <= development.items()


def test_licences_of_what_the_service_installs_are_permissive_or_of_files():
    told = {}
    for requirement, _ in requirements("requirements.lock"):
        name = PINNED.match(requirement)[1]
        try:
            about = metadata(name)
        except PackageNotFoundError:  # of another Python than this
            continue
        classified = [
            c.rpartition("::")[2].strip() for c in about.get_all("Classifier") or () if c.startswith("License")
        ]
        told[name] = about["License-Expression"] or " | ".join(classified) or (about["License"] or "").strip()
    assert len(told) > 50
    assert {name: licence for name, licence in told.items() if not LICENCES.match(licence.lower())} == {}


def test_nothing_committed_names_an_index_of_packages():
    """Where packages come from is the business of who installs them."""
    for file in (*LOCKS, "pyproject.toml", "Makefile"):
        text = Path(ROOT / file).read_text()
        assert "index-url" not in text
        assert "find-links" not in text

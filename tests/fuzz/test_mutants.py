"""A short part of the campaign of `make fuzz`, the same on every machine; and what the campaign has found before."""

import io
import zipfile

import numpy as np
import pytest

from services.population.index.crowds import ARRAYS, UNREADABLE, unpack
from tests.fuzz.campaign import run
from tests.fuzz.indexes import check_index
from tests.fuzz.mutate import mutant, put_together, take_apart
from tests.fuzz.photos import check_photo, photo
from tests.fuzz.seeds import MARKER, jpegs, pngs, scene, seeds


@pytest.mark.parametrize("kind", list(seeds()))
def test_every_seed_is_a_photo_and_is_put_together_as_it_was(kind):
    data = seeds()[kind]
    assert put_together(take_apart(data)) == data
    assert check_photo(data) == "photo"


def test_seeds_hold_the_marker_that_must_not_come_back():
    assert sum(MARKER in data for data in seeds().values()) > 15


def test_mutants_are_the_same_every_time():
    files = list((jpegs(scene()) | pngs(scene())).values())
    assert [mutant(files, n) for n in range(50)] == [mutant(files, n) for n in range(50)]


def test_mutated_photos_are_photos_or_are_refused():
    outcomes = {check_photo(photo(number)) for number in range(800)}
    assert outcomes == {"photo", "bad_photo", "unsupported_media_type", "photo_too_large"}


def test_mutated_indexes_keep_the_guarantee_or_are_refused():
    outcomes = {check_index(number) for number in range(300)}
    assert {"index_refused", "configuration", "forged"} <= outcomes


def test_campaign_sees_what_ends_a_process_and_goes_on(monkeypatch, tmp_path):
    """Limits that a process cannot live within end it; the campaign tells, and does not hang."""
    seen = run("photos", 4, block=2, processes=1)
    assert (sum(seen.outcomes.values()), seen.findings) == (4, [])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif '--work' in sys.argv: os.abort()\n")
    seen = run("photos", 2, block=2, processes=1)
    assert len(seen.findings) == 2
    assert all("SIGABRT" in finding for finding in seen.findings)


# --- found by the campaign --------------------------------------------------------------------------------------
@pytest.mark.parametrize("header", ["{'descr': '<f4',(", "{'descr': '<f4', 'shape': (3,), } \x97", "{\0}"])
def test_array_whose_header_is_no_python_is_refused(header):
    """numpy then reads it token by token, and lets that reader's own error out."""
    text = header.ljust(118).encode("latin-1")
    body = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    sink = io.BytesIO()
    np.savez(sink, **{name: np.zeros(1) for name in ARRAYS})
    with zipfile.ZipFile(sink) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in members:
            archive.writestr(name, body)
    with pytest.raises(UNREADABLE):
        unpack(sink.getvalue(), ARRAYS)

"""A release that is stopped, gone on with, or started beside something else: nothing is lost, nothing is half there."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.errors import PopulationBusy, ReleaseError
from services.release.journal import Journal
from services.release.terms import holding
from tests.release.conftest import COUNTED, NAMES, STRANGER, below, lines_of, private_of, rows_of, run, told

COMMAND = [sys.executable, "-c", "from services.cli import app; app()", "release"]
NOWHERE = ("--triton", "127.0.0.1:1", "--patience", "0")  # whatever needs a model fails


def test_whole_release_has_nothing_left_to_do_and_needs_no_model(again, photos):
    before = below(again / "photos")
    done = run(photos, "--out", again, *NOWHERE, *COUNTED)
    assert done.exit_code == 0, done.output
    assert "this run did 0, kept 3" in done.output
    assert below(again / "photos") == before
    assert len(lines_of(again, "photo")) == 3


def test_touched_photo_is_kept_and_a_changed_one_is_made_again(again, photos, release, portraits):
    person, other = sorted(NAMES - {STRANGER})
    os.utime(photos / person)
    shutil.copy(photos / other, photos / STRANGER.replace("B\n.PNG", "new.jpg"))
    (photos / STRANGER).write_bytes((photos / person).read_bytes())
    done = release(photos)
    assert done.exit_code == 0, done.output
    assert "this run did 2, kept 2" in done.output
    assert rows_of(again)[STRANGER]["crowds"] == rows_of(again)[person]["crowds"]
    assert told(again)["proof"]["photos"] == 4


def test_photo_that_is_gone_or_unusable_now_leaves_the_release(again, photos):
    person, other = sorted(NAMES - {STRANGER})
    (photos / person).unlink()
    (photos / other).unlink()
    os.mkfifo(photos / other)
    done = run(photos, "--out", again, *NOWHERE, *COUNTED)
    assert done.exit_code == 0, done.output
    assert set(below(again / "photos")) == {STRANGER}
    assert rows_of(again)[other]["refused"] == "not_a_file"
    assert person not in rows_of(again)


def test_missing_and_damaged_outputs_are_made_again(again, photos, release):
    person, other = sorted(NAMES - {STRANGER})
    good = below(again / "photos")
    (again / "photos" / person).unlink()
    (again / "photos" / other).write_bytes(b"cut")
    assert release(photos).exit_code == 0
    assert below(again / "photos") == good


def test_output_of_the_same_size_that_is_another_is_found_by_the_proof_and_made_again(again, photos, release, stack):
    victim = again / "photos" / STRANGER
    good = victim.read_bytes()
    victim.write_bytes(bytes(len(good)))
    proofs = private_of(again) / "journal.jsonl"
    proofs.write_text("".join(line + "\n" for line in proofs.read_text().splitlines() if '"photo"' in line))
    done = release(photos)
    assert isinstance(done.exception, ReleaseError)
    assert f"unproved {STRANGER!r}".replace("'", "") in done.output
    assert release(photos).exit_code == 0
    assert victim.read_bytes() == good


def test_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_refused(again, photos):
    journal = private_of(again) / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"photo":{"path":"hal')
    assert run(photos, "--out", again, *NOWHERE, *COUNTED).exit_code == 0
    assert journal.read_bytes() == whole
    journal.write_bytes(b"{}\n" + whole)
    assert "line 1 is damaged" in str(run(photos, "--out", again, *NOWHERE).exception)


def test_second_run_at_the_same_time_is_refused(again, photos):
    with holding(private_of(again)):
        assert isinstance(run(photos, "--out", again, *NOWHERE).exception, PopulationBusy)


def test_folder_of_something_else_is_left_as_it_is(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    assert "is not empty" in str(run(photos, "--out", out, *NOWHERE).exception)
    assert set(below(out)) == {"mine.txt"}


def test_output_of_another_release_is_refused(again, photos, tmp_path):
    """Its own private folder is elsewhere: without it nobody knows what these files are."""
    done = run(photos, "--out", again, "--private", tmp_path / "other", *NOWHERE)
    assert "is not empty" in str(done.exception)


@pytest.mark.parametrize(
    ("out", "private"),
    [("photos/out", None), ("photos", None), (".", None), ("out", "photos/p"), ("out", "out/p")],
)
def test_outputs_lie_apart_from_the_originals(photos, tmp_path, out, private):
    before = below(photos)
    told = ("--private", tmp_path / private) if private else ()
    done = run(photos, "--out", tmp_path / out, *told, *NOWHERE)
    assert "keep the three apart" in str(done.exception)
    assert below(photos) == before
    assert not (tmp_path / "out").exists()


def test_other_index_version_is_refused_and_named(again, photos, index):
    terms = private_of(again) / "release.json"
    terms.write_text(terms.read_text().replace(index.version, "0009-aaaaaaaaaaaa"))
    done = run(photos, "--out", again, *NOWHERE)
    assert isinstance(done.exception, ReleaseError)
    assert "--index-version 0009-aaaaaaaaaaaa" in str(done.exception)


def test_other_options_than_it_began_with_are_refused(again, photos):
    assert "quality None, not 50" in str(run(photos, "--out", again, "--quality", 50, *NOWHERE).exception)


def test_folder_without_photos_empties_no_release(again, photos):
    """It may not be mounted."""
    shutil.rmtree(photos)
    photos.mkdir()
    assert "no photos in" in str(run(photos, "--out", again, *NOWHERE).exception)
    assert set(below(again / "photos")) == NAMES


def test_full_disk_ends_the_run_with_no_part_of_a_photo_and_it_goes_on(photos, release, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, limit[1]))  # a photo is larger, a line of the journal is not
    try:
        done = release(photos, "--no-verify")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "is full; make room" in str(done.exception)
    assert all(len(data) < 12_000 for data in below(tmp_path / "out").values())
    assert not any(".part" in name for name in below(tmp_path / "out"))
    assert release(photos, "--no-verify").exit_code == 0
    assert {row["path"] for row in rows_of(tmp_path / "out").values() if row["sha256"]} == NAMES


def test_journal_that_the_disk_has_no_room_for_keeps_no_half_line(again):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (private_of(again) / "journal.jsonl").read_bytes()
    with Journal(private_of(again)) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limit[1]))
        try:
            journal.forget("a photo that is called more than forty bytes long.jpg")
            with pytest.raises(ReleaseError, match="is full"):
                journal.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert (private_of(again) / "journal.jsonl").read_bytes() == before
        journal.forget("another")
    assert (private_of(again) / "journal.jsonl").read_bytes() == before + b'{"gone":"another"}\n'


def test_killed_run_goes_on_and_gives_the_same_photos(whole, photos, stack, tmp_path):
    out = tmp_path / "out"
    command = [*COMMAND, str(photos), "--out", str(out), "--triton", stack.triton.url, "--concurrency", "1", *COUNTED]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list(out.rglob("*.jpg")):
            assert process.poll() is None, "the command was done before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    (out / "photos" / ".anonfaces-0123456789abcdef.part").write_bytes(b"half")
    assert not (out / "manifest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert below(out / "photos") == below(whole[0] / "photos")
    assert json.loads((out / "manifest.json").read_text())["proof"]["photos"] == 3


def test_paths_of_a_release_are_absolute_wherever_it_is_run_from(again, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert run(Path("photos"), "--out", Path("out"), *NOWHERE, *COUNTED).exit_code == 0

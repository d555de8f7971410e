"""A folder or a file is there whole, or as it was before."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from services.files import replacing_directory, sha256_of, write_durably


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones as well."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_half(folder: Path) -> None:
    (folder / "a").write_text("new")
    raise RuntimeError("half-way")


@pytest.fixture
def target(tmp_path) -> Path:
    """A folder with an earlier version in it."""
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "a").write_text("old")
    (tmp_path / "index" / "only-old").write_text("old")
    return tmp_path / "index"


def test_new_folder_appears_with_its_content(tmp_path):
    with replacing_directory(tmp_path / "deep" / "index") as scratch:
        (scratch / "a").write_text("new")
    assert content(tmp_path) == {"deep/index/a": "new"}


def test_replaced_folder_holds_only_the_new_content(target):
    with replacing_directory(target) as scratch:
        (scratch / "a").write_text("new")
    assert content(target.parent) == {"index/a": "new"}


def test_earlier_content_is_there_until_the_block_ends(target):
    with replacing_directory(target) as scratch:
        (scratch / "a").write_text("new")
        assert (target / "a").read_text() == "old"


def test_failure_within_the_block_keeps_the_earlier_content(target):
    before = content(target.parent)
    with pytest.raises(RuntimeError, match="half-way"), replacing_directory(target) as scratch:
        write_half(scratch)
    assert content(target.parent) == before
    assert [path.name for path in target.parent.iterdir()] == ["index"]


def test_failure_within_the_block_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(RuntimeError, match="half-way"), replacing_directory(tmp_path / "index"):
        raise RuntimeError("half-way")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_failure_of_any_rename_keeps_the_earlier_content(target, monkeypatch, failing):
    """Old content is moved away, new content moved in: whichever step fails, the folder must be the old one."""
    rename, calls = Path.rename, []

    def failing_rename(self: Path, to: Path) -> Path:
        calls.append(self)
        if len(calls) == failing:
            raise OSError(errno.EIO, "input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(OSError, match="input/output"), replacing_directory(target) as scratch:
        (scratch / "a").write_text("new")
    assert content(target.parent) == {"index/a": "old", "index/only-old": "old"}


def test_replaced_folder_can_be_read_by_others(target):
    with replacing_directory(target):
        pass
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_file_is_written_with_its_bytes(tmp_path):
    write_durably(tmp_path / "a", b"\0\xff\n")
    assert (tmp_path / "a").read_bytes() == b"\0\xff\n"


def test_file_is_private_from_its_first_byte_on(tmp_path, monkeypatch):
    """The mode holds when data reaches the disk, not only after a later chmod."""
    modes = []
    monkeypatch.setattr("services.files.os.fsync", lambda handle: modes.append(stat.S_IMODE(os.fstat(handle).st_mode)))
    write_durably(tmp_path / "a", b"secret", mode=0o600)
    assert modes == [0o600]


def test_existing_file_is_not_overwritten(tmp_path):
    write_durably(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_sha256_is_that_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()

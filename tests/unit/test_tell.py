"""What came of a command is written whole, or not at all and with the reason."""

import errno
import json
from pathlib import Path

import pytest

from services.errors import ConfigurationError
from services.population.tell import tell


def test_file_takes_the_place_of_what_was_there(tmp_path):
    target = tmp_path / "told.json"
    target.write_text("before")
    tell({"k": 10}, target)
    assert json.loads(target.read_text()) == {"k": 10}
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


def test_full_disk_keeps_what_was_there_and_leaves_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "told.json"
    target.write_text("before")

    def full(self: Path, text: str) -> int:
        with self.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(ConfigurationError, match=r"told\.json cannot be written: No space left"):
            tell({"k": 10}, target)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]

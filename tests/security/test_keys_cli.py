"""`anonfaces keys`: a key is printed once, and the file holds its hash, for its owner only."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.api_keys import PREFIX, digest, read_keys
from services.cli import COMMANDS
from services.errors import ConfigurationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(path: Path, *words: str) -> Result:
    return CliRunner().invoke(COMMANDS, ["keys", *words, "--file", str(path)])


def test_key_is_printed_once_and_kept_as_a_hash_for_its_owner_only(path):
    made = keys(path, "add", "app", "--scope", "anonymize", "--rate", "5", "--burst", "10", "--days", "30")
    token = made.stdout.strip()
    assert token.startswith(PREFIX)
    assert token not in path.read_text()
    (key,) = read_keys(path).keys
    assert (key.name, key.sha256, key.scopes, key.rate, key.burst) == ("app", digest(token), ("anonymize",), 5.0, 10)
    assert timedelta(days=29) < key.expires - datetime.now(UTC) <= timedelta(days=30)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [left for left in path.parent.iterdir() if left.name not in (path.name, f".{path.name}.lock")]


def test_list_shows_names_and_no_key_or_whole_hash(path):
    token = keys(path, "add", "app", "--scope", "anonymize").stdout.strip()
    shown = keys(path, "list").stdout
    assert "app" in shown
    assert token not in shown
    assert digest(token) not in shown


def test_rotated_key_leaves_the_old_one_for_a_while(path):
    old = keys(path, "add", "app", "--scope", "anonymize", "--rate", "5").stdout.strip()
    other = keys(path, "add", "other", "--scope", "inspect").stdout.strip()
    new = keys(path, "rotate", "app", "--hours", "1").stdout.strip()
    known = read_keys(path)
    assert known.find(old).expires - datetime.now(UTC) <= timedelta(hours=1)
    assert not known.find(old).is_expired()
    assert known.find(new).expires is None
    assert known.find(new).rate == 5.0
    assert known.find(other).expires is None


def test_key_rotated_at_once_is_gone(path):
    old = keys(path, "add", "app", "--scope", "anonymize").stdout.strip()
    new = keys(path, "rotate", "app", "--hours", "0").stdout.strip()
    assert read_keys(path).find(old) is None
    assert read_keys(path).find(new) is not None


def test_removed_key_is_gone_and_the_others_stay(path):
    gone = keys(path, "add", "app", "--scope", "anonymize").stdout.strip()
    stays = keys(path, "add", "other", "--scope", "inspect").stdout.strip()
    assert keys(path, "remove", "app").exit_code == 0
    assert read_keys(path).find(gone) is None
    assert read_keys(path).find(stays) is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "app", "--scope", "anonymize"), "already"),
        (("add", "a b", "--scope", "anonymize"), "name"),
        (("add", "b", "--scope", "anonymize", "--rate", "0"), "rate"),
        (("rotate", "nobody"), "no key"),
        (("remove", "nobody"), "no key"),
    ],
)
def test_what_makes_no_sense_changes_nothing(path, words, says):
    keys(path, "add", "app", "--scope", "anonymize")
    before = path.read_bytes()
    refused = keys(path, *words)
    assert isinstance(refused.exception, ConfigurationError)
    assert says in str(refused.exception)
    assert not refused.stdout
    assert path.read_bytes() == before


def test_file_must_be_named(monkeypatch):
    monkeypatch.delenv("ANONFACES_API_KEYS", raising=False)
    refused = CliRunner().invoke(COMMANDS, ["keys", "list"])
    assert "ANONFACES_API_KEYS" in str(refused.exception)

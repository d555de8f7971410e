"""API keys: who is let in, to what, how often; and that a file of keys changes while it is used."""

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.anonymizer.api import access as module
from services.anonymizer.api.access import Access, Bucket, is_loopback, token_of
from services.anonymizer.options import Options
from services.api_keys import PREFIX, ApiKey, KeyFile, digest, new_token, read_keys, write_keys
from services.errors import ConfigurationError, Forbidden, RateLimited, Unauthenticated
from services.settings import Settings

NAMED = Options(identity=("alice",))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., str]:
    """Adds a key to the file and returns it."""
    path = tmp_path / "keys.json"
    write_keys(path, KeyFile())

    def make(name: str, *scopes: str, **fields: object) -> str:
        token = new_token()
        key = ApiKey.model_validate({"name": name, "sha256": digest(token), "scopes": scopes, **fields})
        write_keys(path, KeyFile(keys=(*read_keys(path).keys, key)))
        return token

    return make


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(api_keys=tmp_path / "keys.json")


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.0)


def test_known_key_is_let_in_and_others_are_not(make, settings):
    token = make("app", "anonymize")
    access = Access(settings)
    access.admit(token, "anonymize")
    for wrong in (None, "", "x", token[:-1], token + "x", digest(token), new_token()):
        with pytest.raises(Unauthenticated):
            access.admit(wrong, "anonymize")


@pytest.mark.parametrize("endpoint", ["anonymize", "anonymize_batch", "anonymize_stream", "surrogate", "index"])
def test_scope_anonymize_is_for_photos_surrogates_and_the_index(make, settings, endpoint):
    token, other = make("app", "anonymize"), make("other", "inspect", "metrics")
    access = Access(settings)
    access.admit(token, endpoint)
    with pytest.raises(Forbidden, match="anonymize"):
        access.admit(other, endpoint)


@pytest.mark.parametrize("endpoint", ["inspect", "metrics"])
def test_inspect_and_metrics_need_scopes_of_their_own(make, settings, endpoint):
    token, right = make("app", "anonymize"), make("operator", endpoint)
    access = Access(settings)
    access.admit(right, endpoint)
    with pytest.raises(Forbidden, match=endpoint):
        access.admit(token, endpoint)


def test_endpoint_without_a_scope_needs_some_key(make, settings):
    token = make("scraper", "metrics")
    access = Access(settings)
    access.admit(token, "openapi")
    with pytest.raises(Unauthenticated):
        access.admit(None, "openapi")


def test_people_are_named_by_keys_for_inspection_only(make, settings):
    token, operator = make("app", "anonymize"), make("operator", "anonymize", "inspect")
    access = Access(settings)
    access.admit(token, "anonymize")
    access.check(Options(k=5))
    with pytest.raises(Forbidden, match="inspect"):
        access.check(NAMED)
    access.admit(operator, "anonymize")
    access.check(NAMED)


async def test_callers_at_the_same_time_are_not_mixed_up(make, settings):
    token, operator = make("app", "anonymize"), make("operator", "anonymize", "inspect")
    access, together = Access(settings), asyncio.Barrier(2)

    async def request(key: str) -> bool:
        access.admit(key, "anonymize")
        await together.wait()
        try:
            await asyncio.create_task(_check(access))
        except Forbidden:
            return False
        return True

    assert await asyncio.gather(request(token), request(operator)) == [False, True]


async def _check(access: Access) -> None:
    access.check(NAMED)


def test_every_key_is_compared_in_constant_time_whichever_is_presented(make, settings, tmp_path, monkeypatch):
    tokens = [make(f"app-{number}", "anonymize") for number in range(3)]
    keys, compared = read_keys(tmp_path / "keys.json"), []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(one) or compare(one, other))
    for token in (*tokens, new_token(), ""):
        compared.clear()
        keys.find(token)
        assert compared == [key.sha256 for key in keys.keys]


def test_work_that_was_not_admitted_is_refused(make, settings):
    access = Access(settings)
    with pytest.raises(Unauthenticated):
        access.admit(None, "anonymize")
    with pytest.raises(Unauthenticated, match="not admitted"):
        access.charge()
    with pytest.raises(Unauthenticated, match="not admitted"):
        access.check(NAMED)


def test_expired_key_is_refused(make, settings):
    soon = make("app", "anonymize", expires=datetime.now(UTC) + timedelta(hours=1))
    past = make("app", "anonymize", expires=datetime.now(UTC) - timedelta(seconds=1))
    access = Access(settings)
    access.admit(soon, "anonymize")
    with pytest.raises(Unauthenticated, match="expired"):
        access.admit(past, "anonymize")


def test_key_that_asks_too_often_is_told_when_to_come_back(make, settings):
    token, other = make("app", "anonymize", rate=0.5, burst=2), make("other", "anonymize", rate=0.5)
    access = Access(settings)
    access.admit(token, "anonymize")
    access.admit(token, "anonymize")
    with pytest.raises(RateLimited) as late:
        access.admit(token, "anonymize")
    assert 1.5 < late.value.retry_after_s <= 2.0
    access.admit(other, "anonymize")


def test_bucket_fills_again_up_to_its_burst(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    bucket = Bucket(rate=2.0, burst=3)
    for _ in range(3):
        bucket.take()
    now[0] += 0.5
    bucket.take()
    with pytest.raises(RateLimited):
        bucket.take()
    now[0] += 1000
    for _ in range(3):
        bucket.take()
    with pytest.raises(RateLimited):
        bucket.take()


def test_photos_of_a_batch_count_one_by_one(make, settings):
    token = make("app", "anonymize", rate=0.001, burst=3)
    access = Access(settings)
    access.admit(token, "anonymize_batch")
    for _ in range(3):
        access.charge()
    with pytest.raises(RateLimited):
        access.charge()


def test_key_and_its_replacement_share_one_rate(make, settings):
    old, new = (make("app", "anonymize", rate=0.001, burst=1) for _ in range(2))
    access = Access(settings)
    access.admit(old, "anonymize")
    with pytest.raises(RateLimited):
        access.admit(new, "anonymize")


def test_keys_change_without_a_restart(make, settings, tmp_path):
    first = make("first", "anonymize")
    access = Access(settings)
    second = make("second", "anonymize")
    access.admit(second, "anonymize")
    write_keys(tmp_path / "keys.json", KeyFile(keys=read_keys(tmp_path / "keys.json").keys[1:]))
    with pytest.raises(Unauthenticated):
        access.admit(first, "anonymize")


@pytest.mark.parametrize("broken", ["not json", "gone", "writable", "unknown field"])
def test_file_that_breaks_leaves_the_keys_as_they_were_and_says_so_once(make, settings, tmp_path, broken, caplog):
    token, path = make("app", "anonymize"), tmp_path / "keys.json"
    access = Access(settings)
    whole = path.read_text()
    match broken:
        case "not json":
            path.write_text("{")
        case "gone":
            path.unlink()
        case "writable":
            path.chmod(0o666)
        case "unknown field":
            path.write_text('{"keys": [], "key": "MARKER"}')
    for _ in range(3):
        access.admit(token, "anonymize")
    told = [record.getMessage() for record in caplog.records if "serve on" in record.getMessage()]
    assert len(told) == 1
    assert str(path) in told[0]
    assert "MARKER" not in told[0]
    path.unlink(missing_ok=True)
    path.write_text(whole.replace("app", "app2"))
    path.chmod(0o600)
    access.admit(token, "anonymize")
    assert access._file.keys[0].name == "app2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("", "not valid"),
        ('{"keys": [{"name": "a", "sha256": "MARKER", "scopes": ["anonymize"]}]}', "keys.0.sha256"),
        ('{"keys": [{"name": "a b", "sha256": "%s", "scopes": ["anonymize"]}]}' % ("0" * 64), "keys.0.name"),
        ('{"keys": [{"name": "a", "sha256": "%s", "scopes": []}]}' % ("0" * 64), "keys.0.scopes"),
        ('{"keys": [{"name": "a", "sha256": "%s", "scopes": ["all"]}]}' % ("0" * 64), "keys.0.scopes"),
    ],
)
def test_service_does_not_start_on_a_file_that_is_not_valid(settings, tmp_path, text, says):
    if text is not None:
        (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ConfigurationError, match=says) as refused:
        Access(settings)
    assert "MARKER" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_service_does_not_start_on_a_file_that_others_may_write(make, settings, tmp_path, mode):
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        Access(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_other_addresses_than_loopback_need_keys_or_the_operators_word(host, make, settings):
    with pytest.raises(ConfigurationError, match="ANONFACES_ALLOW_ANONYMOUS"):
        Access(Settings(host=host))
    Access(Settings(host=host, allow_anonymous=True)).admit(None, "inspect")
    Access(settings.model_copy(update={"host": host}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_keys(host):
    assert is_loopback(host)
    Access(Settings(host=host)).admit(None, "inspect")


@pytest.mark.parametrize(
    ("reached", "named", "served"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "localhost", True),
        ("::1", "[::1]:8080", True),
        ("::1", "[::1]", True),
        ("127.0.0.1", "evil.example:8080", False),  # a page whose name was pointed at this machine
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "", False),
        ("192.0.2.7", "localhost", False),  # bound elsewhere than the settings say
    ],
)
def test_without_keys_only_this_machine_by_its_own_name_is_served(reached, named, served):
    access = Access(Settings())
    if served:
        access.check_place(reached, named)
        return
    with pytest.raises(Forbidden):
        access.check_place(reached, named)
    Access(Settings(allow_anonymous=True)).check_place(reached, named)


def test_place_does_not_matter_where_there_are_keys(make, settings):
    make("app", "anonymize")
    Access(settings).check_place("192.0.2.7", "evil.example")


def test_open_metrics_need_no_key_and_open_nothing_else(make, settings):
    access = Access(settings.model_copy(update={"open_metrics": True}))
    access.admit(None, "metrics")
    with pytest.raises(Unauthenticated):
        access.admit(None, "index")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"x-api-key": "abc"}, "abc"),
        ({"authorization": "Bearer abc", "x-api-key": "other"}, "abc"),
        ({"authorization": "Basic abc"}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "abc"}, None),
        ({}, None),
    ],
)
def test_token_is_found_in_either_header(headers, token):
    assert token_of(headers) == token


def test_keys_are_random_long_and_told_by_their_prefix():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in tokens)

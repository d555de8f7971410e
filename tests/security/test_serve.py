"""`anonfaces serve`: refuses in one line what it cannot start with, and stops as it was told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from services import serve
from services.errors import AnonFacesError
from services.processes import free_port
from services.settings import Settings
from tests.security.certificates import Authority

COMMAND = [sys.executable, "-c", "from services.cli import app; app()", "serve"]
DIRECTLY = [sys.executable, "-c", "from services.serve_cli import serve; serve()"]  # without loading other commands


def environment(settings: Settings, **more: object) -> dict[str, str]:
    told = {f"ANONFACES_{name.upper()}": str(value) for name, value in more.items()}
    return {**os.environ, "ANONFACES_HOME": str(settings.home), "COLUMNS": "1000", **told}


def wrong_settings(tmp_path: Path) -> dict[str, tuple[dict[str, object], str]]:
    old = Authority(tmp_path, "ca").sign("old", days=-1)
    (tmp_path / "open.json").write_text('{"keys": []}')
    (tmp_path / "open.json").chmod(0o666)
    return {
        "a name": ({"host": "localhost"}, "ANONFACES_HOST"),
        "open to all": ({"host": "0.0.0.0"}, "ANONFACES_API_KEYS"),
        "no keys": ({"api_keys": Path("/nowhere/keys.json")}, "anonfaces keys add"),
        "keys of anybody": ({"api_keys": tmp_path / "open.json"}, "chmod go-w"),
        "half of TLS": ({"tls_key": old.key}, "ANONFACES_TLS_CERTIFICATE"),
        "expired": ({"tls_key": old.key, "tls_certificate": old.certificate}, "expired on"),
        "no index": ({"index": "nobody"}, "anonfaces population"),
    }


@pytest.mark.parametrize(
    "name", ["a name", "open to all", "no keys", "keys of anybody", "half of TLS", "expired", "no index"]
)
def test_what_cannot_start_is_refused_in_one_line(settings, index, tmp_path, name):
    wrong, says = wrong_settings(tmp_path)[name]
    chosen = settings.model_copy(update={"port": free_port(), "grpc_port": free_port(), **wrong})
    with pytest.raises(AnonFacesError, match=says) as refused:
        serve.run(chosen)
    assert "\n" not in str(refused.value)


def test_setting_that_is_not_valid_is_named_without_its_value(settings):
    env = environment(settings, workers="MARKER")
    ended = subprocess.run(COMMAND, env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert "ANONFACES_WORKERS" in line
    assert "MARKER" not in ended.stderr + ended.stdout


def test_it_serves_until_sigterm_and_leaves_nothing(settings, index, stack, tmp_path):
    port = free_port()
    env = environment(settings, triton_url=stack.triton.url, port=port, grpc_port=free_port())
    service = subprocess.Popen(DIRECTLY, env={**env, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 90
        while not is_ready(port):
            assert service.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        family = psutil.Process(service.pid).children(recursive=True)
        (home,) = tmp_path.glob("anonfaces-*")
        assert home.stat().st_mode & 0o077 == 0
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        service.kill()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not list(tmp_path.glob("anonfaces-*"))


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_service_gets_the_settings_it_was_given_and_none_of_the_launchers(monkeypatch, tmp_path):
    monkeypatch.setenv("ANONFACES_API_KEYS", "/of/the/launcher")
    monkeypatch.setenv("BENTOML_DEBUG", "True")
    told = serve.environment(Settings(api_keys=None, port=1234), tmp_path)
    assert told["ANONFACES_PORT"] == "1234"
    assert "ANONFACES_API_KEYS" not in told
    assert (told["BENTOML_DO_NOT_TRACK"], told["BENTOML_DEBUG"]) == ("True", "False")
    assert told["BENTOML_HOME"] == str(tmp_path)

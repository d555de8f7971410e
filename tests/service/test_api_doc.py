"""The examples of docs/api.md run, against the real stack."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conversion.catalogue import Catalogue
from services.api_doc import PAGE
from services.errors import WeightsError
from services.settings import settings
from tests.conftest import as_pixels

HTTP, GRPC = "http://127.0.0.1:8080", "grpc://127.0.0.1:8081"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, astronaut_jpeg: bytes) -> Path:
    for name in ("photo.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(astronaut_jpeg)
    return tmp_path


def run(command: list[str], stack, folder: Path, code: str = "") -> str:
    here = {HTTP: stack.url, GRPC: stack.grpc_url}
    told = [re.sub("|".join(here), lambda place: here[place[0]], word) for word in (*command, code)]
    environment = {**os.environ, "ANONFACES_API_KEY": "not-needed-here"}
    done = subprocess.run(
        told[:-1], input=told[-1], cwd=folder, env=environment, capture_output=True, timeout=120, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("line", "".join(blocks("sh")).splitlines())
def test_curl_example_works_and_writes_what_it_says(stack, folder, line):
    command = shlex.split(line.replace("$ANONFACES_API_KEY", "not-needed-here"))
    told = run(command, stack, folder)
    if "-o" not in command:
        assert told.startswith("{")
        return
    result = folder / command[command.index("-o") + 1]
    if result.suffix == ".json":
        assert result.read_bytes().startswith(b"{")
    else:
        assert as_pixels(result.read_bytes()).ndim == 3


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory) -> Path:
    """A folder with grpcurl in it."""
    catalogue = Catalogue(settings().home / "tools", Path(__file__).with_name("tools.toml"))
    try:
        catalogue.pull("grpcurl")
    except WeightsError as missing:
        pytest.skip(f"needs grpcurl, which cannot be fetched here: {missing}")
    program = tmp_path_factory.mktemp("bin") / "grpcurl"
    shutil.copy(catalogue.verified("grpcurl")["grpcurl"], program)
    program.chmod(0o755)
    return program.parent


GRPCURL = [line.strip() for line in "".join(blocks("grpcurl")).replace("|\n", "| ").splitlines()]
ANSWERS = ("rpc Anonymize ", '"SERVING"', '"index_version"', '"picture"', '"photo"')


@pytest.mark.parametrize(("line", "answer"), list(zip(GRPCURL, ANSWERS, strict=True)))
def test_grpcurl_example_works(stack, folder, grpcurl, monkeypatch, line, answer):
    if platform.machine() != "x86_64":
        pytest.skip("grpcurl is fetched for x86_64 alone")
    monkeypatch.setenv("PATH", f"{grpcurl}:{os.environ['PATH']}")
    line = line.replace("127.0.0.1:8081", stack.grpc_url.removeprefix("grpc://"))
    assert answer in run(["bash", "-ec", line], stack, folder)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_example_works(stack, folder, code):
    told = run([sys.executable, "-"], stack, folder, code)
    assert "done" in told or "frame 2" in told

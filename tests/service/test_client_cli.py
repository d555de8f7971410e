"""`anonfaces anonymize` and the client under it, against a running service."""

import io
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from services.client import ATTEMPTS, Client, ServiceUnreachable
from services.client_cli import anonymize
from services.errors import AnonFacesError, BadPhoto, ConfigurationError, ModelServerUnavailable, NoFaceFound

APP = typer.Typer()
APP.command()(anonymize)
BAD = b"\xff\xd8\xff\xe0 not a photo at all"


def encoded(form: str) -> bytes:
    """A small photo of one face."""
    sink = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()[:300, 60:360]).save(sink, form)
    return sink.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def form_of(path: Path) -> str | None:
    with Image.open(path) as image:
        return image.format


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a JPEG, a PNG two folders deeper, and a text file."""
    folder = tmp_path / "photos"
    (folder / "trip" / "day 1").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(JPEG)
    (folder / "trip" / "day 1" / "B.PNG").write_bytes(PNG)
    (folder / "trip" / "notes.txt").write_text("no photo")
    return folder


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """A small HTTP server whose answers are those of a function; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> str:
    """The URL of a port nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


COUNTS = {"Faces": "1", "Enrolled": "0", "Strangers": "1", "Masked": "0", "K": "10", "Index-Version": "v1"}
GOOD = {"Content-Type": "image/jpeg"} | {f"X-AnonFACES-{name}": value for name, value in COUNTS.items()}


# --- the command, against the real service ------------------------------------------------------------------------


def test_files_and_nested_folders_keep_their_structure_and_originals_stay(stack: Any, photos: Path, tmp_path: Path):
    before, single = below(photos), tmp_path / "single.dat"
    single.write_bytes(JPEG)
    out = tmp_path / "made" / "out"
    result = run(photos, single, "--out", out, "--url", stack.url)
    assert result.exit_code == 0, result.output
    done = below(out)
    assert set(done) == {"a.jpg", "trip/day 1/B.PNG", "single.dat"}
    assert form_of(out / "a.jpg") == "JPEG"
    assert form_of(out / "trip/day 1/B.PNG") == "PNG"
    changed = np.asarray(Image.open(out / "trip/day 1/B.PNG")) != np.asarray(Image.open(io.BytesIO(PNG)))
    assert changed.any()
    assert "photos done 3, failed 0, skipped 0" in result.stdout
    assert "faces 3: " in result.stdout
    assert below(photos) == before
    assert single.read_bytes() == JPEG


def test_results_have_the_mode_of_any_new_file(stack: Any, photos: Path, tmp_path: Path):
    (usual := tmp_path / "usual").touch()
    assert run(photos / "a.jpg", "--out", tmp_path / "out", "--url", stack.url).exit_code == 0
    assert (tmp_path / "out" / "a.jpg").stat().st_mode == usual.stat().st_mode


def test_what_fails_is_listed_once_with_its_reason_and_the_rest_is_done(stack: Any, photos: Path, tmp_path: Path):
    (photos / "x[").mkdir()
    (photos / "x[" / "red] \n :smile:.jpg").write_bytes(BAD)  # markup, were it not escaped
    os.mkfifo(photos / "pipe.jpg")
    result = run(photos, tmp_path / "gone.jpg", "--out", tmp_path / "out", "--url", stack.url)
    assert result.exit_code == 1, result.output
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed ")]
    assert len(failed) == 3
    assert any(line.startswith(f"failed {photos}/x[/red] \\n :smile:.jpg: ") for line in failed)
    assert any(line == f"failed {tmp_path}/gone.jpg: No such file or directory" for line in failed)
    assert any("pipe.jpg: not a file" in line for line in failed)
    assert "photos done 2, failed 3, skipped 0" in result.stdout
    assert set(below(tmp_path / "out")) == {"a.jpg", "trip/day 1/B.PNG"}


def test_photo_without_faces_fails_unless_it_may_pass(stack: Any, tmp_path: Path):
    blank, out = tmp_path / "blank.png", tmp_path / "out"
    Image.new("RGB", (64, 64), "teal").save(blank)
    assert run(blank, "--out", out, "--url", stack.url).exit_code == 1
    assert not out.exists()
    assert run(blank, "--out", out, "--url", stack.url, "--no-face", "pass").exit_code == 0
    assert form_of(out / "blank.png") == "PNG"


def test_another_format_changes_the_suffix(stack: Any, photos: Path, tmp_path: Path):
    result = run(photos, "--out", tmp_path / "out", "--url", stack.url, "--format", "png")
    assert result.exit_code == 0, result.output
    assert set(below(tmp_path / "out")) == {"a.png", "trip/day 1/B.PNG"}
    assert form_of(tmp_path / "out" / "a.png") == "PNG"


def test_results_below_the_photos_are_not_sent_again(stack: Any, photos: Path):
    for _ in range(2):
        result = run(photos, "--out", photos / "anonymous", "--url", stack.url, "--overwrite")
        assert result.exit_code == 0, result.output
    assert set(below(photos / "anonymous")) == {"a.jpg", "trip/day 1/B.PNG"}


def test_linked_folders_are_named_and_not_followed(stack: Any, photos: Path, tmp_path: Path):
    (photos / "loop").symlink_to(photos)
    (photos / "self.jpg").symlink_to("self.jpg")
    result = run(photos, "--out", tmp_path / "out", "--url", stack.url)
    assert result.exit_code == 1
    assert f"note {photos}/loop: " in result.stderr
    assert f"failed {photos}/self.jpg: " in result.stderr
    assert set(below(tmp_path / "out")) == {"a.jpg", "trip/day 1/B.PNG"}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_both_protocols_and_every_option_work(stack: Any, photos: Path, tmp_path: Path, protocol: str):
    url, out = stack.url if protocol == "http" else stack.grpc_url, tmp_path / "out"
    generator = "mobile-stylegan-1024"
    options = ("--k", 2, "--quality", 20, "--small-face", "mask", "--stranger", "mask", "--generator", generator)
    result = run(photos / "a.jpg", "--out", out, "--url", url, *options)
    assert result.exit_code == 0, result.output
    assert "masked 1" in result.stdout
    assert (out / "a.jpg").stat().st_size < len(JPEG)
    for option, value, told in (
        ("--k", 1000, "k = 1000"),
        ("--identity", "nobody", "not enrolled"),
        ("--emotion", "x", "emotion"),
    ):
        refused = run(photos / "a.jpg", "--out", tmp_path / "none", "--url", url, option, value)
        assert refused.exit_code == 1
        assert told in refused.stderr
    assert not (tmp_path / "none").exists()


# --- what is there already ----------------------------------------------------------------------------------------


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    """An output folder with one result of `photos` in it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"an earlier result")
    return out


def test_nothing_is_overwritten_without_asking(stack: Any, photos: Path, existing: Path):
    result = run(photos, "--out", existing, "--url", stack.url)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert "--no-overwrite" in result.stderr
    assert below(existing) == {"a.jpg": b"an earlier result"}


def test_nothing_is_overwritten_when_the_answer_is_no(stack: Any, photos: Path, existing: Path):
    person, terminal = pty.openpty()
    try:
        os.write(person, b"n\n")
        code = "import typer, services.client_cli as c; typer.run(c.anonymize)"
        command = [sys.executable, "-c", code, str(photos), "--out", str(existing), "--url", stack.url]
        ended = subprocess.run(command, stdin=terminal, capture_output=True, text=True, timeout=120)
    finally:
        os.close(person)
        os.close(terminal)
    assert "1 of 2 results are there already" in ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert below(existing) == {"a.jpg": b"an earlier result"}


@pytest.mark.parametrize("option", ["--overwrite", "--yes"])
def test_results_are_replaced_on_demand(stack: Any, photos: Path, existing: Path, option: str):
    assert run(photos / "a.jpg", "--out", existing, "--url", stack.url, option).exit_code == 0
    assert set(below(existing)) == {"a.jpg"}
    assert form_of(existing / "a.jpg") == "JPEG"


def test_results_that_are_there_can_be_skipped(stack: Any, photos: Path, existing: Path):
    result = run(photos, "--out", existing, "--url", stack.url, "--no-overwrite", "--yes")
    assert result.exit_code == 0, result.output
    assert "photos done 1, failed 0, skipped 1" in result.stdout
    assert (existing / "a.jpg").read_bytes() == b"an earlier result"
    assert form_of(existing / "trip/day 1/B.PNG") == "PNG"


def test_a_failed_photo_leaves_the_earlier_result(stack: Any, photos: Path, existing: Path):
    (photos / "a.jpg").write_bytes(BAD)
    assert run(photos / "a.jpg", "--out", existing, "--url", stack.url, "--overwrite").exit_code == 1
    assert below(existing) == {"a.jpg": b"an earlier result"}


# --- refused before anything is sent ------------------------------------------------------------------------------


def test_two_photos_with_one_target_are_refused_by_name(photos: Path, tmp_path: Path):
    (photos / "a.png").write_bytes(PNG)
    result = run(photos, "--out", tmp_path / "out", "--format", "webp", "--url", closed_port())
    assert result.exit_code == 2
    assert str(photos / "a.jpg") in result.stderr
    assert str(photos / "a.png") in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["same", "symlink", "hard link"])
def test_originals_are_never_a_target(photos: Path, tmp_path: Path, how: str):
    before, out = below(photos), photos
    if how == "symlink":
        (out := tmp_path / "out").symlink_to(photos)
    if how == "hard link":
        (out := tmp_path / "out").mkdir()
        (out / "a.jpg").hardlink_to(photos / "a.jpg")
    result = run(photos, "--out", out, "--overwrite", "--url", closed_port())
    assert result.exit_code == 2
    assert "is one of the originals" in result.stderr
    assert below(photos) == before


def test_folder_without_photos_is_refused(tmp_path: Path):
    result = run(tmp_path, "--out", tmp_path / "out", "--url", closed_port())
    assert result.exit_code == 2
    assert "no photos in" in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://here", "http://"])
def test_url_that_is_none_is_refused(photos: Path, tmp_path: Path, url: str):
    assert run(photos, "--out", tmp_path / "out", "--url", url).exit_code == 2
    with pytest.raises(ConfigurationError, match="not a URL"):
        Client(url)


# --- the service is not there, or is busy -------------------------------------------------------------------------


def test_unreachable_service_is_a_clear_error_and_leaves_no_files(photos: Path, tmp_path: Path):
    url, before = closed_port(), below(photos)
    result = run(photos, "--out", tmp_path / "out", "--url", url)
    assert isinstance(result.exception, ServiceUnreachable)
    assert url in str(result.exception)
    assert "make serve" in str(result.exception)
    assert not (tmp_path / "out").exists()
    assert below(photos) == before


def test_photos_are_sent_to_nothing_but_anonfaces(photos: Path, tmp_path: Path):
    sent: list[bytes] = []

    def another(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        sent.append(body)
        return 200, {}, b'{"info": {"title": "another service"}}'

    with serving(another) as url:
        result = run(photos, "--out", tmp_path / "out", "--url", url)
    assert isinstance(result.exception, ServiceUnreachable)
    assert sent == [b""]


def test_busy_service_is_asked_again_with_the_same_photo():
    bodies: list[bytes] = []

    def busy_twice(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        bodies.append(body)
        if len(bodies) == 1:
            return 503, {"Retry-After": "0"}, b'{"error": "model_server_unavailable", "message": "starting"}'
        return (429, {}, b"slow down") if len(bodies) == 2 else (200, GOOD, b"a new photo")

    with serving(busy_twice) as url, Client(url, first_pause_s=0.01) as client:
        result = client.anonymize(JPEG)
    assert bodies == [JPEG] * 3
    assert (result.data, result.media_type, result.strangers, result.k) == (b"a new photo", "image/jpeg", 1, 10)


def test_service_that_stays_busy_is_given_up_with_its_own_error():
    asked: list[str] = []

    def busy(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.path)
        return 503, {}, b'{"error": "model_server_unavailable", "message": "Triton is away"}'

    away = pytest.raises(ModelServerUnavailable, match="Triton is away")
    with serving(busy) as url, Client(url, first_pause_s=0.01) as client, away:
        client.anonymize(JPEG, format="png", no_face="pass")
    assert asked == ["/v1/anonymize?format=png&no_face=pass"] * ATTEMPTS


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (422, {}, BadPhoto),  # the photo's own fault
        (503, {"Retry-After": "3600"}, BadPhoto),  # longer than anybody waits
    ],
)
def test_what_waiting_does_not_help_is_not_tried_again(status: int, headers: dict[str, str], kind: type[Exception]):
    asked: list[str] = []

    def refusing(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.path)
        return status, headers, b'{"error": "bad_photo", "message": "no"}'

    with serving(refusing) as url, Client(url, first_pause_s=0.01) as client, pytest.raises(kind):
        client.anonymize(JPEG)
    assert len(asked) == 1


@pytest.mark.parametrize("missing", ["Content-Type", "X-AnonFACES-Masked", "X-AnonFACES-Index-Version"])
def test_answer_that_is_no_anonymized_photo_is_never_taken_for_one(missing: str):
    headers = {name: value for name, value in GOOD.items() if name != missing}
    refused = pytest.raises(AnonFacesError, match="not an anonymized photo")
    with serving(lambda request, body: (200, headers, body)) as url, Client(url) as client, refused:
        client.anonymize(JPEG)


def test_service_that_goes_away_ends_the_run(photos: Path, tmp_path: Path):
    for number in range(30):
        (photos / f"more{number}.jpg").write_bytes(JPEG)
    sent: list[bytes] = []

    def leaving(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/v1/openapi.json":
            return (200, {}, b'{"info": {"title": "AnonFACES"}}') if not sent else (404, {}, b"")
        sent.append(body)
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError  # before any answer

    with serving(leaving) as url:
        result = run(photos, "--out", tmp_path / "out", "--url", url, "--concurrency", "2")
    assert isinstance(result.exception, ServiceUnreachable)
    assert "not sent" in result.stdout
    assert len(sent) < 32
    assert not (tmp_path / "out").exists()


# --- the client, against the real service -------------------------------------------------------------------------


def test_errors_come_back_as_the_classes_the_service_raised(stack: Any):
    blank = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(blank, "PNG")
    with Client(stack.url) as client:
        with pytest.raises(BadPhoto):
            client.anonymize(JPEG[: len(JPEG) // 2])
        with pytest.raises(NoFaceFound):
            client.anonymize(blank.getvalue(), no_face="refuse")


def test_client_reports_what_the_service_saw_and_did(stack: Any):
    with Client(stack.url) as client:
        seen, result = client.inspect(PNG), client.anonymize(PNG, format="webp")
    assert len(seen["faces"]) == result.faces == result.enrolled + result.strangers + result.masked == 1
    assert (seen["k"], seen["index_version"]) == (result.k, result.index_version)
    assert result.media_type == "image/webp"
    with Image.open(io.BytesIO(result.data)) as image:
        assert (image.format, image.size) == ("WEBP", (seen["width"], seen["height"]))

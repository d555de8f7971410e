"""Nothing of a photo, of a person's name, or of a key is left behind: in logs, errors, metrics, files, core dumps."""

import asyncio
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import ExifTags, Image
from starlette.requests import Request

from services.anonymizer.api.bodies import read_photo, read_photos
from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import DETECTORS, EMBEDDERS
from services.anonymizer.triton import Triton

WORDS = {
    "text in the photo": "MARKER-exif-4711",
    "file name": "MARKER-file-4712",
    "person": "MARKER-person-4713",
    "option": "MARKER-option-4714",
    "header": "MARKER-header-4715",
    "path": "MARKER-path-4716",
    "key that is not known": "MARKER-key-4717",
    "content type": "MARKER-type-4718",
    "bytes that are no photo": "MARKER-bytes-4719",
}
SECRET = ("text in the photo", "person", "header", "key that is not known", "bytes that are no photo")


@pytest.fixture(scope="module")
def photo(astronaut) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = WORDS["text in the photo"]
    sink = io.BytesIO()
    Image.fromarray(astronaut).save(sink, "JPEG", quality=95, exif=exif, comment=WORDS["text in the photo"].encode())
    return sink.getvalue()


@pytest.fixture(scope="module")
def answers(secured, photo):
    """Every kind of answer, to requests that are full of markers."""
    header = {"X-Marker": WORDS["header"], "User-Agent": WORDS["header"], "Referer": WORDS["header"]}
    named = {"photo": (WORDS["file name"], photo)}
    nothing = WORDS["bytes that are no photo"].encode() * 100
    with secured.http("operator") as client:
        client.headers.update(header)
        given = [
            client.post("/v1/anonymize", files=named),
            client.post("/v1/anonymize", content=photo, headers={"Content-Type": "image/jpeg"}),
            client.post("/v1/anonymize:batch", files=named),
            client.post("/v1/inspect", content=photo),
            client.post("/v1/anonymize", params={"identity": WORDS["person"]}, files=named),
            client.post("/v1/anonymize", params={"stranger": WORDS["option"]}, files=named),
            client.post("/v1/anonymize", params={WORDS["option"]: WORDS["option"]}, files=named),
            client.post("/v1/anonymize", content=nothing),
            client.post("/v1/anonymize", content=photo[: len(photo) // 2]),
            client.post("/v1/anonymize", content=nothing, headers={"Content-Type": WORDS["content type"]}),
            client.post(f"/v1/{WORDS['path']}", content=photo),
            client.get(f"/v1/surrogates/{WORDS['path']}"),
            client.get("/v1/index", headers={"Authorization": f"Bearer {WORDS['key that is not known']}"}),
            client.get("/v1/index", headers={"Authorization": f"Basic {WORDS['key that is not known']}"}),
        ]
        metrics = client.get("/metrics")
    assert {answer.status_code for answer in given} == {200, 400, 401, 404, 415, 422}
    return given, metrics


@pytest.fixture(scope="module")
def fragments(secured, stack, photo, astronaut, answers) -> dict[str, bytes]:
    """What would give a photo, its face, or a key away, as it would be written."""
    embedding = asyncio.run(_embedding(stack.triton.url, np.asarray(Image.open(io.BytesIO(photo)))))
    found = {name: word.encode() for name, word in WORDS.items()}
    found |= {f"key {name}": key.encode() for name, key in secured.keys.items()}
    found |= {
        "bytes of the file": photo[len(photo) // 2 :][:24],
        "pixels": astronaut[100, 100:108].tobytes(),
        "embedding": embedding[:4].tobytes(),
        "embedding as text": f"{embedding[0]:.6f}".encode(),
    }
    return found


async def _embedding(url: str, pixels: np.ndarray) -> np.ndarray:
    async with Triton(url, timeout_s=60) as triton:
        faces = await detect(pixels, triton, DETECTORS["centerface"], min_score=0.5, min_px=32)
        return (await embed(pixels, faces[0].landmarks[None], triton, EMBEDDERS["dlib-resnet"]))[0]


def test_logs_of_service_and_triton_hold_nothing_of_a_request(secured, stack, fragments):
    for server in (secured.service.server, stack.triton.server):
        log = server.log.read_bytes()
        assert not [name for name, fragment in fragments.items() if fragment in log]
    assert b"http anonymize ok key=operator" in secured.service.server.log.read_bytes()


def test_errors_repeat_nothing_that_is_secret(answers, fragments):
    for answer in answers[0]:
        if answer.status_code >= 400:
            told = answer.content + repr(answer.headers).encode()
            assert not [name for name in SECRET if fragments[name] in told]


def test_answers_hold_nothing_of_what_the_photo_said_of_itself(answers, fragments):
    for answer in answers[0]:
        assert fragments["text in the photo"] not in answer.content
        assert fragments["embedding"] not in answer.content
        assert fragments["embedding as text"] not in answer.content


def test_metrics_hold_nothing_of_a_request(answers, fragments):
    assert not [name for name, fragment in fragments.items() if fragment in answers[1].content]


def test_files_on_disk_hold_nothing_of_a_request(secured, fragments):
    """BentoML's home, the folder for temporary files, and all that is beside them; keys are hashes there."""
    folders = secured.service.work, secured.service.home, secured.temporary
    files = {file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()}
    assert any(file.name.endswith(".db") for file in files)  # of the metrics: so these are the right folders
    for file in files:
        content = file.read_bytes()
        assert not [name for name, fragment in fragments.items() if fragment in content], file


@pytest.mark.parametrize("read", [read_photo, lambda request, limit: read_photos(request, limit, 2)])
async def test_form_is_never_spooled_to_disk(monkeypatch, read):
    """Not even by a file without a name, which no look into a folder would find."""

    def refuse(*args: object, **kwargs: object):
        raise AssertionError("a temporary file was asked for")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    size = 8 << 20
    data = b'--x\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n' + bytes(size) + b"\r\n--x--\r\n"
    pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    await read(Request({"type": "http", "headers": headers, "method": "POST"}, receive), 2 * size)


def test_shared_memory_is_tritons_own_and_for_its_user_only(secured, stack, answers):
    """The local Triton hands tensors to its backend there; the regions go when it stops."""
    regions = list(Path("/dev/shm").glob(f"{stack.triton.region}*"))
    assert regions
    assert all(region.stat().st_mode & 0o077 == 0 for region in regions)
    workers = [process.pid for process in secured.service.server.descendants()]
    for pid in workers:
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "/dev/shm/" not in mapped


def test_service_and_triton_leave_no_core_dump(secured, stack):
    for server in (secured.service.server, stack.triton.server):
        limits = [process.rlimit(psutil.RLIMIT_CORE) for process in server.descendants()]
        assert set(limits) == {(0, 0)}


def test_memory_is_kept_from_dumps_that_are_piped_and_from_other_processes():
    code = (
        "import ctypes; from services.processes import keep_memory_private as keep; keep();"
        "print(ctypes.CDLL(None).prctl(3))"  # PR_GET_DUMPABLE
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "0"


def test_supervisor_takes_commands_in_its_private_folder_only(secured):
    """circus would otherwise start any program for any user of the machine."""
    listening = {
        connection.laddr.port
        for process in secured.service.server.descendants()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {secured.service.port, secured.service.grpc_port}
    assert (secured.service.home / "control").is_socket()
    assert secured.service.home.stat().st_mode & 0o077 == 0

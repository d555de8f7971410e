"""Bad input gets one line of JSON that says what is wrong; never a crash, never the photo as it came."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import as_bytes

FACELESS = np.full((200, 300, 3), (40, 90, 160), np.uint8)


def bomb() -> bytes:
    """A PNG that claims 20,000 x 20,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def animated(form: str) -> bytes:
    frames = [Image.fromarray(np.full((64, 64, 3), value, np.uint8)) for value in (0, 255)]
    sink = io.BytesIO()
    frames[0].save(sink, form, save_all=True, append_images=frames[1:], duration=100)
    return sink.getvalue()


def cases() -> dict[str, tuple[bytes, str, int, str]]:
    jpeg = as_bytes(FACELESS, "JPEG")
    return {
        "not an image": (b"hello, this is text" * 20, "image/jpeg", 415, "unsupported_media_type"),
        "zero bytes": (b"", "image/jpeg", 422, "bad_photo"),
        "truncated": (jpeg[: len(jpeg) // 2], "image/jpeg", 422, "bad_photo"),
        "header only": (jpeg[:30], "image/jpeg", 422, "bad_photo"),
        "gif": (as_bytes(FACELESS, "GIF"), "image/gif", 415, "unsupported_media_type"),
        "gif that says jpeg": (as_bytes(FACELESS, "GIF"), "image/jpeg", 415, "unsupported_media_type"),
        "tiff": (as_bytes(FACELESS, "TIFF"), "application/octet-stream", 415, "unsupported_media_type"),
        "animated png": (animated("PNG"), "image/png", 422, "bad_photo"),
        "animated webp": (animated("WEBP"), "image/webp", 422, "bad_photo"),
        "bomb": (bomb(), "image/png", 413, "photo_too_large"),
        "too long": (as_bytes(np.zeros((16, 16_400, 3), np.uint8), "PNG"), "image/png", 413, "photo_too_large"),
        "too many bytes": (b"\xff\xd8\xff" + bytes(33 * 1024 * 1024), "image/jpeg", 413, "photo_too_large"),
        "wrong content type": (jpeg, "text/html", 415, "unsupported_media_type"),
        "json": (b'{"photo": "x"}', "application/json", 415, "unsupported_media_type"),
        "tiny": (as_bytes(FACELESS[:8, :8], "PNG"), "image/png", 422, "bad_photo"),
        "no face": (jpeg, "image/jpeg", 422, "no_face_found"),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_bad_photo_is_refused_with_a_reason(http, name):
    data, media, status, code = cases()[name]
    answer = http.post("/v1/anonymize", content=data, headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert set(answer.json()) == {"error", "message"}
    assert "\n" not in answer.json()["message"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("mode", ["CMYK", "L", "LA", "RGBA", "P", "1"])
def test_unusual_modes_are_served(http, astronaut, mode):
    image = Image.fromarray(astronaut).convert(mode)
    sink = io.BytesIO()
    image.save(sink, "JPEG" if mode == "CMYK" else "PNG")
    answer = http.post("/v1/anonymize", content=sink.getvalue())
    assert (answer.status_code, answer.headers["x-anonfaces-faces"]) == (200, "1")


def test_16_bit_photo_is_served(http, astronaut):
    grey = np.array(Image.fromarray(astronaut).convert("L")).astype(np.uint16) * 257
    sink = io.BytesIO()
    Image.fromarray(grey).save(sink, "PNG")
    answer = http.post("/v1/anonymize", content=sink.getvalue())
    assert (answer.status_code, answer.headers["x-anonfaces-faces"]) == (200, "1")


def test_photo_without_faces_passes_where_the_request_asks_for_it(http):
    answer = http.post("/v1/anonymize?no_face=pass", content=as_bytes(FACELESS, "PNG", pnginfo=None))
    assert (answer.status_code, answer.headers["x-anonfaces-faces"]) == (200, "0")


@pytest.mark.parametrize("query", ["format=gif", "no_face=maybe", "stranger=1"])
def test_unknown_option_is_refused(http, query):
    answer = http.post(f"/v1/anonymize?{query}", content=as_bytes(FACELESS, "PNG"))
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    assert query.split("=")[0] in answer.json()["message"]


def test_form_without_a_file_is_refused(http):
    answer = http.post("/v1/anonymize", files={"a": (None, "text only")})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_form_with_two_files_is_refused(http, astronaut_jpeg):
    answer = http.post("/v1/anonymize", files=[("a", ("a.jpg", astronaut_jpeg)), ("b", ("b.jpg", astronaut_jpeg))])
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_broken_form_is_refused(http):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = http.post("/v1/anonymize", content=b"no boundary here", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/", "/docs.json", "/docs", "/v1/docs", "/static_content/index.html", "/schema.json"])
def test_nothing_is_served_beside_the_api(http, path):
    assert http.get(path).status_code == 404


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/anonymize", 405), ("POST", "/v1/nothing", 404)])
def test_wrong_method_or_path_gets_the_same_kind_of_error(http, method, path, status):
    answer = http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}


def test_asking_for_many_paths_makes_no_new_metrics(http):
    def series() -> set[str]:
        lines = http.get("/metrics").text.splitlines()
        return {line.split(" ")[0] for line in lines if not line.startswith("#")}

    http.get("/v1/openapi.json")
    before = series()
    for number in range(20):
        http.get(f"/v1/person-{number}")
        http.get(f"/person-{number}")
    assert series() == before


def test_openapi_describes_every_endpoint(http):
    paths = http.get("/v1/openapi.json").json()["paths"]
    assert set(paths) == {"/anonymize", "/anonymize:batch", "/inspect", "/surrogates/{crowd}", "/index"}


def test_logs_hold_no_photo_and_no_embedding(http, astronaut_jpeg, log_of_service):
    http.post("/v1/anonymize", content=astronaut_jpeg, headers={"Content-Type": "image/jpeg"})
    http.post("/v1/anonymize?MARKER=1", content=b"MARKER" * 50)
    log = log_of_service.read_bytes()
    assert b"MARKER" not in log
    assert b"JFIF" not in log

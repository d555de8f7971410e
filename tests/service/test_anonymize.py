"""The main job over HTTP, against the real stack."""

import asyncio
import re

import httpx
import numpy as np
import pytest

from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Models, choose
from services.anonymizer.triton import Triton
from services.population.index import ClusterIndex
from tests.conftest import as_bytes, as_pixels

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def models(settings) -> Models:
    return choose(settings)


def metric(http: httpx.Client, series: str) -> float:
    """The value of one series of /metrics, 0 if it is not there yet."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def counts(response: httpx.Response) -> dict[str, int]:
    names = ("faces", "enrolled", "strangers", "masked", "k")
    return {name: int(response.headers[f"x-anonfaces-{name}"]) for name in names}


async def embeddings(photos: list[np.ndarray], url: str, models: Models) -> list[np.ndarray]:
    """The embedding of the best face of each photo."""
    found = []
    async with Triton(url, timeout_s=60) as triton:
        for photo in photos:
            faces = await detect(photo, triton, models.detector, 0.45, 32)
            found.append((await embed(photo, faces[0].landmarks[None], triton, models.embedder))[0])
    return found


@pytest.mark.parametrize(("form", "media"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_photo_comes_back_in_its_own_format_with_its_size(http, astronaut, form, media):
    answer = http.post("/v1/anonymize", content=as_bytes(astronaut, form), headers={"Content-Type": media})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media
    assert as_pixels(answer.content).shape == astronaut.shape


def test_answer_counts_faces_and_names_k_and_index(http, astronaut_jpeg, index: ClusterIndex):
    answer = http.post("/v1/anonymize", content=astronaut_jpeg, headers=JPEG)
    assert counts(answer) == {"faces": 1, "enrolled": 0, "strangers": 1, "masked": 0, "k": index.k}
    assert answer.headers["x-anonfaces-index-version"] == index.version


def test_format_of_the_answer_can_be_chosen(http, astronaut_jpeg):
    answer = http.post("/v1/anonymize?format=png", content=astronaut_jpeg, headers=JPEG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_multipart_file_gives_the_same_photo_as_the_body(http, astronaut_jpeg):
    body = http.post("/v1/anonymize", content=astronaut_jpeg, headers=JPEG)
    form = http.post("/v1/anonymize", files={"photo": ("a.jpg", astronaut_jpeg, "image/jpeg")})
    assert form.content == body.content


def test_only_the_face_changes(http, astronaut):
    png = as_bytes(astronaut, "PNG")
    after = as_pixels(http.post("/v1/anonymize", content=png, headers={"Content-Type": "image/png"}).content)
    (face,) = http.post("/v1/inspect", content=png).json()["faces"]
    x0, y0, x1, y1 = (round(v) for v in face["box"])
    grown = round(0.3 * (y1 - y0))
    outside = np.ones(astronaut.shape[:2], bool)
    outside[y0 - grown : y1 + grown, x0 - grown : x1 + grown] = False
    assert (after[outside] == astronaut[outside]).all()
    inner = (slice(y0 + 20, y1 - 20), slice(x0 + 20, x1 - 20))
    assert np.abs(after[inner].astype(int) - astronaut[inner]).mean() > 5


def test_new_face_is_nearer_to_its_surrogate_than_to_the_old_one(http, astronaut, index, stack, models):
    png = as_bytes(astronaut, "PNG")
    after = as_pixels(http.post("/v1/anonymize", content=png, headers={"Content-Type": "image/png"}).content)
    (face,) = http.post("/v1/inspect", content=png).json()["faces"]
    old, new = asyncio.run(embeddings([astronaut, after], stack.triton.url, models))
    surrogate = index.crowds.surrogate_embeddings[face["crowd"]]
    assert np.linalg.norm(new - surrogate) < np.linalg.norm(new - old)


def test_inspect_describes_faces_without_embedding_or_identity(http, astronaut_jpeg, index):
    seen = http.post("/v1/inspect", content=astronaut_jpeg, headers=JPEG).json()
    assert (seen["width"], seen["height"], seen["k"]) == (512, 512, index.k)
    (face,) = seen["faces"]
    expected = {"box", "landmarks", "score", "masked", "crowd", "crowd_size", "distance", "enrolled"}
    assert set(face) == expected
    assert face["crowd_size"] >= index.k
    left_eye, right_eye = face["landmarks"][:2]
    assert np.allclose(left_eye, (203, 102), atol=6)  # looked up in the picture
    assert np.allclose(right_eye, (247, 102), atol=6)


def test_same_photo_gives_the_same_bytes(http, astronaut_jpeg):
    first, second = (http.post("/v1/anonymize", content=astronaut_jpeg, headers=JPEG) for _ in range(2))
    assert first.content == second.content


def test_second_photo_of_a_crowd_runs_no_generator(http, astronaut, astronaut_jpeg):
    http.post("/v1/anonymize", content=astronaut_jpeg, headers=JPEG)
    rendered = 'anonfaces_inference_rows_total{model="mobile-stylegan-1024"}'
    hits = 'anonfaces_surrogate_lookups_total{result="hit"}'
    before, hits_before = metric(http, rendered), metric(http, hits)
    another = as_bytes(astronaut[:500, 4:], "PNG")  # the same person, so the same crowd
    assert http.post("/v1/anonymize", content=another).status_code == 200
    assert metric(http, rendered) == before
    assert metric(http, hits) == hits_before + 1


def test_stages_are_timed_in_the_metrics(http, astronaut_jpeg):
    http.post("/v1/anonymize", content=astronaut_jpeg, headers=JPEG)
    for stage in ("decode", "detect", "embed", "look_up", "synthesise", "blend", "encode"):
        assert metric(http, f'anonfaces_stage_seconds_count{{stage="{stage}"}}') >= 1


def test_stranger_is_masked_where_the_request_asks_for_it(http, astronaut):
    png = as_bytes(astronaut, "PNG")
    answer = http.post("/v1/anonymize?stranger=mask", content=png, headers={"Content-Type": "image/png"})
    assert counts(answer)["masked"] == 1
    (face,) = http.post("/v1/inspect", content=png).json()["faces"]
    x0, y0, x1, y1 = (round(v) for v in face["box"])
    assert as_pixels(answer.content)[y0 + 10 : y1 - 10, x0 + 10 : x1 - 10].std(axis=(0, 1)).max() < 1


def test_stranger_is_refused_where_the_request_asks_for_it(http, astronaut_jpeg):
    answer = http.post("/v1/anonymize?stranger=refuse", content=astronaut_jpeg, headers=JPEG)
    assert (answer.status_code, answer.json()["error"]) == (422, "stranger_refused")


def test_face_too_small_to_replace_is_masked_and_counted(http, astronaut):
    import cv2

    small = cv2.resize(astronaut[40:200, 130:310], None, fx=0.16, fy=0.16, interpolation=cv2.INTER_AREA)
    photo = np.full((160, 160, 3), 128, np.uint8)
    photo[60 : 60 + small.shape[0], 60 : 60 + small.shape[1]] = small
    answer = http.post("/v1/anonymize", content=as_bytes(photo, "PNG"), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    assert counts(answer)["masked"] == counts(answer)["faces"] == 1


def test_no_metadata_survives(http, astronaut):
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E] = "MARKER-OF-A-CAMERA"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    photo = as_bytes(astronaut, "JPEG", exif=exif, comment=b"MARKER-OF-A-COMMENT")
    assert b"MARKER" in photo
    answer = http.post("/v1/anonymize", content=photo, headers=JPEG)
    assert b"MARKER" not in answer.content
    assert b"Exif" not in answer.content


def test_grey_photo_stays_grey(http, astronaut):
    import io

    from PIL import Image

    grey = np.array(Image.fromarray(astronaut).convert("L"))
    answer = http.post("/v1/anonymize", content=as_bytes(grey, "PNG"), headers={"Content-Type": "image/png"})
    assert counts(answer)["faces"] == 1
    assert Image.open(io.BytesIO(answer.content)).mode == "L"


def test_ten_faces_are_all_replaced(http, astronaut):
    head = astronaut[:220, 110:330]
    photo = np.concatenate([np.concatenate([head] * 5, axis=1)] * 2)
    answer = http.post("/v1/anonymize", content=as_bytes(photo, "JPEG", quality=95), headers=JPEG)
    assert counts(answer)["faces"] == counts(answer)["strangers"] == 10

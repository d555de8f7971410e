"""The client against the real stack: the same answers and the same errors, whichever of the four it is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from services import errors
from services.client import ServiceUnreachable
from services.processes import free_port
from tests.client_kinds import KINDS, client_of
from tests.conftest import as_bytes, as_pixels

BLANK = as_bytes(np.full((64, 64, 3), 128, np.uint8), "PNG")


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest, stack: Any) -> Iterator[Any]:
    made = client_of(request.param, stack.url, stack.grpc_url)
    yield made
    made.close()


def is_rpc(client: Any) -> bool:
    return getattr(client, "_client", client).url.startswith("grpc")


def test_service_that_is_there_is_found(client):
    client.require()


def test_anonymize_gives_what_the_service_gives(client, http, astronaut_jpeg):
    result, plain = client.anonymize(astronaut_jpeg), http.post("/v1/anonymize", content=astronaut_jpeg)
    assert result.data == plain.content
    assert result.media_type == "image/jpeg"
    told = (result.faces, result.enrolled, result.strangers, result.masked, result.k)
    assert told == tuple(
        int(plain.headers[f"x-anonfaces-{name}"]) for name in ("faces", "enrolled", "strangers", "masked", "k")
    )
    assert result.index_version == plain.headers["x-anonfaces-index-version"]
    assert (result.resolution, result.emotion, result.generator) == ("enrolled-first", None, None)


def test_options_reach_the_service(client, astronaut_jpeg):
    masked = client.anonymize(astronaut_jpeg, stranger="mask", format="png", k=2, small_face="mask")
    assert (masked.masked, masked.strangers, masked.media_type) == (1, 0, "image/png")
    coarse, fine = (client.anonymize(astronaut_jpeg, quality=quality).data for quality in (20, 95))
    assert len(coarse) < len(fine) / 2
    named = client.anonymize(astronaut_jpeg, generator=client.index()["generators"][0])
    assert named.generator == client.index()["generators"][0]
    assert client.anonymize(BLANK, no_face="pass").faces == 0


@pytest.mark.parametrize(
    ("photo", "choices", "error"),
    [
        (b"no photo", {}, errors.UnsupportedMediaType),
        (BLANK, {"no_face": "refuse"}, errors.NoFaceFound),
        (None, {"stranger": "refuse"}, errors.StrangerRefused),
        (None, {"k": 1000}, errors.KNotMet),
        (None, {"identity": ["nobody"]}, errors.UnknownIdentity),
        (None, {"generator": "none"}, errors.BadRequest),
        (None, {"k": 1}, errors.BadRequest),
        (None, {"formats": "png"}, errors.BadRequest),
        (bytes(33 * 1024 * 1024), {}, errors.PhotoTooLarge),
    ],
)
def test_errors_come_back_as_the_classes_the_service_raised(client, astronaut_jpeg, photo, choices, error):
    with pytest.raises(error) as raised:
        client.anonymize(astronaut_jpeg if photo is None else photo, **choices)
    assert type(raised.value) is error
    assert str(raised.value)


def test_batch_has_results_and_errors_by_name_in_their_order(client, astronaut_jpeg):
    photos = [("first", astronaut_jpeg), ("second", b"no photo"), ("first", BLANK), ("ünï/cødé\n", astronaut_jpeg)]
    items = client.anonymize_batch(photos, format="png", no_face="refuse")
    assert [item.name for item in items] == [name for name, _ in photos]
    assert [type(item.error) for item in items] == [
        type(None),
        errors.UnsupportedMediaType,
        errors.NoFaceFound,
        type(None),
    ]
    assert items[0].get().data == items[3].get().data == client.anonymize(astronaut_jpeg, format="png").data
    with pytest.raises(errors.NoFaceFound):
        items[2].get()


def test_batch_of_nothing_is_nothing(client):
    assert client.anonymize_batch([]) == []


def test_inspect_and_index_are_the_documents_of_http(client, http, astronaut_jpeg):
    assert client.inspect(astronaut_jpeg) == http.post("/v1/inspect", content=astronaut_jpeg).json()
    assert client.index() == http.get("/v1/index").json()


def test_surrogate_is_the_face_of_a_crowd(client, http, index):
    picture = client.surrogate(0, format="jpeg", quality=90)
    assert picture.data == http.get("/v1/surrogates/0?format=jpeg&quality=90").content
    assert (picture.media_type, picture.k, picture.index_version) == ("image/jpeg", index.k, index.version)
    with pytest.raises(errors.NotFound):
        client.surrogate(10_000)


def test_stream_gives_results_in_their_order_or_says_that_it_needs_grpc(client, astronaut, astronaut_jpeg):
    frames = [(f"frame {n}", b"no photo" if n == 1 else astronaut_jpeg) for n in range(4)]
    if not is_rpc(client):
        with pytest.raises(errors.ConfigurationError, match="grpc://"):
            list(client.anonymize_stream(frames))
        return
    items = list(client.anonymize_stream(frames, format="png"))
    assert [item.name for item in items] == [name for name, _ in frames]
    assert [type(item.error).__name__ for item in items] == ["NoneType", "UnsupportedMediaType", "NoneType", "NoneType"]
    assert as_pixels(items[3].get().data).shape == astronaut.shape


def test_what_fails_in_the_callers_own_frames_reaches_the_caller(client, astronaut_jpeg):
    if not is_rpc(client):
        pytest.skip("streams are gRPC's")

    def broken() -> Iterator[tuple[str, bytes]]:
        yield "0", astronaut_jpeg
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(client.anonymize_stream(broken()))


@pytest.mark.parametrize("kind", KINDS)
def test_other_services_are_not_taken_for_it(stack, kind):
    """Triton speaks both protocols as well."""
    client = client_of(kind, f"http://127.0.0.1:{stack.triton.http_port}", f"grpc://{stack.triton.url}")
    with pytest.raises(ServiceUnreachable, match="is not AnonFACES"):
        client.require()
    client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_there_is_a_clear_error_after_some_tries(kind, astronaut_jpeg):
    place = f"127.0.0.1:{free_port()}"
    client = client_of(kind, f"http://{place}", f"grpc://{place}", first_pause_s=0.001)
    with pytest.raises(ServiceUnreachable, match=f"no service answers at .*{place}.*make serve"):
        client.anonymize(astronaut_jpeg)
    client.close()

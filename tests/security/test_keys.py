"""API keys on the running service, by HTTP and by gRPC: what each may do, and that a refusal reads nothing."""

import socket
import time

import grpc
import pytest

from services.api_keys import ApiKey, KeyFile, digest, new_token, read_keys, write_keys

JPEG = {"Content-Type": "image/jpeg"}
GRPC_STATUS = {200: grpc.StatusCode.OK, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        (None, "/livez", 200),
        (None, "/readyz", 200),
        (None, "/v1/index", 401),
        (None, "/v1/openapi.json", 401),
        (None, "/metrics", 401),
        ("app", "/v1/index", 200),
        ("app", "/v1/surrogates/0", 200),
        ("app", "/v1/openapi.json", 200),
        ("app", "/metrics", 403),
        ("scraper", "/metrics", 200),
        ("scraper", "/v1/index", 403),
        ("operator", "/metrics", 200),
    ],
)
def test_key_opens_what_it_is_for(secured, key, path, status):
    with secured.http(key) as client:
        answer = client.get(path)
    assert answer.status_code == status
    if status >= 400:
        assert set(answer.json()) == {"error", "message"}
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("app", 403), ("operator", 200)])
def test_inspecting_a_photo_needs_its_scope(secured, astronaut_jpeg, key, status):
    with secured.http(key) as client:
        assert client.post("/v1/inspect", content=astronaut_jpeg, headers=JPEG).status_code == status


@pytest.mark.parametrize("path", ["/v1/anonymize", "/v1/anonymize:batch"])
def test_naming_a_person_needs_the_scope_that_tells_who_is_enrolled(secured, astronaut_jpeg, path):
    files = {"photo": ("a.jpg", astronaut_jpeg)}
    for person in ("nobody", "person-0000"):  # the refusal must not tell one from the other
        with secured.http("app") as client:
            answer = client.post(path, params={"identity": person}, files=files)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    with secured.http("operator") as client:
        answer = client.post(path, params={"identity": "nobody"}, files=files)
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_identity")


def test_key_is_taken_from_either_header(secured):
    with secured.http() as client:
        assert client.get("/v1/index", headers={"X-API-Key": secured.keys["app"]}).status_code == 200
        assert client.get("/v1/index", headers={"Authorization": f"Basic {secured.keys['app']}"}).status_code == 401
        assert client.get(f"/v1/index?api_key={secured.keys['app']}").status_code == 401


def test_nothing_of_the_body_is_waited_for_from_a_caller_who_is_not_let_in(secured):
    """The answer is there before the body is sent; a service that read the body first would say nothing."""
    head = b"POST /v1/anonymize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    context = secured.authority.context(secured.client)
    with (
        socket.create_connection(("127.0.0.1", secured.service.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_key_that_asks_too_often_is_told_when_to_come_back(secured):
    with secured.http("slow") as client:
        answers = [client.get("/v1/index") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["error"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
    with secured.http("app") as client:
        assert client.get("/v1/index").status_code == 200


def test_photos_of_a_batch_count_one_by_one(secured):
    files = [("photo", (f"{number}.txt", b"no photo")) for number in range(5)]
    with secured.http("slow-batches") as client:
        answer = client.post("/v1/anonymize:batch", files=files)
    outcomes = [item["error"]["error"] for item in answer.json()["items"]]
    assert outcomes == ["unsupported_media_type"] * 3 + ["rate_limited"] * 2


def test_added_key_is_let_in_and_a_removed_one_is_not_without_a_restart(secured):
    path, token = secured.service.settings.api_keys, new_token()
    before = read_keys(path)
    fresh = ApiKey(name="fresh", sha256=digest(token), scopes=("anonymize",))

    def status() -> int:
        with secured.http() as client:
            return client.get("/v1/index", headers={"X-API-Key": token}).status_code

    def becomes(wanted: int) -> bool:
        end = time.monotonic() + 20
        while (found := status()) != wanted and time.monotonic() < end:
            time.sleep(0.1)
        return found == wanted

    assert status() == 401
    write_keys(path, KeyFile(keys=(*before.keys, fresh)))
    assert becomes(200)
    path.write_text("{")  # broken: the keys stay
    with secured.http("app") as client:
        assert client.get("/v1/index").status_code == 200
    write_keys(path, before)
    assert becomes(401)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("scraper", 403), ("app", 200)])
def test_grpc_has_the_same_keys(secured, key, status):
    metadata = [("x-api-key", secured.keys[key])] if key else []
    with channel(secured) as open_channel:
        call = open_channel.unary_unary("/anonfaces.v1.Anonymizer/Index").with_call
        try:
            _, done = call(b"", timeout=20, metadata=metadata)
            code = done.code()
        except grpc.RpcError as refused:
            code = refused.code()
    assert code is GRPC_STATUS[status]


def channel(secured) -> grpc.Channel:
    ca, pair = secured.authority.certificate, secured.client
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), pair.key.read_bytes(), pair.certificate.read_bytes())
    return grpc.secure_channel(f"127.0.0.1:{secured.service.grpc_port}", credentials)

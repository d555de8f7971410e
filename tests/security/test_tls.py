"""TLS and mTLS on both ports; files that cannot serve are refused before anything starts."""

import socket
import ssl
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from services.anonymizer.api import tls
from services.errors import ConfigurationError
from services.settings import Settings
from tests.security.certificates import Authority

HUNG_UP = "EOF|ALERT|reset"  # the server did; what the client itself cannot do reads otherwise


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "other-authority")


def with_files(pair, **more: object) -> Settings:
    return Settings(tls_certificate=pair.certificate, tls_key=pair.key, **more)


def test_whole_pair_is_accepted_and_gives_both_protocols_what_they_need(authority):
    settings = with_files(authority.sign("whole"), tls_client_ca=authority.certificate)
    tls.check(settings)
    block = tls.http_block(settings)
    assert (block["enabled"], block["cert_reqs"]) == (True, ssl.CERT_REQUIRED)
    assert isinstance(tls.grpc_credentials(settings), grpc.ServerCredentials)


def test_without_files_there_is_no_tls():
    tls.check(Settings())
    assert tls.http_block(Settings()) == {}
    assert tls.grpc_credentials(Settings()) is None


def test_half_a_pair_is_refused(authority):
    pair = authority.sign("half")
    halves = (
        Settings(tls_certificate=pair.certificate),
        Settings(tls_key=pair.key),
        Settings(tls_client_ca=authority.certificate),
    )
    for settings in halves:
        with pytest.raises(ConfigurationError, match="TLS needs a certificate and its key"):
            tls.check(settings)


def test_key_of_another_certificate_is_refused(authority):
    one, other = authority.sign("one"), authority.sign("other")
    with pytest.raises(ConfigurationError, match="is not the key of"):
        tls.check(Settings(tls_certificate=one.certificate, tls_key=other.key))


@pytest.mark.parametrize(("days", "says"), [(-1, "expired on")])
def test_certificate_that_is_not_valid_today_is_refused(authority, days, says):
    with pytest.raises(ConfigurationError, match=says):
        tls.check(with_files(authority.sign("old", days)))


@pytest.mark.parametrize("setting", ["tls_certificate", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), (b"MARKER", "as unencrypted PEM")])
def test_file_that_is_missing_or_something_else_is_refused_by_its_setting(authority, tmp_path, setting, content, says):
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    settings = with_files(authority.sign("some"), tls_client_ca=authority.certificate)
    with pytest.raises(ConfigurationError, match=says) as refused:
        tls.check(settings.model_copy(update={setting: path}))
    assert f"ANONFACES_{setting.upper()}" in str(refused.value)
    assert "MARKER" not in str(refused.value)


def test_encrypted_key_is_refused(authority, tmp_path):
    pair = authority.sign("plain")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "locked.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    with pytest.raises(ConfigurationError, match="unencrypted"):
        tls.check(Settings(tls_certificate=pair.certificate, tls_key=tmp_path / "locked.key"))


def test_photo_is_served_over_mtls(secured, astronaut_jpeg):
    with secured.http("app") as client:
        answer = client.post("/v1/anonymize", content=astronaut_jpeg, headers={"Content-Type": "image/jpeg"})
    assert (answer.status_code, answer.headers["x-anonfaces-faces"]) == (200, "1")


def test_client_without_a_certificate_is_refused(secured):
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.service.url}/livez", verify=secured.authority.context())


def test_client_with_a_strangers_certificate_is_refused(secured, authority):
    context = secured.authority.context(authority.sign("stranger"))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.service.url}/livez", verify=context)


def test_plain_http_is_not_spoken_on_a_tls_port(secured):
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.service.port}/livez")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("port", ["port", "grpc_port"])
def test_modern_versions_are_spoken_and_no_others(secured, port):
    assert _version(secured, port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert _version(secured, port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(OSError, match=HUNG_UP):
        _version(secured, port, ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"])
def test_ciphers_without_authenticated_encryption_are_not_spoken(secured, cipher):
    with pytest.raises(OSError, match=HUNG_UP):
        _version(secured, "port", ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")


def _version(secured, port: str, version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> str | None:
    """The version that a handshake with no other one ends with."""
    context = secured.authority.context(secured.client)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    context.set_alpn_protocols(["h2", "http/1.1"])
    address = "127.0.0.1", getattr(secured.service, port)
    with socket.create_connection(address, 10) as plain, context.wrap_socket(plain, server_hostname="localhost") as up:
        return up.version()


def _channel(secured, client) -> grpc.Channel:
    def read(path: Path) -> bytes:
        return path.read_bytes()

    pair = (read(client.key), read(client.certificate)) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(read(secured.authority.certificate), *pair)
    return grpc.secure_channel(f"127.0.0.1:{secured.service.grpc_port}", credentials)


def _index(channel: grpc.Channel, key: str | None) -> bytes:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    return channel.unary_unary("/anonfaces.v1.Anonymizer/Index")(b"", timeout=20, metadata=metadata)


def test_grpc_is_served_over_mtls_with_a_key(secured):
    with _channel(secured, secured.client) as channel:
        assert b"demo" in _index(channel, secured.keys["app"])


def test_grpc_without_a_certificate_or_without_tls_is_refused(secured):
    for channel in (_channel(secured, None), grpc.insecure_channel(f"127.0.0.1:{secured.service.grpc_port}")):
        with channel, pytest.raises(grpc.RpcError) as refused:
            _index(channel, secured.keys["app"])
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

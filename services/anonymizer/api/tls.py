"""TLS for both ports, with client certificates if the settings name who signs them. What cannot work is refused."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from services.errors import ConfigurationError
from services.settings import Settings

T = TypeVar("T")
# TLS 1.3's own, and of TLS 1.2 those with forward secrecy and authenticated encryption. Older versions are not spoken.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def http_block(settings: Settings) -> dict[str, object]:
    """BentoML's `ssl` settings; empty if there is no TLS."""
    if settings.tls_certificate is None:
        return {}
    block: dict[str, object] = {
        "enabled": True,
        "certfile": str(settings.tls_certificate),
        "keyfile": str(settings.tls_key),
        "version": int(ssl.PROTOCOL_TLS_SERVER),
        "ciphers": CIPHERS,
    }
    if settings.tls_client_ca is not None:
        block |= {"ca_certs": str(settings.tls_client_ca), "cert_reqs": int(ssl.CERT_REQUIRED)}
    return block


def grpc_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """The same for a gRPC server; None if there is no TLS.

    Raises:
        ConfigurationError: as `check` does.
    """
    check(settings)
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    pair = _read(settings.tls_key, "ANONFACES_TLS_KEY"), _read(settings.tls_certificate, "ANONFACES_TLS_CERTIFICATE")
    client_ca = settings.tls_client_ca and _read(settings.tls_client_ca, "ANONFACES_TLS_CLIENT_CA")
    return grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)


def check(settings: Settings) -> None:
    """Whether the files of the settings can serve.

    Raises:
        ConfigurationError: one is missing, cannot be read, is not what it should be, or is not valid today; or the key
            is not the certificate's.
    """
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None:
        if certificate is not key or client_ca is not None:
            raise ConfigurationError(
                "TLS needs a certificate and its key: set ANONFACES_TLS_CERTIFICATE and ANONFACES_TLS_KEY, or neither "
                "of them nor ANONFACES_TLS_CLIENT_CA"
            )
        return
    ours = _certificates(certificate, "ANONFACES_TLS_CERTIFICATE")[0]
    _require_valid_today(ours, certificate)
    private = _parse(key, "ANONFACES_TLS_KEY", lambda data: serialization.load_pem_private_key(data, None), "key")
    if private.public_key() != ours.public_key():
        raise ConfigurationError(f"{key} is not the key of the certificate {certificate}")
    if client_ca is not None:
        for authority in _certificates(client_ca, "ANONFACES_TLS_CLIENT_CA"):
            _require_valid_today(authority, client_ca)


def _certificates(path: Path, setting: str) -> list[x509.Certificate]:
    return _parse(path, setting, x509.load_pem_x509_certificates, "certificate")


def _parse(path: Path, setting: str, parse: Callable[[bytes], T], what: str) -> T:
    data = _read(path, setting)
    try:
        return parse(data)
    except (ValueError, TypeError):  # TypeError: it is encrypted. The text may quote the file
        raise ConfigurationError(f"{path} holds no {what} as unencrypted PEM ({setting})") from None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as closed:
        raise ConfigurationError(f"{path} cannot be read: {closed.strerror} ({setting})") from closed


def _require_valid_today(certificate: x509.Certificate, path: Path) -> None:
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise ConfigurationError(f"the certificate {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        raise ConfigurationError(f"the certificate {path} is not valid before {certificate.not_valid_before_utc}")

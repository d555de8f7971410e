"""Where the service is, and how to get there: the URL, the API key, the certificates."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import httpx

from services.errors import ConfigurationError

File = Path | str | None
DEFAULT_URL = "http://127.0.0.1:8080"
API_KEY = "ANONFACES_API_KEY"  # of a client; the service's own settings hold no key
KEY_HEADER = "x-api-key"  # not Authorization, which a proxy in front of the service may want
SCHEMES = ("http", "https", "grpc", "grpcs")
CONNECT_S = 5.0
CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


@dataclass(frozen=True)
class Place:
    """A service as a client reaches it.

    Raises:
        ConfigurationError: the URL, the key or a file cannot be used.
    """

    url: httpx.URL
    api_key: str | None = field(default=None, repr=False)
    ca: Path | None = None  # PEM certificates to trust; None: those of the system, or of certifi
    certificate: Path | None = None  # PEM certificate of this client
    key: Path | None = None  # PEM key of that certificate

    @staticmethod
    def of(url: str, api_key: str | None, ca: File, certificate: File, key: File) -> "Place":
        """Checks all of it. No key given: the environment's, ANONFACES_API_KEY."""
        like = f"give one like {DEFAULT_URL} or grpc://127.0.0.1:8081"
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as broken:
            raise ConfigurationError(f"{url!r} is not a URL ({broken}); {like}") from None
        if parsed.scheme not in SCHEMES or not parsed.host:
            raise ConfigurationError(f"{url!r} is not a URL of {', '.join(SCHEMES)}; {like}")
        if parsed.scheme.startswith("grpc") and (parsed.port is None or parsed.path.strip("/")):
            raise ConfigurationError(f"{url!r} must be a host and a port for gRPC; {like}")
        api_key = (api_key if api_key is not None else os.environ.get(API_KEY, "")).strip() or None
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ConfigurationError(f"the API key holds characters that no key has; check {API_KEY}")
        if (certificate is None) != (key is None):
            raise ConfigurationError("a client certificate needs its key, and a key its certificate: give both")
        if (ca or certificate) and parsed.scheme not in ("https", "grpcs"):
            raise ConfigurationError(f"certificates are for https and grpcs; {url!r} is neither")
        return Place(parsed, api_key, *(None if file is None else Path(file) for file in (ca, certificate, key)))

    @property
    def is_rpc(self) -> bool:
        return self.url.scheme.startswith("grpc")

    @property
    def shown(self) -> str:
        """The URL for messages: a password stays out of them."""
        return str(self.url.copy_with(userinfo=b"")).rstrip("/")

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request, as headers or metadata."""
        return {KEY_HEADER: self.api_key} if self.api_key else {}

    @property
    def is_loopback(self) -> bool:
        try:
            return self.url.host == "localhost" or ip_address(self.url.host).is_loopback
        except ValueError:
            return False

    def for_httpx(self, timeout_s: float) -> dict[str, Any]:
        """The arguments of an httpx client. Raises ConfigurationError."""
        return {
            "base_url": self.url,
            "headers": dict(self.headers),
            "timeout": httpx.Timeout(timeout_s, connect=CONNECT_S, pool=None),
            "trust_env": not self.is_loopback,  # a photo meant for this machine goes through no proxy
            "verify": self._ssl_context(),
        }

    def channel(self, kind: Any) -> Any:
        """A gRPC channel. Raises ConfigurationError.

        Args:
            kind: the module that makes it, grpc or grpc.aio.
        """
        target = self.url.netloc.decode("ascii").rpartition("@")[2]
        options = [*CHANNEL, ("grpc.enable_http_proxy", int(not self.is_loopback))]
        if self.url.scheme == "grpc":
            return kind.insecure_channel(target, options=options)
        files = [_read(path) for path in (self.ca, self.key, self.certificate)]
        return kind.secure_channel(target, grpc.ssl_channel_credentials(*files), options=options)

    def _ssl_context(self) -> ssl.SSLContext | bool:
        if self.ca is None and self.certificate is None:
            return True
        try:
            context = httpx.create_ssl_context() if self.ca is None else ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as broken:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise ConfigurationError(f"one of {files} cannot be used ({broken.strerror or broken})") from None
        return context


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as closed:
        raise ConfigurationError(f"{path} cannot be read: {closed.strerror}") from None

"""A service with API keys and mTLS, beside the session's own; both ask the same Triton."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local.stack import LocalStack, Service
from services.api_keys import ApiKey, KeyFile, digest, new_token, write_keys
from services.settings import Settings
from tests.security.certificates import Authority, Pair

SLOW = 0.001  # requests a second: none comes back while tests run


@dataclass(frozen=True)
class Secured:
    """A running service, its keys by name, and who it trusts."""

    service: Service
    keys: dict[str, str]
    authority: Authority
    client: Pair
    temporary: Path  # its TMPDIR

    def http(self, key: str | None = None) -> httpx.Client:
        """A client with a certificate, and with the key of a name if there is one."""
        headers = {} if key is None else {"Authorization": f"Bearer {self.keys[key]}"}
        context = self.authority.context(self.client)
        return httpx.Client(base_url=self.service.url, verify=context, headers=headers, timeout=120)


@pytest.fixture(scope="session")
def secured(settings: Settings, stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    temporary = folder / "tmp"
    temporary.mkdir()
    authority = Authority(folder, "authority")
    server, client = authority.sign("server"), authority.sign("client")
    scopes = {
        "app": ("anonymize",),
        "operator": ("anonymize", "inspect", "metrics"),
        "scraper": ("metrics",),
        "slow": ("anonymize",),
        "slow-batches": ("anonymize",),
    }
    keys = {name: new_token() for name in scopes}
    entries = [
        ApiKey(name=name, sha256=digest(keys[name]), scopes=scope, rate=SLOW if "slow" in name else None, burst=3)
        for name, scope in scopes.items()
    ]
    write_keys(folder / "keys.json", KeyFile(keys=tuple(entries)))
    files = {
        "tls_certificate": server.certificate,
        "tls_key": server.key,
        "tls_client_ca": authority.certificate,
        "api_keys": folder / "keys.json",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        service = Service(
            settings.model_copy(update=files), stack.triton.url, folder, trust=authority.context(client)
        ).start()
    try:
        yield Secured(service, keys, authority, client, temporary)
    finally:
        service.stop()

"""The file of API keys: who may ask for what, and how often. It holds hashes; a key is shown once, when it is made.

A key is 256 random bits, which nobody guesses; so one round of SHA-256 is enough, and a stolen file gives no key away.
"""

import hashlib
import hmac
import os
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.errors import ConfigurationError
from services.files import fsync_directory, write_durably

Scope = Literal["anonymize", "inspect", "metrics"]
PREFIX = "anonfaces_"  # tells scanners of leaked secrets, and people, what they have found
KEY_BYTES = 32
LARGEST_FILE = 1 << 20  # bytes


class ApiKey(BaseModel):
    """One key of the file. Several may have one name, while the old one is being replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    rate: float | None = Field(None, gt=0, description="requests a second, photos of batches and streams one by one")
    burst: int = Field(1, ge=1, description="requests that may come at once")
    expires: AwareDatetime | None = None

    def is_expired(self) -> bool:
        return self.expires is not None and self.expires <= datetime.now(UTC)


class KeyFile(BaseModel):
    """What the file holds, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...] = ()

    def find(self, token: str) -> ApiKey | None:
        """The key that a token is, expired or not. Takes the same time whichever it is, and if it is none."""
        presented = digest(token)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, presented):
                found = key
        return found


def new_token() -> str:
    """A key that nobody has yet."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest(token: str) -> str:
    """What the file holds of a key: its SHA-256, in hex."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """Reads the file of keys.

    Raises:
        ConfigurationError: it is not there, cannot be read, others may write to it, or it is not what it should be.
    """
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(f"the API keys {path} are no regular file; name one with ANONFACES_API_KEYS")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigurationError(
                    f"others than its owner may write to the API keys {path}, and so make keys; chmod go-w {path}"
                )
            data = stream.read(LARGEST_FILE + 1)
    except OSError as closed:
        raise ConfigurationError(
            f"the API keys {path} cannot be read ({closed.strerror}); make them with `anonfaces keys add`, or name the "
            "file with ANONFACES_API_KEYS"
        ) from closed
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(f"the API keys {path} are larger than {LARGEST_FILE:,} bytes")
    try:
        return KeyFile.model_validate_json(data)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]  # what it holds is nobody's business
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigurationError(f"the API keys {path} are not valid: {place}: {first['msg']}") from None


def write_keys(path: Path, keys: KeyFile) -> None:
    """Puts a file of keys in the place of the one that is there, at once, for its owner only."""
    fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        write_durably(fresh, keys.model_dump_json(indent=2, exclude_none=True).encode() + b"\n", mode=0o600)
        fresh.replace(path)
        fsync_directory(path.parent)
    finally:
        fresh.unlink(missing_ok=True)

"""Encryption of what must not be read by whoever finds the file: keys, sealed bytes, and names told apart unread.

Bytes are sealed in chunks with AES-256-GCM under a key of their own (HKDF-SHA256 from the operator's key and a random
salt). A chunk's nonce is its number and whether it is the last, so that none can be dropped, moved or repeated:
the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar (CRYPTO 2015).
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.errors import ConfigurationError, IndexRefused
from services.files import fsync_directory, write_durably

MAGIC = b"ANONFACES-SEALED-1\n"
SALT, TAG, CHUNK = 16, 16, 16 << 20
KEY_BYTES = 32


def make_key(path: Path) -> bytes:
    """Writes a new key, readable by its owner only, and returns it.

    Raises:
        FileExistsError: there is one already.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(KEY_BYTES)
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        write_durably(partial, key.hex().encode() + b"\n", mode=0o600)
        os.link(partial, path)  # unlike a rename, never over a key that is there
    finally:
        partial.unlink(missing_ok=True)
    fsync_directory(path.parent)
    return key


def read_key(path: Path) -> bytes:
    """Reads a key: 64 hexadecimal digits.

    Raises:
        ConfigurationError: there is none, or it is something else, or others may read it.
    """
    try:
        text = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as missing:
        reason = missing.strerror if isinstance(missing, OSError) else "not text"
        raise ConfigurationError(
            f"the key of the enrolment map cannot be read: {path} ({reason}); restore it, or say where it is with "
            "ANONFACES_ENROLMENT_KEY"
        ) from missing
    if mode & 0o007:
        raise ConfigurationError(f"everybody on this machine may read the key {path}; run `chmod 600 {path}`")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path} holds no key: {KEY_BYTES * 2} hexadecimal digits are one")
    return key


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=KEY_BYTES, salt=salt, info=b"anonfaces " + purpose).derive(key)


def _nonces(chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        yield number.to_bytes(11, "big") + bytes([number == chunks - 1])


def seal(data: bytes, key: bytes, context: str) -> bytes:
    """Encrypts bytes so that they open with that key in that context only.

    Args:
        context: what the bytes belong to, such as the version of an index; not secret, and not kept with them.
    """
    salt = os.urandom(SALT)
    cipher = AESGCM(_derive(key, salt, b"seal"))
    chunks = max(1, -(-len(data) // CHUNK))
    view = memoryview(data)
    parts = [MAGIC, salt]
    for number, nonce in enumerate(_nonces(chunks)):
        parts.append(cipher.encrypt(nonce, view[number * CHUNK : (number + 1) * CHUNK], context.encode()))
    return b"".join(parts)


def unseal(sealed: bytes, key: bytes, context: str) -> bytes:
    """What `seal` encrypted.

    Raises:
        IndexRefused: another key or context, or a byte was changed, dropped or added.
    """
    start = len(MAGIC) + SALT
    if sealed[: len(MAGIC)] != MAGIC or len(sealed) < start + TAG:
        raise IndexRefused("the enrolment map is no sealed file of this version of AnonFACES, or was cut short")
    cipher = AESGCM(_derive(key, sealed[len(MAGIC) : start], b"seal"))
    chunks = -(-(len(sealed) - start) // (CHUNK + TAG))
    view = memoryview(sealed)[start:]
    try:
        parts = [
            cipher.decrypt(nonce, view[number * (CHUNK + TAG) : (number + 1) * (CHUNK + TAG)], context.encode())
            for number, nonce in enumerate(_nonces(chunks))
        ]
    except InvalidTag:
        raise IndexRefused(
            "the enrolment map does not open: another key, the map of another version, or a changed file"
        ) from None
    return b"".join(parts)


def tags(names: Iterable[str], key: bytes) -> list[str]:
    """Tells whether names were seen before, to who holds the key, without keeping them: HMAC-SHA256 each, in hex."""
    secret = _derive(key, b"", b"tag")
    return [hmac.new(secret, name.encode(), hashlib.sha256).hexdigest() for name in names]

"""Mutations that know the file formats: a file is taken apart, some parts are changed, and it is put together again.

What is put together has right lengths and checksums, unless these were what was changed: else nearly every mutant would
be refused by its first check, and nothing behind it would be tried.
"""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

NUMBERS = (0, 1, 2, 7, 16, 255, 256, 4095, 6000, 16_383, 16_384, 32_767, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1)


@dataclass(frozen=True)
class Part:
    """A marker segment of a JPEG, a chunk of a PNG or of a RIFF file, or bytes that are none (kind is empty)."""

    kind: bytes
    body: bytes
    length: int | None = None  # what the file says of its length; None: the truth
    checksum: int | None = None  # likewise


Parts = list[Part]


# --- files to parts and back ------------------------------------------------------------------------------------
def take_apart(data: bytes) -> Parts:
    """The parts of a valid JPEG, PNG or WebP."""
    if data.startswith(b"\x89PNG"):
        return _png_parts(data)
    return _riff_parts(data) if data.startswith(b"RIFF") else _jpeg_parts(data)


def put_together(parts: Parts) -> bytes:
    """A file of these parts, in the format of the first."""
    kind = parts[0].kind if parts else b""
    if kind == b"PNG":
        return b"\x89PNG\r\n\x1a\n" + b"".join(map(_png_chunk, parts[1:]))
    if kind == b"RIFF":
        body = b"WEBP" + b"".join(map(_riff_chunk, parts[1:]))
        size = len(body) if parts[0].length is None else parts[0].length
        return b"RIFF" + struct.pack("<I", size & 0xFFFFFFFF) + body
    return b"".join(map(_jpeg_segment, parts))


def _jpeg_parts(data: bytes) -> Parts:
    parts, at = [Part(b"\xff\xd8", b"")], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:  # behind the end is an MPO's next view
        marker, length = data[at : at + 2], struct.unpack(">H", data[at + 2 : at + 4])[0]
        parts.append(Part(marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == b"\xff\xda":  # then entropy-coded bytes, up to a marker that is no stuffing and no restart
            end = at
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            parts.append(Part(b"", data[at:end]))
            at = end
    return [*parts, Part(b"", data[at:])]


def _jpeg_segment(part: Part) -> bytes:
    if not part.kind or part.kind in (b"\xff\xd8", b"\xff\xd9"):
        return part.kind + part.body
    length = len(part.body) + 2 if part.length is None else part.length
    return part.kind + struct.pack(">H", length & 0xFFFF) + part.body


def _png_parts(data: bytes) -> Parts:
    parts, at = [Part(b"PNG", b"")], 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def _png_chunk(part: Part) -> bytes:
    if len(part.kind) != 4:
        return part.kind + part.body
    length = len(part.body) if part.length is None else part.length
    checksum = zlib.crc32(part.kind + part.body) if part.checksum is None else part.checksum
    return struct.pack(">I", length & 0xFFFFFFFF) + part.kind + part.body + struct.pack(">I", checksum & 0xFFFFFFFF)


def _riff_parts(data: bytes) -> Parts:
    parts, at = [Part(b"RIFF", b"")], 12
    while at + 8 <= len(data):
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        parts.append(Part(data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def _riff_chunk(part: Part) -> bytes:
    if len(part.kind) != 4:
        return part.kind + part.body
    length = len(part.body) if part.length is None else part.length
    return part.kind + struct.pack("<I", length & 0xFFFFFFFF) + part.body + b"\0" * (len(part.body) % 2)


# --- mutations of parts -----------------------------------------------------------------------------------------
def _some(rng: random.Random, parts: Parts) -> int:
    return rng.randrange(len(parts))


def flip(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """Some bytes of a part become others."""
    at = _some(rng, parts)
    body = bytearray(parts[at].body)
    for _unused in range(rng.choice((1, 1, 2, 4, 16))):
        if body:
            body[rng.randrange(len(body))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return [*parts[:at], replace(parts[at], body=bytes(body)), *parts[at + 1 :]]


def number(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """Two, three or four bytes of a part become a number that is at some limit: sizes, counts, offsets."""
    at = _some(rng, parts)
    body = bytearray(parts[at].body)
    width = rng.choice((2, 3, 4))
    if len(body) >= width:
        value = rng.choice(NUMBERS) & (256**width - 1)
        place = rng.randrange(min(len(body) - width + 1, rng.choice((16, 10**6))))
        body[place : place + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return [*parts[:at], replace(parts[at], body=bytes(body)), *parts[at + 1 :]]


def drop(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """A part is missing."""
    at = _some(rng, parts)
    return parts[:at] + parts[at + 1 :] if len(parts) > 1 else parts


def double(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """A part is there several times."""
    at = _some(rng, parts)
    return parts[:at] + [parts[at]] * rng.choice((2, 2, 3, 50)) + parts[at + 1 :]


def swap(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """Two parts have changed places."""
    a, b = _some(rng, parts), _some(rng, parts)
    mixed = list(parts)
    mixed[a], mixed[b] = mixed[b], mixed[a]
    return mixed


def splice(rng: random.Random, parts: Parts, others: Parts) -> Parts:
    """A part of another file is put in, or takes a part's place."""
    at = _some(rng, parts)
    return [*parts[:at], rng.choice(others), *parts[at + rng.randrange(2) :]]


def cut(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """A part is shorter than it was, and says so or not."""
    at = _some(rng, parts)
    body = parts[at].body[: rng.randrange(len(parts[at].body) + 1)]
    length = rng.choice((None, len(parts[at].body)))
    return [*parts[:at], replace(parts[at], body=body, length=length), *parts[at + 1 :]]


def lie(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """A part says another length than it has, or another checksum."""
    at = _some(rng, parts)
    wrong = {rng.choice(("length", "length", "checksum")): rng.choice(NUMBERS)}
    return [*parts[:at], replace(parts[at], **wrong), *parts[at + 1 :]]


def grow(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """A part is longer than it was, by a run of one byte or by noise."""
    at = _some(rng, parts)
    size = rng.choice((1, 64, 4096, 100_000))
    more = rng.choice((bytes([rng.randrange(256)]) * size, rng.randbytes(size)))
    place = rng.randrange(len(parts[at].body) + 1)
    body = parts[at].body[:place] + more + parts[at].body[place:]
    return [*parts[:at], replace(parts[at], body=body), *parts[at + 1 :]]


def inflate(rng: random.Random, parts: Parts, _: Parts) -> Parts:
    """What is compressed in a PNG's part is changed and compressed again."""
    at = rng.choice([i for i, part in enumerate(parts) if part.kind == b"IDAT"] or [0])
    try:
        rows = bytearray(zlib.decompress(parts[at].body))
    except zlib.error:
        return parts
    for _unused in range(rng.choice((1, 8, 64))):
        rows[rng.randrange(len(rows))] = rng.randrange(256)
    body = zlib.compress(bytes(rows[: rng.choice((len(rows), rng.randrange(len(rows) + 1)))]) * rng.choice((1, 1, 200)))
    return [*parts[:at], replace(parts[at], body=body), *parts[at + 1 :]]


ON_PARTS: tuple[Callable[[random.Random, Parts, Parts], Parts], ...] = (
    flip, flip, flip, number, number, drop, double, swap, splice, splice, cut, lie, grow, inflate,
)  # fmt: skip


# --- mutations of whole files -----------------------------------------------------------------------------------
def _raw(rng: random.Random, data: bytes) -> bytes:
    """What needs no knowledge of the format: bytes changed anywhere, the end missing, noise, something behind."""
    what = rng.randrange(5)
    if what == 0:
        return data[: rng.randrange(len(data) + 1)]
    if what == 1:
        return data + rng.choice((data, rng.randbytes(50), b"\0" * 1000))
    if what == 2:
        at, size = rng.randrange(len(data) + 1), rng.randrange(64)
        return data[:at] + rng.randbytes(size) + data[at + size :]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        if changed:
            at = rng.randrange(len(changed))
            changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutant(files: list[bytes], number: int, seed: int = 0) -> bytes:
    """The mutant of that number: the same bytes for the same files, on every machine.

    Args:
        files: valid files; mutant `number` is made of file `number % len(files)`.
    """
    rng = random.Random(f"{seed}/{number}")
    data = files[number % len(files)]
    if rng.random() < 0.2:
        return _raw(rng, data)
    parts, others = take_apart(data), take_apart(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        parts = rng.choice(ON_PARTS)(rng, parts, others) or parts
    data = put_together(parts)
    return _raw(rng, data) if data and rng.random() < 0.05 else data

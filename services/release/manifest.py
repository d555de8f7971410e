"""journal -> manifest: what is published of a release besides its photos. No original's hash or size, no person's name.

Whoever holds a photo could tell by its hash, or by its exact size, that it was an original of this release, and so who
is in it; and by the distance of a face to its original, whether somebody's face was that original. These stay in the
private journal. The crowd of a face is no secret: its surrogate is in the photo.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.errors import ReleaseError
from services.release.collection import Refusal
from services.release.records import Record
from services.release.terms import FORMAT, MANIFEST, ROWS
from services.release.write import write_at_once

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("refused", pa.string()),  # a code; null: released
        ("sha256", pa.string()),  # of the output
        ("bytes", pa.int64()),  # of the output
        ("faces", pa.int32()),
        ("enrolled", pa.int32()),
        ("strangers", pa.int32()),
        ("masked", pa.int32()),
        ("crowds", pa.list_(pa.int32())),  # of the faces that were replaced
    ]
)
ROWS_AT_ONCE = 100_000


def write_manifest(out: Path, records: Iterable[Record], refused: Iterable[Refusal], header: dict[str, Any]) -> None:
    """Writes the rows, and then the header that hashes them. A release has a header when it is whole.

    Raises:
        ReleaseError: no room, or no permission.
    """
    rows = [_released(record) if record.released else _refused(record.path, record.code) for record in records]
    rows += [_refused(one.path, one.code) for one in refused]
    rows.sort(key=lambda row: str(row["path"]))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, max(1, len(rows)), ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_pylist(rows[start : start + ROWS_AT_ONCE], SCHEMA))
    data = sink.getvalue().to_pybytes()
    write_at_once(out / ROWS, data)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"format": FORMAT, "created": made, **header, "files": {ROWS: hashlib.sha256(data).hexdigest()}}
    write_at_once(out / MANIFEST, json.dumps(told, indent=1).encode() + b"\n")


def read_manifest(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the rows of a manifest.

    Raises:
        ReleaseError: there is none, or it is not whole.
    """
    try:
        header = json.loads((out / MANIFEST).read_text())
        data = (out / ROWS).read_bytes()
        if header["format"] != FORMAT:
            raise ReleaseError(f"{out} is of format {header['format']!r}; this version reads {FORMAT}")
        if hashlib.sha256(data).hexdigest() != header["files"][ROWS]:
            raise ReleaseError(f"{out / ROWS} was changed: it is not the file that {MANIFEST} names")
        return header, pq.read_table(pa.BufferReader(data), schema=SCHEMA).to_pylist()
    except FileNotFoundError as missing:
        raise ReleaseError(
            f"{out} is no whole release: {Path(missing.filename).name} is not there; run `anonfaces release` to its end"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as damaged:
        raise ReleaseError(f"the manifest of {out} cannot be read ({damaged})") from damaged


def _released(record: Record) -> dict[str, Any]:
    return {
        "path": record.path,
        "sha256": record.output_sha256 or None,
        "bytes": record.output_bytes if record.output_sha256 else None,
        "faces": len(record.faces),
        "enrolled": record.count("enrolled"),
        "strangers": record.count("stranger"),
        "masked": record.count("masked"),
        "crowds": record.crowds,
    }


def _refused(path: str, code: str) -> dict[str, Any]:
    return {"path": path, "refused": code}

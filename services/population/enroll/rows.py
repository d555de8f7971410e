"""One row a photo, whatever became of it: the columns of a population's Parquet files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

ENROLLED = "enrolled"  # it has an embedding, and counts for its identity
BAD = "bad"  # it could not be read
FACELESS = "faceless"
UNFIT = "unfit"  # its face is too small, uncertain, or turned away
AMBIGUOUS = "ambiguous"  # several faces, and no telling which one is meant
NO_IDENTITY = "no_identity"  # nobody said whose it is
STATUSES = (ENROLLED, BAD, FACELESS, UNFIT, AMBIGUOUS, NO_IDENTITY)

QUALITY = ("face_px", "blur", "yaw", "pitch", "roll", "brightness", "clipped", "score")
KEY = ("source", "photo")  # what a photo is known by; of several rows of one photo the newest counts
VECTORS = ("embedding", "latent")
NAMES = ("source", "identity", "status", "reason", "several", "limits")  # few distinct values


@dataclass(frozen=True)
class Row:
    """What became of one photo. Numbers that were not measured are None."""

    source: str  # the folder or file it came from, absolute
    photo: str  # its path below the folder, or the name of an array's row
    status: str  # one of STATUSES
    identity: str | None = None
    bytes: int = -1  # of the file when it was read; -1: there was none
    mtime_ns: int = -1
    reason: str = ""  # why it is not enrolled
    faces: int = 0  # that it shows for certain
    several: str = ""  # what was to be done about several faces
    limits: str = ""  # from where on a face counted
    box: Sequence[float] | None = None  # of its face: x0, y0, x1, y1 in pixels
    quality: Mapping[str, float] = field(default_factory=dict)  # names of QUALITY
    group_margin: float | None = None  # how clearly its identity stands apart, -1..1, where faces were grouped
    given: Mapping[str, str] = field(default_factory=dict)  # attributes that somebody stated
    estimated: Mapping[str, str] = field(default_factory=dict)  # attributes as models see them
    embedding: np.ndarray | None = None  # float32 [d]
    latent: np.ndarray | None = None  # float32 [l], flat


def schema_of(dims: int, latent_dims: int) -> pa.Schema:
    """The columns. A vector that is not there is one of NaN, since Parquet's lists of one length cannot be null.

    Args:
        dims, latent_dims: lengths of embeddings and latents; 0: no latents are known, and they have no column.
    """
    told = pa.map_(pa.string(), pa.string())
    columns = [(name, pa.string()) for name in ("source", "photo", "identity", "status", "reason")]
    columns += [("bytes", pa.int64()), ("mtime_ns", pa.int64()), ("faces", pa.int32())]
    columns += [("several", pa.string()), ("limits", pa.string()), ("box", pa.list_(pa.float32()))]
    columns += [(name, pa.float32()) for name in (*QUALITY, "group_margin")]
    columns += [("given", told), ("estimated", told), ("embedding", pa.list_(pa.float32(), dims))]
    if latent_dims:
        columns.append(("latent", pa.list_(pa.float32(), latent_dims)))
    return pa.schema(columns)


def table_of(rows: Sequence[Row], dims: int, latent_dims: int) -> pa.Table:
    """Rows as a table of `schema_of(dims, latent_dims)`."""
    schema = schema_of(dims, latent_dims)
    arrays = []
    for column in schema:
        if column.name in VECTORS:
            length = column.type.list_size
            found = [getattr(row, column.name) for row in rows]
            arrays.append(vectors([np.full(length, np.nan) if value is None else value for value in found], length))
        elif column.name in QUALITY:
            arrays.append(pa.array([row.quality.get(column.name) for row in rows], column.type))
        else:
            values = [getattr(row, column.name) for row in rows]
            values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
            arrays.append(pa.array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def vectors(values: Sequence[np.ndarray] | np.ndarray, length: int) -> pa.FixedSizeListArray:
    """Vectors of one length as a column."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), length)


def as_array(column: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors as float32 [n, length]."""
    whole = column.combine_chunks()
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(len(whole), column.type.list_size)

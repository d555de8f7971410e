"""Embeddings and latents that exist already -> rows, one a photo or person."""

import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.arrays import read_arrays, read_embeddings
from services.errors import EnrolmentError, LatentsRefused, PartitionError
from services.population.enroll.rows import ENROLLED, Row, as_array, table_of
from services.population.enroll.sources import Told, by_photo, clean, name_of, read_identities, text_of
from services.population.latents_file import LARGEST, read_latents

NAMING = ("identity", "names", "image")  # arrays, or columns, that say whose a row is: the first that is there
PHOTO = ("names", "image")  # and which photo it is of
SHARD_ROWS = 4096


@dataclass(frozen=True)
class Arrays:
    """n rows that were made elsewhere, in their order."""

    source: str  # the file, absolute
    told: list[Told]  # name, identity and attributes of each
    embeddings: np.ndarray  # float32 [n, d]
    latents: np.ndarray | None  # float32 [n, l], flat
    generator: str | None  # what the file of latents says they are of

    @property
    def latent_dims(self) -> int:
        """Floats of a latent; 0: there are none."""
        return 0 if self.latents is None else int(self.latents.shape[1])


def read_rows(embeddings: Path, latents: Path | None, identities: Path | None) -> Arrays:
    """Reads embeddings, and latents and identities if they are there.

    Identities come from the file of identities; else from `identity`, `names` or `image` beside the embeddings, where
    the path of a photo stands for its first folder; else each row is a person called by the file and a number.

    Args:
        embeddings: `.npz` with the array `embedding`, `.npy`, or `.parquet` with the column `embedding`.
        latents: a file of `anonfaces photos invert`, or `.npy` [n, l].
        identities: CSV or Parquet with the column `identity`; with `photo`, rows are matched by it where the
            embeddings have names, else they are in the embeddings' order.

    Raises:
        EnrolmentError: a file is damaged, values are not finite or all the same, or the files do not fit together.
    """
    values, said = _read_named(embeddings)
    _check(values, embeddings)
    source = name_of(embeddings.resolve())
    told = _told(said, identities, len(values), embeddings, source)
    seen: set[str] = set()
    for row in told:
        if row.photo in seen:
            raise EnrolmentError(f"{embeddings} has two rows called {row.photo!r}; give each its own name")
        seen.add(row.photo)
    found, generator = _latents(latents, _photo_names(said), len(values)) if latents else (None, None)
    return Arrays(source, told, values.astype(np.float32), found, generator)


def as_tables(arrays: Arrays, numbers: Sequence[int], file: os.stat_result) -> Iterator[pa.Table]:
    """Some rows of arrays as the population keeps them, a few thousand at a time.

    Args:
        numbers: which rows.
        file: size and time of the file they come from.
    """
    latents = arrays.latents
    dims, latent_dims = arrays.embeddings.shape[1], arrays.latent_dims
    for start in range(0, len(numbers), SHARD_ROWS):
        rows = [
            Row(
                source=arrays.source,
                photo=arrays.told[number].photo,
                status=ENROLLED,
                identity=arrays.told[number].identity,
                bytes=file.st_size,
                mtime_ns=file.st_mtime_ns,
                faces=1,
                given=arrays.told[number].given,
                embedding=arrays.embeddings[number],
                latent=None if latents is None else latents[number],
            )
            for number in numbers[start : start + SHARD_ROWS]
        ]
        yield table_of(rows, dims, latent_dims)


def _read_named(path: Path) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Embeddings, and what is said of each row, by the name of the array or column."""
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        values = read_embeddings(path)
    except PartitionError as refused:
        raise EnrolmentError(str(refused)) from refused
    except BadZipFile as damaged:  # numpy takes what begins like an archive for one, whatever it is called
        raise EnrolmentError(f"{path} is no .npy file: {damaged}") from damaged
    if path.suffix == ".npy":
        return values, {}
    with np.load(path, allow_pickle=False) as archive:
        there = [name for name in NAMING if name in archive.files]
    return values, {name: _texts(_said(path, name), len(values), f"{name} of {path}") for name in there}


def _said(path: Path, name: str) -> np.ndarray:
    """An array of names. One of objects would have to be unpickled; passed over, each photo would be a person."""
    try:
        said = read_arrays(path, name)[name]
        return np.char.decode(said, "utf-8") if said.dtype.kind == "S" else said
    except ValueError as refused:
        raise EnrolmentError(
            f"`{name}` of {path} cannot be read ({refused}); save it as text: np.savez(..., {name}=list_of_names)"
        ) from refused


def _read_parquet(path: Path) -> tuple[np.ndarray, dict[str, list[str]]]:
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            if "embedding" not in there:
                raise ValueError(f"it has no column 'embedding', only {', '.join(there)}")
            twice = [name for name in ("embedding", *NAMING) if there.count(name) > 1]
            if twice:
                raise ValueError(f"it has two columns called {twice[0]!r}")
            table = file.read([name for name in ("embedding", *NAMING) if name in there])
        column = table["embedding"].combine_chunks()
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(lengths) != 1 or column.null_count:
            raise ValueError("its embeddings are not all of one length")
        values = as_array(pa.chunked_array([column.cast(pa.list_(pa.float64(), lengths[0]))]))
    except (OSError, ValueError, TypeError, pa.ArrowException) as damaged:
        raise EnrolmentError(f"{path} is no Parquet file with a column `embedding`: {damaged}") from damaged
    columns = {name: np.array(table[name].to_pylist(), object) for name in NAMING if name in there}
    return values, {name: _texts(said, len(values), f"{name} of {path}") for name, said in columns.items()}


def _texts(said: np.ndarray, rows: int, what: str) -> list[str]:
    if said.shape != (rows,):
        raise EnrolmentError(f"{what} holds {list(said.shape)} values for {rows} embeddings")
    try:
        return [text_of(value) for value in said.tolist()]
    except ValueError as refused:
        raise EnrolmentError(f"{what} cannot be read: {refused}") from refused


def _check(values: np.ndarray, path: Path) -> None:
    with np.errstate(over="ignore"):
        narrowed = values.astype(np.float32)
    broken = ~np.isfinite(narrowed).all(axis=1)
    if not len(values) or not values.shape[1]:
        raise EnrolmentError(f"{path} holds no embeddings")
    if broken.any():
        raise EnrolmentError(f"{path}: row {int(broken.argmax()) + 1} holds values that are no finite float32 numbers")
    if len(values) > 1 and (narrowed == narrowed[0]).all():
        raise EnrolmentError(f"{path}: all {len(values)} embeddings are the same; people cannot be told apart by them")


def _told(said: dict[str, list[str]], identities: Path | None, rows: int, path: Path, source: str) -> list[Told]:
    """Name, identity and attributes of each row."""
    numbers = [f"row-{number:06d}" for number in range(1, rows + 1)]
    photos = _photo_names(said) or numbers
    if identities is None:
        kind = next((name for name in NAMING if name in said), None)
        names = said[kind] if kind else _unnamed(source, numbers)
        whose = [clean(posixpath.normpath(name).split("/")[0] if name and kind in PHOTO else name) for name in names]
        if ".." in whose and kind in PHOTO:
            raise EnrolmentError(f"{path}: {names[whose.index('..')]!r} leads out of its folder; say whose it is")
        if None in whose:
            raise EnrolmentError(f"{path}: `{kind}` of row {whose.index(None) + 1} is empty; say whose it is")
        return [Told(photo, identity, {}) for photo, identity in zip(photos, whose, strict=True)]
    lines = read_identities(identities, ("identity",))
    by_name = by_photo((line for line in lines if line.photo), identities)
    if by_name and photos is not numbers:
        missing = [photo for photo in photos if photo not in by_name]
        if missing:
            raise EnrolmentError(f"{identities} does not name {len(missing)} rows of {path}, such as {missing[0]!r}")
        lines = [by_name[photo] for photo in photos]
    if len(lines) != rows:
        raise EnrolmentError(f"{identities} has {len(lines)} lines for the {rows} rows of {path}")
    if any(line.identity is None for line in lines):
        raise EnrolmentError(f"{identities} leaves an identity empty; every row of an array is somebody's")
    return [Told(photo, line.identity, line.given) for photo, line in zip(photos, lines, strict=True)]


def _unnamed(source: str, numbers: list[str]) -> list[str]:
    """Names of people of whom only the row is known: those of another file, of whatever folder, are others."""
    which = hashlib.sha256(source.encode()).hexdigest()[:12]
    return [f"{Path(source).stem}-{which}-{number}" for number in numbers]


def _photo_names(said: dict[str, list[str]]) -> list[str] | None:
    return next((said[name] for name in PHOTO if name in said), None)


def _latents(path: Path, photos: list[str] | None, rows: int) -> tuple[np.ndarray, str | None]:
    """A latent for each row, float32 [n, l], and the generator that the file names."""
    if path.suffix == ".npy":
        try:
            values = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError, BadZipFile) as damaged:
            raise EnrolmentError(f"{path} is not a whole .npy file of numbers: {damaged}") from damaged
        generator, order = None, None
    else:
        try:
            found = read_latents(path)
        except LatentsRefused as refused:
            raise EnrolmentError(str(refused)) from refused
        values, generator = found.values, found.generator
        order = _matched(found.names, photos, path) if photos else None
    if order is not None:
        values = values[order]
    if values.dtype.kind != "f" or values.ndim < 2 or len(values) != rows or not _are_latents(values):
        raise EnrolmentError(f"{path} does not hold one latent of finite numbers for each of the {rows} embeddings")
    return values.reshape(rows, -1).astype(np.float32), generator


def _are_latents(values: np.ndarray) -> bool:
    return values[0].size > 0 and bool((np.abs(values) <= LARGEST).all())


def _matched(latents: Sequence[str], wanted: Sequence[str], path: Path) -> list[int]:
    """Where the latent of each wanted name is."""
    places = {name: place for place, name in enumerate(latents)}
    missing = [name for name in wanted if name not in places]
    if missing or len(places) < len(latents):
        what = f"no latent of {len(missing)} rows, such as {missing[0]!r}" if missing else "two latents of one name"
        raise EnrolmentError(f"{path} has {what}")
    return [places[name] for name in wanted]

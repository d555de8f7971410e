"""What a release is of: bound when it begins, so that all of it is of one index version and one set of options."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from services.errors import ReleaseError
from services.files import locked
from services.release.write import PARTIAL, saying_what_to_do, write_at_once

FORMAT = "anonfaces-release-1"
TERMS, LOCK = "release.json", ".lock"
PHOTOS, SURROGATES, MANIFEST, ROWS = "photos", "surrogates", "manifest.json", "manifest.parquet"
CONTENTS = {PHOTOS, SURROGATES, MANIFEST, ROWS}  # of the folder that is published
# Settings that decide what becomes of a photo.
DECIDING = (
    "detector_precision", "detect_score", "detect_min_px", "replace_score", "replace_min_px", "identity_threshold",
    "max_faces", "max_pixels", "min_side_px", "max_side_px", "max_body_bytes", "jpeg_quality",
)  # fmt: skip

Kind = Literal["photos", "surrogates"]


@dataclass(frozen=True)
class Terms:
    """All that decides what is in a release, besides the photos."""

    kind: Kind  # photos with their faces replaced; or surrogates alone, and which photo has which
    folder: str  # of the originals
    index: str
    index_version: str
    resolution: str  # are enrolled people recognised?
    options: dict[str, Any]  # of the pipeline
    identities: str  # who says who is in the photos: "", "folders", or the hash of a table
    settings: dict[str, Any]
    format: str = FORMAT


def private_of(out: Path, private: Path | None = None) -> Path:
    """The folder of what is never published of a release: the one that was named, or the one beside."""
    return (private or out.resolve().with_name(f"{out.resolve().name}.private")).resolve()


def bind(private: Path, out: Path, terms: Terms) -> bool:
    """Begins a release, or makes sure that one goes on as it began. Call it within `holding`.

    Returns:
        Whether it began now.

    Raises:
        ReleaseError: it began under other terms; or `out` holds something else.
    """
    before = read_terms(private)
    if before is not None:
        _compare(before, terms)
    elif out.is_dir() and any(out.iterdir()):
        raise ReleaseError(
            f"{out} is not empty, and {private} holds no release that it would be of; choose another --out, or say "
            "with --private where the rest of that release is"
        )
    elif any(path.name != LOCK and not path.name.startswith(PARTIAL) for path in private.iterdir()):
        raise ReleaseError(f"{private} holds other files than a release's; choose another --private")
    strangers = sorted(path.name for path in out.iterdir() if path.name not in CONTENTS) if out.is_dir() else []
    strangers = [name for name in strangers if not name.startswith(PARTIAL)]
    if strangers:
        raise ReleaseError(f"{out} holds what is not of this release ({strangers[0]!r}); move it away")
    if before is None:
        write_at_once(private / TERMS, (json.dumps(asdict(terms), indent=1) + "\n").encode(), 0o600)
    with saying_what_to_do(out):
        out.mkdir(parents=True, exist_ok=True)
    return before is None


def read_terms(private: Path) -> Terms | None:
    """The terms that a release began under; None: none began there.

    Raises:
        ReleaseError: they cannot be read, or are of another version.
    """
    try:
        told = json.loads((private / TERMS).read_text())
        if told["format"] != FORMAT:
            raise ReleaseError(f"{private} is of format {told['format']!r}; this version goes on with {FORMAT} only")
        return Terms(**told)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as damaged:
        raise ReleaseError(f"{private / TERMS} cannot be read ({damaged}); put it back from a copy") from damaged


@contextmanager
def holding(private: Path) -> Iterator[None]:
    """Nobody else works on this release within the block.

    Raises:
        PopulationBusy: somebody does.
    """
    with saying_what_to_do(private):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.chmod(0o700)
    with locked(private / LOCK, f"the release of {private}"):
        yield


def _compare(before: Terms, now: Terms) -> None:
    """Refuses to go on under other terms; says which."""
    old, new = asdict(before), asdict(now)
    if old == new:
        return
    if (before.index, before.index_version) != (now.index, now.index_version):
        raise ReleaseError(
            f"this release is of index {before.index} version {before.index_version}, not of {now.index} version "
            f"{now.index_version}: together they could single people out. Go on with --index {before.index} "
            f"--index-version {before.index_version}, or make a new release with another --out"
        )
    differ = [name for name in old if old[name] != new[name]]
    shown = []
    for name in differ:
        if isinstance(old[name], dict):
            keys = sorted({*old[name], *new[name]})
            pairs = [(key, old[name].get(key), new[name].get(key)) for key in keys]
            shown += [f"{key} {was!r}, not {is_!r}" for key, was, is_ in pairs if was != is_]
        else:
            shown.append(f"{name} {old[name]!r}, not {new[name]!r}")
    raise ReleaseError(
        f"this release began with {'; '.join(shown)}; go on with what it began with, or choose another --out"
    )

"""A release as anybody can check it who has it: its files against its manifest. No original is needed, and no model."""

from pathlib import Path
from typing import Any

from services.errors import ReleaseError
from services.files import sha256_of
from services.release.manifest import read_manifest
from services.release.terms import MANIFEST, PHOTOS, ROWS
from services.release.write import files_below

NAMED = 10  # files that a message names


def check_release(out: Path) -> dict[str, Any]:
    """Checks every file's hash, and that there is no other file.

    Returns:
        The manifest's header.

    Raises:
        ReleaseError: names what differs, is missing, or is not of the release.
    """
    header, rows = read_manifest(out)
    wanted = {f"{PHOTOS}/{row['path']}": row["sha256"] for row in rows if row["sha256"]}
    wanted |= {told["file"]: told["sha256"] for told in header["surrogates"].values()}
    there = set(files_below(out)) - {MANIFEST, ROWS}
    wrong = [f"{path} is missing" for path in sorted(set(wanted) - there)]
    wrong += [f"{path} is not of this release" for path in sorted(there - set(wanted))]
    for path in sorted(there & set(wanted)):
        if (out / path).is_symlink() or sha256_of(out / path) != wanted[path]:
            wrong.append(f"{path} was changed")
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ReleaseError(f"{out} is not what its manifest says: {'; '.join(wrong[:NAMED])}{more}")
    return header

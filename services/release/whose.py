"""Who is in which photo, where somebody says it: an enrolled person who is named gets their crowd however they look."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.files import sha256_of
from services.population.enroll.sources import clean, read_identities
from services.release.photo import Entry

FOLDERS = "folders"


@dataclass(frozen=True)
class Whose:
    """Names by photo; or the first folder below the collection's as the name; or nothing is said."""

    by_folder: bool = False
    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fingerprint: str = ""  # of what says it: another one could give a face another crowd

    def entries(self, paths: Iterable[str]) -> list[Entry]:
        """The photos with who is in them."""
        return [Entry(path, self._names(path)) for path in paths]

    def unmatched(self, paths: Iterable[str]) -> int:
        """How many photos are named that are not there; a misspelt name helps nobody."""
        return len(self.table.keys() - set(paths))

    def _names(self, path: str) -> tuple[str, ...]:
        if self.by_folder and "/" in path:
            name = clean(path.split("/")[0])
            return (name,) if name else ()
        return self.table.get(path, ())


def read_whose(identities: Path | None, by_folder: bool) -> Whose:
    """What is said of who is in the photos.

    Args:
        identities: a table with the columns `photo` and `identity`; a photo of several people has several rows.

    Raises:
        EnrolmentError: it cannot be read.
    """
    if identities is None:
        return Whose(by_folder, fingerprint=FOLDERS if by_folder else "")
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for row in read_identities(identities, ("photo", "identity")):
        if row.identity:
            names[posixpath.normpath(row.photo.strip())][row.identity] = None
    return Whose(table={path: tuple(who) for path, who in names.items()}, fingerprint=sha256_of(identities))

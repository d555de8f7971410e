"""A release -> all that a report takes of it: what was published, its journal, its index, the models."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.anonymizer.models import Models
from services.errors import ReportError
from services.population.index import ClusterIndex
from services.release.check import check_release
from services.release.journal import Journal
from services.release.photo import Job
from services.release.records import Record
from services.release.request import How, open_index_version, request_of
from services.release.run import Where
from services.release.terms import Terms, holding, read_terms
from services.release.whose import FOLDERS, Whose
from services.settings import Settings

WINDOW = 3  # photos under way


@dataclass(frozen=True)
class Opened:
    """A release that is whole, with what its owner alone has."""

    out: Path
    private: Path
    terms: Terms
    manifest: dict[str, Any]
    records: list[Record]
    index: ClusterIndex
    models: Models
    job: Job  # but for the address of Triton
    whose: Whose

    def crowd_of(self) -> dict[str, int]:
        """The crowds of the enrolled people who are in this release, by their names. Personal data."""
        enrolment = self.index.enrolment
        if enrolment is None:
            return {}
        present = {face.person for record in self.records if record.released for face in record.faces}
        rows = zip(enrolment.identities.tolist(), enrolment.person.tolist(), enrolment.crowd.tolist(), strict=True)
        return {name: crowd for name, person, crowd in rows if person in present}


def open_release(
    out: Path, private: Path, originals: Path | None, whose: Whose, index: str | None, own: Settings
) -> Opened:
    """Opens a release, after its files were held against its manifest.

    Args:
        originals: where the originals are now; None: where they were.
        whose: who is in the photos; nothing: as the release was told, if that was by folders.
        index: its name or path, if it is not where it was.

    Raises:
        ReleaseError: it is not whole, or was changed; or `private` is of no release.
        ReportError: the originals are not there.
        PopulationBusy: the release is being worked on.
        IndexRefused, ConfigurationError: the index or a model of it is not here.
    """
    manifest = check_release(out)
    terms = read_terms(private)
    if terms is None:
        raise ReportError(f"there is no journal of a release in {private}; say with --private where that of {out} is")
    if originals is not None:
        terms = replace(terms, folder=str(originals.resolve()))
    if not Path(terms.folder).is_dir():
        raise ReportError(f"the originals are not in {terms.folder}; say with --originals where they are")
    own = own.model_copy(update={"index": index or terms.index, "may_relax": True})
    opened = open_index_version(own, terms.index_version)
    if whose == Whose() and terms.identities == FOLDERS:
        whose = Whose(by_folder=True, fingerprint=FOLDERS)
    with holding(private), Journal(private) as journal:
        records = list(journal.records.values())
    how = How(Where(), WINDOW, patience_s=600.0)
    request = request_of(terms, opened, whose, out.resolve(), private, how, own)
    return Opened(out, private, terms, manifest, records, request.index, request.models, request.job, whose)

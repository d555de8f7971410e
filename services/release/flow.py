"""The whole of a release: find -> plan -> photos -> proof -> manifest. Stopped anywhere, the same call goes on."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from services.errors import ReleaseError
from services.population.enroll.progress import watching
from services.population.enroll.sources import clean
from services.release.check import check_release
from services.release.collection import Collection, find, require_apart
from services.release.condense import condensation, counts, thin_crowds
from services.release.journal import Journal
from services.release.manifest import write_manifest
from services.release.photo import Job, release_photo
from services.release.plan import Plan, plan
from services.release.records import KINDS, UNPROVED, Proof, Record
from services.release.request import Recognisable, Request
from services.release.run import work_through
from services.release.surrogates import File, write_surrogates
from services.release.terms import MANIFEST, PHOTOS, ROWS, bind, holding
from services.release.verify import limit_of, proof_counts, prove_photo
from services.release.write import files_below, remove, sweep, write_at_once

REFUSED, UNPROVED_LIST = "refused.csv", "unproved.csv"

Serve = Callable[[], AbstractContextManager[str]]  # a Triton with the models of a job: its address


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    told: dict[str, Any]  # the manifest's header, and `run`; or `proof` alone
    refused: list[tuple[str, str, str]]  # path, code, reason
    failed: list[Proof]


def make(request: Request, serve: Serve, console: Console) -> Outcome:
    """Makes a release, or goes on with one.

    Args:
        serve: called if a model is needed.

    Raises:
        ReleaseError: see `bind`, `find`; the output cannot be written; or the output holds what is of no photo.
        PopulationBusy: another run works on it.
        ModelServerUnavailable, DeadlineExceeded, IndexRefused, WorkersLost: what was done until then is kept.
    """
    require_apart(request.job.folder, request.out, request.private)
    with holding(request.private):
        bind(request.private, request.out, request.terms)
        for place in (request.out, request.private):
            sweep(place)
        collection = find(request.job.folder)
        with Journal(request.private) as journal, ExitStack() as running:
            url = cache(lambda: running.enter_context(serve()))
            todo = plan(collection, request.job.folder, journal, request.job.target)
            _make_photos(request, todo, journal, url, console)
            alone = request.terms.kind == "surrogates"
            files = write_surrogates(request.job, request.out, journal, url) if alone else []
            failed = _prove(request, journal, url, console) if request.how.verify and not alone else []
            return _finish(request, collection, todo, journal, files, failed)


def verify_again(request: Request, serve: Serve, console: Console) -> Outcome:
    """Proves a release anew, whatever was proved before; changes nothing of what is published.

    Raises:
        ReleaseError: it is not whole, or its files are not those of its manifest; or it holds no photos.
        PopulationBusy, ModelServerUnavailable, DeadlineExceeded, IndexRefused, WorkersLost: see `make`.
    """
    if request.terms.kind != "photos":
        raise ReleaseError(f"{request.out} holds surrogates alone, and nothing of any photo; `release check` checks it")
    check_release(request.out)
    with holding(request.private), Journal(request.private) as journal, ExitStack() as running:
        url = cache(lambda: running.enter_context(serve()))
        look_again(request, list(journal.released()), journal, url, console)
        failed = failing(journal, request.how.recognisable)
        write_unproved(request.private, failed)
        return Outcome({"proof": _proof(journal, request)}, [], failed)


def _make_photos(request: Request, todo: Plan, journal: Journal, url: Callable[[], str], console: Console) -> None:
    """Works on the photos of a plan, and notes each in the journal."""
    job = request.job
    if todo.todo or todo.gone:
        _withdraw_manifest(request.out)
    for path in todo.gone:
        target = job.target(path)
        if target is not None:
            remove(target)
        journal.forget(path)
    if todo.todo:
        job = replace(job, url=url())
        total = len(todo.todo) + todo.kept
        with watching(console, total, todo.kept, "releasing photos") as report:

            def done(record: Record) -> None:
                target = job.target(record.path) if record.released else None
                journal.record(record, target and target.parent)
                report(1)

            work_through(release_photo, request.whose.entries(todo.todo), job, request.how.where, done, console.print)
    journal.flush()


def _prove(request: Request, journal: Journal, url: Callable[[], str], console: Console) -> list[Proof]:
    """Looks again at what was not looked at yet. Returns the proofs that fail, less the photos that are withdrawn."""
    look_again(request, [one for one in journal.released() if not _is_settled(one, journal)], journal, url, console)
    failed = failing(journal, request.how.recognisable)
    if not request.how.withdraw:
        return failed
    if failed:
        _withdraw_manifest(request.out)
    for proof in failed:
        _withdraw(journal.records[proof.path], proof, request.job, journal)
    journal.flush()
    return []


def look_again(
    request: Request, todo: list[Record], journal: Journal, url: Callable[[], str], console: Console
) -> None:
    """Proves some photos, and notes what was found. Raises as `make` does."""
    if todo:
        job = replace(request.job, url=url())
        with watching(console, len(todo), 0, "verifying photos") as report:

            def done(proof: Proof) -> None:
                journal.prove(proof)
                report(1)

            work_through(prove_photo, todo, job, request.how.where, done, console.print)
    journal.flush()


def failing(journal: Journal, recognisable: Recognisable) -> list[Proof]:
    """The proofs that stand in the way of the release, by path."""
    kinds = [kind for kind in KINDS if kind != "recognisable" or recognisable == "refuse"]
    return sorted((one for one in journal.proofs.values() if one.found(*kinds)), key=lambda proof: proof.path)


def _is_settled(record: Record, journal: Journal) -> bool:
    """Is there nothing to be learnt from another look?"""
    proof = journal.proofs.get(record.path)
    return proof is not None and proof.holds_for(record) and not proof.found("changed", "unseen")


def _withdraw(record: Record, proof: Proof, job: Job, journal: Journal) -> None:
    """Takes a photo out of the release because its proof failed."""
    target = job.target(record.path)
    if target is not None:
        remove(target)
    kinds = ", ".join(sorted({finding.kind for finding in proof.findings}))
    reason = f"its proof failed: {kinds}"
    journal.record(replace(record, code=UNPROVED, reason=reason, output_sha256="", output_bytes=0, faces=()))


def _finish(
    request: Request, collection: Collection, todo: Plan, journal: Journal, files: list[File], failed: list[Proof]
) -> Outcome:
    """Writes the lists, and the manifest if the release is whole."""
    records = list(journal.records.values())
    refused = [(record.path, record.code, record.reason) for record in records if not record.released]
    refused += [(one.path, one.code, one.reason) for one in collection.refused]
    _write_table(request.private / REFUSED, ("photo", "code", "reason"), sorted(refused))
    write_unproved(request.private, failed)
    _require_nothing_else(request, journal, files)
    sizes, k = request.index.crowds.sizes, request.index.k
    bytes_out = sum(file.bytes for file in files) or sum(record.output_bytes for record in records)
    thin, enrolled = thin_crowds(records, k)
    told = {
        "kind": request.terms.kind,
        "index": request.terms.index,
        "index_version": request.terms.index_version,
        "resolution": request.terms.resolution,
        "k": k if request.terms.resolution == "enrolled-first" else None,
        "options": request.terms.options,
        "settings": request.terms.settings,
        **counts(records, len(collection.refused)),
        "left_out": collection.others.total(),
        "condensation": condensation(records, sizes, bytes_out),
        "proof": _proof(journal, request) if request.how.verify and not files else None,
        "surrogates": {str(file.crowd): file.told(sizes) for file in files},
    }
    if failed:
        _withdraw_manifest(request.out)
    else:
        write_manifest(request.out, records, collection.refused, told)
    run: dict[str, Any] = {"done": len(todo.todo), "kept": todo.kept, "gone": len(todo.gone)}
    run |= {"crowds": enrolled, "thin_crowds": thin}
    run["left_out"] = dict(sorted(collection.others.items()))  # a suffix may be part of a name: not published
    run["named_paths"] = _named_paths(request, journal)
    run["names_unmatched"] = request.whose.unmatched(collection.photos)
    return Outcome({**told, "run": run}, sorted(refused), failed)


def _named_paths(request: Request, journal: Journal) -> int:
    """Photos that lie in a folder which is called like somebody enrolled; names of folders are published."""
    enrolment = request.index.enrolment
    names = set() if enrolment is None else set(enrolment.identities.tolist())
    return sum(any(clean(part) in names for part in one.path.split("/")[:-1]) for one in journal.released())


def _proof(journal: Journal, request: Request) -> dict[str, Any]:
    return {**proof_counts(journal, limit_of(request.models)), "recognisable": request.how.recognisable}


def _withdraw_manifest(out: Path) -> None:
    for name in (MANIFEST, ROWS):
        remove(out / name)


def write_unproved(private: Path, failed: list[Proof]) -> None:
    """Lists every face that stands in the way of a release. Raises ReleaseError."""
    columns = ("photo", "kind", "x", "y", "side_px", "distance", "to_surrogate")
    rows = [
        (one.path, found.kind, *found.place, found.distance, found.to_surrogate)
        for one in failed
        for found in one.findings
    ]
    _write_table(private / UNPROVED_LIST, columns, rows)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    sink = io.StringIO()
    lines = csv.writer(sink)
    lines.writerow(columns)
    lines.writerows(rows)
    write_at_once(path, sink.getvalue().encode(), 0o600)


def _require_nothing_else(request: Request, journal: Journal, files: list[File]) -> None:
    """Refuses to call a folder a release that holds files nobody vouches for. Raises ReleaseError."""
    known = {f"{PHOTOS}/{record.path}" for record in journal.released()} if request.terms.kind == "photos" else set()
    known |= {file.name for file in files} | {MANIFEST, ROWS}
    other = next((path for path in files_below(request.out) if path not in known), None)
    if other is not None:
        raise ReleaseError(
            f"{request.out / other} is no photo of this release; take it away, and run the same command again"
        )

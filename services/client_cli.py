"""`anonfaces anonymize`: photos in folders -> anonymized photos in another folder, through a running service."""

import dataclasses
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.anonymizer.decode import PhotoFormat
from services.client import API_KEY, DEFAULT_URL, Choices, Client, Result, ServiceUnreachable
from services.errors import AnonFacesError, ConfigurationError
from services.files import write_durably
from services.settings import NoFacePolicy, SmallFacePolicy, StrangerPolicy
from services.text import plain

SUFFIXES: dict[str, PhotoFormat] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
NEW_SUFFIX: dict[PhotoFormat, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
MOST_BYTES = 512 * 1024 * 1024  # what is larger is no photo, and is not read; the service's own limit is lower
out_console, err_console = Console(), Console(stderr=True)


@dataclass(frozen=True)
class Job:
    """One photo to send, and where its answer goes."""

    source: Path
    target: Path


@dataclass
class Tally:
    """What became of the photos."""

    done: list[Result] = field(default_factory=list)  # without their data
    failed: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[tuple[Path, str]] = field(default_factory=list)
    skipped: int = 0
    not_sent: int = 0
    stopped: BaseException | None = None


def anonymize(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="photos, and folders of photos")],
    out: Annotated[Path, typer.Option(help="folder for the results; made if it is not there", file_okay=False)],
    url: Annotated[str, typer.Option(help="where the service listens: http(s)://... or grpc(s)://...")] = DEFAULT_URL,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="photos sent at the same time")] = 4,
    format: Annotated[PhotoFormat | None, typer.Option(help="format of the results; else the photo's own")] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="of JPEG and WebP results")] = None,
    k: Annotated[int | None, typer.Option(min=2, help="fail unless the service's index has at least this k")] = None,
    no_face: Annotated[NoFacePolicy | None, typer.Option(help="what to do with a photo without faces")] = None,
    small_face: Annotated[SmallFacePolicy | None, typer.Option(help="what to do with one it cannot replace")] = None,
    stranger: Annotated[StrangerPolicy | None, typer.Option(help="what to do with a face nobody enrolled")] = None,
    identity: Annotated[
        list[str] | None, typer.Option(help="who is in the photos, by enrolled name; repeat it")
    ] = None,
    generator: Annotated[str | None, typer.Option(help="one of those that the service has")] = None,
    emotion: Annotated[str | None, typer.Option(help="of every surrogate, where the generator has that input")] = None,
    api_key: Annotated[str | None, typer.Option(envvar=API_KEY, help="better in the environment than here")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM certificates to trust, for https and grpcs")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM certificate to show to the service")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM key of that certificate")] = None,
    overwrite: Annotated[bool | None, typer.Option(help="replace results that are there, or skip them")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="replace results without asking")] = False,
) -> None:
    """Replaces the faces in photos, through a running service. Originals stay as they are.

    Photos of a folder keep their place in it. A photo that fails is listed, the rest go on, and the exit status is 1.
    """
    choices: Choices = {
        "format": format, "quality": quality, "k": k, "no_face": no_face, "small_face": small_face,
        "stranger": stranger, "identity": identity or (), "generator": generator, "emotion": emotion,
    }  # fmt: skip
    tally = Tally()
    jobs = plan(paths, out, format, tally)
    jobs, replace = _spare(jobs, overwrite, yes, tally)
    try:
        client = Client(url, api_key=api_key, ca=ca, certificate=certificate, key=key)
    except ConfigurationError as wrong:
        _refuse(str(wrong))

    def one(job: Job) -> Result:
        result = client.anonymize(_read(job.source), **choices)
        _write(job.target, result.data, replace)
        return dataclasses.replace(result, data=b"")

    with client:
        if jobs:
            client.require()
        _run(jobs, one, client, concurrency, tally)
    _report(tally)
    if isinstance(tally.stopped, AnonFacesError):
        raise tally.stopped
    if tally.stopped or tally.failed:
        raise typer.Exit(130 if tally.stopped else 1)  # 130 is what shells make of Ctrl-C


def plan(paths: list[Path], out: Path, form: PhotoFormat | None, tally: Tally) -> list[Job]:
    """What to send, and where its answers go. Folders that cannot be read are put on the tally as failed.

    Raises:
        typer.Exit: no photos; two have one target; or a target is one of the photos.
    """
    jobs: dict[Path, Job] = {}
    for path in paths:
        for source in _photos_in(path, out, tally) if os.path.isdir(path) else [path]:  # noqa: PTH112 - is_dir raises
            place = source.relative_to(path) if source != path else Path(path.name)
            job = Job(source, out / _renamed(place, form))
            other = jobs.setdefault(job.target, job).source
            if os.path.realpath(other) != os.path.realpath(source):
                _refuse(f"{other} and {source} would both be written to {job.target}; give them different --out")
    originals = {key for job in jobs.values() for key in _keys(job.source)}
    for job in jobs.values():
        if originals & _keys(job.target):
            _refuse(f"{job.target} is one of the originals, and they are never overwritten; give another --out")
    if not jobs and not tally.failed:
        _refuse(f"no photos in {', '.join(map(str, paths))}; looked for {' '.join(SUFFIXES)}")
    return list(jobs.values())


def _photos_in(folder: Path, out: Path, tally: Tally) -> Iterator[Path]:
    """The photos below a folder, in order. Results of an earlier run below it are not photos to send."""
    results = os.path.realpath(out)
    for top, folders, names in os.walk(folder, onerror=lambda e: tally.failed.append((Path(e.filename), _reason(e)))):
        here = Path(top)
        linked = {name for name in folders if (here / name).is_symlink()}  # they may lead anywhere, or in circles
        tally.notes += [(here / name, "a linked folder is not entered; name it to have it") for name in sorted(linked)]
        folders[:] = sorted(name for name in folders if name not in linked and os.path.realpath(here / name) != results)
        yield from (here / name for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)


def _renamed(place: Path, form: PhotoFormat | None) -> Path:
    """The place with the suffix of another format; a suffix that is none of ours is part of the name."""
    known = SUFFIXES.get(place.suffix.lower())
    if form is None or known == form:
        return place
    return place.with_suffix(NEW_SUFFIX[form]) if known else place.with_name(place.name + NEW_SUFFIX[form])


def _keys(path: Path) -> set[object]:
    """What tells a file from others: its real path, and its inode (other spellings, hard links, bind mounts)."""
    keys: set[object] = {os.path.realpath(path)}
    with suppress(OSError):
        info = path.stat()
        keys.add((info.st_dev, info.st_ino))
    return keys


def _spare(jobs: list[Job], overwrite: bool | None, yes: bool, tally: Tally) -> tuple[list[Job], bool]:
    """The photos to send, and whether results may be replaced. Asks where no option says; Exit if it may not ask."""
    existing = {job.target for job in jobs if os.path.lexists(job.target)}
    if overwrite is False:
        tally.skipped = len(existing)
        return [job for job in jobs if job.target not in existing], False
    if overwrite or yes or not existing:
        return jobs, bool(overwrite or yes)
    some = f"{len(existing)} of {len(jobs)} results are there already, such as {plain(str(min(existing)))}"
    if not sys.stdin.isatty():
        _refuse(f"{some}; --overwrite (or --yes) replaces them, --no-overwrite skips them")
    return jobs, typer.confirm(f"{some}. Replace them?", abort=True)


def _read(source: Path) -> bytes:
    info = source.stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size > MOST_BYTES:  # a pipe would be waited for, for ever
        raise OSError(f"not a file of at most {MOST_BYTES:,} bytes")
    return source.read_bytes()


def _write(target: Path, data: bytes, replace: bool) -> None:
    """Writes a result whole or not at all."""
    scratch = target.parent / f".anonfaces-{secrets.token_hex(8)}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(scratch, data, 0o666)  # less the umask, as any new file
        if not replace and os.path.lexists(target):
            raise OSError("such a file has appeared meanwhile")
        scratch.replace(target)
    except OSError as error:
        raise OSError(f"cannot be written to {target}: {_reason(error)}") from None
    finally:
        with suppress(OSError):  # it has its final name, or was never made
            scratch.unlink()


def _run(jobs: list[Job], one: Callable[[Job], Result], client: Client, concurrency: int, tally: Tally) -> None:
    """Sends the photos, a few at a time, and tallies them. Ctrl-C, or a service that has gone, lets those end."""
    todo, waiting = iter(jobs), dict[Future[Result], Job]()
    rate = TextColumn("{task.fields[rate]:.2f} photos/s")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
    with Progress(*columns, console=err_console) as progress, ThreadPoolExecutor(concurrency) as pool:
        bar = progress.add_task("anonymize", total=len(jobs), rate=0.0)
        while True:
            try:
                if tally.stopped is None:
                    for job in islice(todo, concurrency - len(waiting)):
                        waiting[pool.submit(one, job)] = job
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    _count(waiting.pop(future), future, client, tally)
                    task = progress.tasks[bar]
                    progress.update(bar, advance=1, rate=(task.completed + 1) / (task.elapsed or 1))
            except KeyboardInterrupt as interrupt:
                if isinstance(tally.stopped, KeyboardInterrupt):
                    raise  # asked twice: results that are not written yet are given up
                tally.stopped = interrupt
                progress.console.print("stopping; the photos on their way are finished first")
            if tally.stopped:
                client.hurry()
    tally.not_sent = sum(1 for _ in todo)


def _count(job: Job, future: Future[Result], client: Client, tally: Tally) -> None:
    """Puts one photo on the tally. If the connection failed, asks whether the service is there for the rest."""
    try:
        tally.done.append(future.result())
    except (AnonFacesError, OSError) as error:
        tally.failed.append((job.source, _reason(error)))
        if isinstance(error, ServiceUnreachable) and tally.stopped is None:
            try:
                client.require()
            except AnonFacesError as gone:
                tally.stopped = gone


def _report(tally: Tally) -> None:
    """Says what became of the photos: the exceptions one a line on stderr, the sums on stdout."""
    for word, style, entries in (("note", "yellow", tally.notes), ("failed", "red", tally.failed)):
        for path, reason in sorted(entries):
            line = Text.assemble((word, style), f" {plain(str(path))}: {plain(reason)}")
            err_console.print(line, soft_wrap=True)
    count = {name: sum(getattr(done, name) for done in tally.done) for name in ("enrolled", "strangers", "masked")}
    lines = [f"photos done {len(tally.done)}, failed {len(tally.failed)}, skipped {tally.skipped}"]
    lines += [f"not sent {tally.not_sent}"] if tally.not_sent else []
    lines += [f"faces {sum(count.values())}: " + ", ".join(f"{name} {number}" for name, number in count.items())]
    lines += sorted({_served_by(done) for done in tally.done})
    lines += ["k holds for enrolled people; a stranger got the nearest crowd's face"] if count["strangers"] else []
    out_console.print(Text("\n".join(lines)), soft_wrap=True)


def _served_by(done: Result) -> str:
    """The index that a photo was resolved by, and what that is worth."""
    if done.k is None:
        return f"index {plain(done.index_version)} without its enrolment map: nobody was recognised, no k is claimed"
    return f"k {done.k}, index {plain(done.index_version)}"


def _refuse(message: str) -> NoReturn:
    """Ends the command before anything was sent: exit status 2."""
    err_console.print(Text.assemble(("error:", "bold red"), f" {plain(message)}"), soft_wrap=True)
    raise typer.Exit(2)


def _reason(error: Exception) -> str:
    """Why it failed; without the path, which is said anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

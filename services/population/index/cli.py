"""`anonfaces index`: is an index sound, what is in it, and what do two versions of it give away together?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.errors import AnonFacesError, IndexRefused
from services.population.index.diff import Difference, compare
from services.population.index.enrolment import EnrolmentStore
from services.population.index.seal import read_key
from services.population.index.series import version_folder, versions_of, with_enrolment
from services.population.index.version import ClusterIndex, read_version
from services.population.tell import tell
from services.settings import Settings, settings
from services.text import plain

app = typer.Typer(help="Cluster indexes: what is served of a population.", no_args_is_help=True)
console = Console()

Name = Annotated[str, typer.Argument(help="name of an index, or a path to it")]
Version = Annotated[str | None, typer.Option("--version", help="start of a version's name, or its number")]
AsJson = Annotated[Path | None, typer.Option("--json", help="as JSON, into a file; - prints it")]


@app.callback()
def _group() -> None:
    """Cluster indexes: what is served of a population."""


@app.command()
def verify(name: Name, version: Version = None, every: Annotated[bool, typer.Option("--all")] = False) -> None:
    """Checks every byte and the guarantee, of the current version or of all; with the enrolment map where it is."""
    chosen = _settings(name)
    folders = versions_of(chosen.index_path) if every else [_folder(chosen, version)]
    if not folders:
        raise IndexRefused(f"no version of an index in {chosen.index_path}")
    refused = 0
    for folder in folders:
        try:
            index = with_enrolment(read_version(folder), chosen)
            if every and index.version != folder.name:
                raise IndexRefused(f"it holds version {index.version}; put its own files back, or remove the folder")
        except AnonFacesError as reason:
            refused += 1
            console.print(f"[red]refused[/] {folder.name}: {plain(str(reason))}", soft_wrap=True, highlight=False)
            continue
        console.print(f"[green]sound[/] {index.version}: {_counted(index)}", soft_wrap=True, highlight=False)
    if refused:
        raise IndexRefused(f"{refused} of {len(folders)} versions do not add up; do not serve them")


def _counted(index: ClusterIndex) -> str:
    crowds = f"{len(index.crowds)} crowds of {index.crowds.sizes.min()} to {index.crowds.sizes.max()} (k = {index.k})"
    if index.enrolment is None:
        return f"{crowds}, as its files say; the enrolment map is not here, so nobody was counted"
    return f"{crowds}, counted by the enrolment map: {len(index.enrolment.identities)} identities"


@app.command()
def show(name: Name, version: Version = None, as_json: AsJson = None) -> None:
    """What an index says of itself: crowds, models, and the ledger of its versions."""
    index = read_version(_folder(_settings(name), version))
    if as_json is not None:
        tell({key: value for key, value in index.manifest.items() if key != "checksum"}, as_json)
        return
    told = index.manifest["provenance"]
    console.print(
        f"{index.name} version {index.version}, {index.manifest['created']}: {_sizes(index)}\n"
        f"models {', '.join(str(told.get(part)) for part in ('detector', 'embedder', 'generator'))}; "
        f"a face within {index.identity_threshold:g} of an enrolled vector is that person",
        soft_wrap=True,
        highlight=False,
    )
    for line in index.ledger:
        withdraws = f"; withdraw what came of {', '.join(line.withdraws)}" if line.withdraws else ""
        console.print(
            f"{line.version}  epoch {line.epoch}, {line.step}: {line.crowds_added} crowds and {line.people_added} "
            f"people added, {line.people_removed} removed, {line.waiting} waiting{withdraws}",
            soft_wrap=True,
            highlight=False,
        )


def _sizes(index: ClusterIndex) -> str:
    sizes = index.crowds.sizes
    return f"{sizes.sum()} people in {len(sizes)} crowds of {sizes.min()} to {sizes.max()}, k = {index.k}"


@app.command()
def diff(
    name: Name,
    old: Annotated[str, typer.Argument(help="start of a version's name, or its number")],
    new: Annotated[str | None, typer.Argument(help="the same; the current one if not given")] = None,
    as_json: AsJson = None,
) -> None:
    """What somebody who holds both versions, and what was published with each, could single out."""
    chosen = _settings(name)
    first, second = (with_enrolment(read_version(_folder(chosen, which)), chosen) for which in (old, new))
    key_file = EnrolmentStore.of(chosen, first.name).key_file
    both = first.enrolment is not None and second.enrolment is not None
    difference = compare(first, second, read_key(key_file) if both else None)
    if as_json is not None:
        tell(difference.as_dict(), as_json)
    else:
        console.print(describe(difference), soft_wrap=True, highlight=False)


def describe(difference: Difference) -> str:
    """A difference in sentences."""
    crowds = (
        f"{difference.old} -> {difference.new}: {difference.kept} crowds kept, {difference.changed} changed, "
        f"{difference.added} added, {difference.dropped} dropped."
    )
    exposure = difference.exposure
    if exposure is None:
        return f"{crowds} The enrolment maps of both are needed to tell what they give away of people."
    if exposure.below_k == 0:
        return (
            f"{crowds} Nobody is singled out: the smallest group of people with the same crowds in both has "
            f"{exposure.smallest_group} (k = {difference.k})."
        )
    return (
        f"{crowds} {exposure.singled_out} of {exposure.people} people are alone with their crowds in both, "
        f"{exposure.below_k} are in groups below k = {difference.k}: withdraw what was published with one of them, "
        "and its folder, since from the means of crowds that differ by one person that person's vector follows."
    )


def _settings(name: str) -> Settings:
    return settings().model_copy(update={"index": name})


def _folder(chosen: Settings, version: str | None) -> Path:
    folder = chosen.index_path
    if version is None and not versions_of(folder):
        return folder  # one version by itself
    return version_folder(folder, version)

"""`anonfaces population stats`: an enrolled population -> a page with plots, and JSON."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from services.anonymizer.models import find_embedder
from services.errors import ConfigurationError, EnrolmentError
from services.files import require_parent
from services.population.enroll.about import population_folder, read_about, read_removed
from services.population.enroll.rows import ENROLLED, QUALITY, as_array
from services.population.enroll.shards import counting_shards, newest, read_shard, replace_file
from services.population.enroll.store import read_photos, read_population
from services.population.enroll.writing import without
from services.population.people import Population
from services.population.stats.markup import share
from services.population.stats.measure import Statistics, as_json, measure
from services.population.stats.page import page
from services.population.stats.photos import PhotoTable, choose_photos
from services.settings import settings

PAGE = "stats.html"
console = Console()


def stats(
    name: Annotated[str, typer.Argument(help="name of the population")],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="the page; else stats.html beside the photos")
    ] = None,
    as_json_: Annotated[Path | None, typer.Option("--json", help="the statistics as JSON; - prints them")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed draws the same samples")] = 0,
) -> None:
    """Says what is enrolled and what each k would gain and cost, as a page with plots: before anything is anonymised.

    Page and JSON hold counts and distances: no faces, vectors or names of people.
    """
    folder = population_folder(name, settings().populations_dir)
    printed = str(as_json_) == "-"
    require_parent(out)
    require_parent(None if printed else as_json_)
    population = read_population(folder)
    with Console(stderr=True).status("measuring"):
        found = measure(population, photo_table(folder, population, seed), threshold_of(population), seed)
        target = out or folder / PAGE
        replace_file(target, page(found).encode())
    told = json.dumps(as_json(found), indent=1, allow_nan=False)
    if printed:
        typer.echo(told)
        return
    if as_json_ is not None:
        replace_file(as_json_, f"{told}\n".encode())
    _show(found)
    console.print(f"the page: {target}", soft_wrap=True, highlight=False, markup=False)


def threshold_of(population: Population) -> float | None:
    """Below which distance the population's embedder may see one person; None if it is not a model of ours."""
    try:
        return find_embedder(str(population.made_with.get("embedder")), settings().model_repository).same_person
    except ConfigurationError:
        return None


def photo_table(folder: Path, population: Population, seed: int) -> PhotoTable:
    """The photos of a population, with the embeddings of those that are compared.

    Raises:
        EnrolmentError: it is damaged, or was written to meanwhile.
    """
    rows = read_photos(folder, ("identity", "status", *QUALITY))
    known = pa.array(population.identities.tolist(), pa.string())
    identity = pc.fill_null(pc.index_in(rows["identity"], known), -1).to_numpy().astype(np.int64)
    status = rows["status"].to_numpy(zero_copy_only=False).astype(str)
    chosen = choose_photos(identity, (identity >= 0) & (status == ENROLLED), seed)
    quality = {column: rows[column].to_numpy(zero_copy_only=False).astype(np.float64) for column in QUALITY}
    return PhotoTable(identity, status, quality, chosen, _embeddings(folder, population, chosen, identity[chosen]))


def _embeddings(folder: Path, population: Population, chosen: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Embeddings of some rows of `read_photos`, float32 [v, d], shard by shard: all of them need not fit in memory."""
    found = [np.empty((0, population.embeddings.shape[1]), np.float32)]
    names: list[str] = []
    start = 0
    try:
        shards = counting_shards(folder, read_about(folder).generation)
        removed, _ = read_removed(folder)
        for path, counts in zip(shards, newest(shards), strict=True):
            table = without(read_shard(path, ("identity", "embedding")).filter(pa.array(counts)), removed)
            here = chosen[(chosen >= start) & (chosen < start + len(table))] - start
            start += len(table)
            found.append(as_array(table["embedding"])[here])
            names += table["identity"].take(pa.array(here)).to_pylist()
    except FileNotFoundError:  # compacted meanwhile
        names = []
    if names != population.identities[owners].tolist():
        raise EnrolmentError(f"population {population.name} was written to meanwhile; run the command again")
    return np.concatenate(found)


def _show(of: Statistics) -> None:
    """The figures to remember, on the terminal."""
    nearest = of.distances.nearest
    apart = f", median distance to the nearest other {nearest.median:.3f}" if nearest else ""
    turned = f" ({sum(of.turned_away.values()):,} more turned away)" if of.turned_away else ""
    console.print(f"{of.identities:,} identities, {of.photos:,} photos{turned}{apart}", soft_wrap=True, highlight=False)
    table = Table("k", "information loss", "near their crowd's mean", "people per face", "crowds")
    for row in of.tradeoff.expectations:
        cells = (f"{row.information_loss:.3f}", share(row.near_centre), f"{row.people_per_face:.2f}", f"{row.crowds:,}")
        table.add_row(str(row.k), *cells)
    if of.tradeoff.expectations:
        console.print(table)
    if of.tradeoff.sampled:
        console.print(f"measured on {of.tradeoff.identities:,} identities drawn; the page says what that means")

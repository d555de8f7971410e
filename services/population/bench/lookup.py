"""`anonfaces bench lookup`: how long the search of a crowd or a person takes, and how often it finds the nearest."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import faiss
import numpy as np
import typer
from rich.table import Table
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.anonymizer.search import MANY, ApproximateSearch, ExactSearch, WithinSearch, lists_of
from services.arrays import read_embeddings
from services.errors import PartitionError
from services.files import require_parent
from services.text import figures_console

SIZES = "10000,20000,100000,200000,1000000"
PROBES, EFFORTS = (32, 64, 128, 192, 256), (32, 64, 128, 256, 512)
HNSW_LINKS, HNSW_BUILD = 32, 60
FEWEST = 100
LARGEST_HNSW = 1_000_000  # which takes minutes to build
GROUPS, DIMS, SPREAD = 10, 128, 0.37  # of the made-up people: as wide as dlib's embeddings of CelebA
KEPT = 0.5  # share of the variance within a group that is left of it between crowds of 10
RADIUS = 0.4  # within which a face is taken for an enrolled person; a usual threshold of dlib's embeddings
SAME = 0.3  # a new photo of a person is about as far from their vector
BLOCK = 65_536
S = TypeVar("S")


@dataclass(frozen=True)
class Row:
    """One way to search, measured on one gallery."""

    rows: int
    of: str  # crowds or people
    method: str  # exact, ivf, hnsw
    setting: str
    build_s: float  # one thread's CPU
    megabytes: float  # beside the gallery itself
    recall: float  # share of queries for which the nearest was found; of people, or nobody rightly
    ms: float  # one thread's CPU for one query, median
    serves: bool  # what search.py chooses at this size


class People:
    """Where people come from: a mixture of Gaussians, fitted to embeddings or made up.

    Raises:
        PartitionError: too few embeddings to be fitted to.
    """

    def __init__(self, embeddings: np.ndarray | None, seed: int):
        if embeddings is None:
            rng = np.random.default_rng(seed)
            falling = np.exp(-np.arange(DIMS) / 24)  # a quarter of the directions hold three quarters of the variance
            variances = 0.78 * SPREAD * falling / falling.sum()
            self.means = rng.normal(size=(GROUPS, DIMS)) * np.sqrt(0.22 * SPREAD / DIMS)
            self.weights, self.root = np.full(GROUPS, 1 / GROUPS), np.diag(np.sqrt(variances))
        elif len(embeddings) < FEWEST:
            raise PartitionError(f"a likeness of {len(embeddings)} people would be a poor one; give at least {FEWEST}")
        else:
            fitted = GaussianMixture(GROUPS, covariance_type="tied", reg_covar=1e-6, random_state=seed)
            fitted.fit(embeddings.astype(np.float64))
            self.means, self.weights = fitted.means_, fitted.weights_
            self.root = np.linalg.cholesky(fitted.covariances_).T

    def draw(self, count: int, seed: int, kept: float = 1.0) -> np.ndarray:
        """float32 [count, d]; of the variance within a group only a share is `kept`, as between centroids of crowds."""
        rng = np.random.default_rng(seed)
        drawn = np.empty((count, len(self.root)), np.float32)
        for start in range(0, count, BLOCK):
            part = drawn[start : start + BLOCK]
            group = rng.choice(len(self.means), len(part), p=self.weights)
            part[:] = self.means[group] + np.sqrt(kept) * rng.normal(size=part.shape) @ self.root
        return drawn


def lookup(
    sizes: Annotated[str, typer.Option(help="rows of the galleries, with commas between")] = SIZES,
    queries: Annotated[int, typer.Option(min=1, help="faces looked up in each")] = 500,
    embeddings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="people like these (.npz, .npy); else made up")
    ] = None,
    seed: Annotated[int, typer.Option(help="the same seed draws the same people")] = 0,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="recall against time, as a picture (PNG)")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="the figures as JSON; - prints it")] = None,
) -> None:
    """Measures the search of crowds and of enrolled people: exact, FAISS IVF and FAISS HNSW, one thread each."""
    wanted = _read_sizes(sizes)
    to_stdout = str(as_json) == "-"
    for file in (out, None if to_stdout else as_json):
        require_parent(file)
    people = People(None if embeddings is None else read_embeddings(embeddings), seed)
    console = figures_console(stderr=to_stdout)
    found: list[Row] = []
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        for rows in wanted:
            for row in chain(_crowds(people, rows, queries, seed), _enrolled(people, rows, queries, seed)):
                console.print(f"{row.rows:,} {row.of}: {row.method} {row.setting}", highlight=False, style="dim")
                found.append(row)
    console.print(_table(found))
    if out:
        _draw(found, out)
    told = json.dumps({"people": str(embeddings or "made up"), "queries": queries, "rows": [asdict(r) for r in found]})
    if to_stdout:
        typer.echo(told)
    elif as_json:
        as_json.write_text(told + "\n")


def _read_sizes(sizes: str) -> list[int]:
    try:
        wanted = [int(size) for size in sizes.split(",")]
    except ValueError:
        wanted = []
    if not wanted or min(wanted) < FEWEST:
        raise typer.BadParameter(f"--sizes are whole numbers from {FEWEST} on, with commas between: {SIZES}")
    return wanted


def _crowds(people: People, rows: int, queries: int, seed: int) -> Iterator[Row]:
    """Strangers among centroids of crowds."""
    gallery, faces = people.draw(rows, seed + 1, KEPT), people.draw(queries, seed + 2)
    _, distances = _truth(gallery, faces)

    def row(method: str, setting: str, build_s: float, size: float, search: Callable, serves: bool) -> Row:
        found, ms = _timed(search, faces)
        right = np.linalg.norm(gallery[found].astype(np.float64) - faces, axis=1) <= distances * (1 + 1e-9)
        return Row(rows, "crowds", method, setting, build_s, size / 1e6, float(right.mean()), ms, serves)

    exact, seconds = _built(lambda: ExactSearch(gallery))
    yield row("exact", "", seconds, 4.0 * rows, exact.nearest, rows < MANY)
    lists, chosen = lists_of(rows)
    ivf, seconds = _built(lambda: ApproximateSearch(gallery))
    size = gallery.nbytes + 8.0 * rows + 4.0 * lists * gallery.shape[1]
    for probed in sorted({*PROBES, chosen}):
        ivf.lists.nprobe = probed
        yield row("ivf", f"{probed} of {lists} lists", seconds, size, ivf.nearest, rows >= MANY and probed == chosen)
    del ivf
    if rows > LARGEST_HNSW:
        return
    hnsw, seconds = _built(lambda: _hnsw(gallery))
    size = gallery.nbytes + 4.0 * hnsw.hnsw.neighbors.size() + 12.0 * rows  # type: ignore[attr-defined]
    for effort in EFFORTS:
        hnsw.hnsw.efSearch = effort
        yield row("hnsw", f"ef {effort}", seconds, size, lambda one: hnsw.search(one, 1)[1][:, 0], False)


def _enrolled(people: People, rows: int, queries: int, seed: int) -> Iterator[Row]:
    """Faces among enrolled people: new photos of some of them, and as many strangers."""
    rng = np.random.default_rng(seed + 3)
    gallery, faces = people.draw(rows, seed + 4), people.draw(queries, seed + 5)
    known = rng.integers(rows, size=queries // 2)
    photos = rng.normal(size=(len(known), gallery.shape[1])) * SAME / gallery.shape[1] ** 0.5
    faces[: len(known)] = gallery[known] + photos
    nearest, distances = _truth(gallery, faces)
    search, seconds = _built(lambda: WithinSearch(gallery, RADIUS))
    found, ms = _timed(search.nearest, faces)
    right = (found == np.where(distances <= RADIUS, nearest, -1)).mean()
    directions = max(16, gallery.shape[1] // 4)
    yield Row(rows, "people", "exact", f"within {RADIUS}", seconds, 4e-6 * rows * (directions + 1), right, ms, True)


def _truth(gallery: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows and their distances, by float64 and nothing else."""
    asked = faces.astype(np.float64)
    nearest, least = np.full(len(faces), -1), np.full(len(faces), np.inf)
    for start in range(0, len(gallery), BLOCK):
        block = gallery[start : start + BLOCK].astype(np.float64)
        squared = (block**2).sum(axis=1) - 2 * asked @ block.T
        here = squared.argmin(axis=1)
        squared = squared[np.arange(len(faces)), here]
        nearest = np.where(squared < least, start + here, nearest)
        least = np.minimum(squared, least)
    return nearest, np.linalg.norm(gallery[nearest].astype(np.float64) - asked, axis=1)


def _hnsw(gallery: np.ndarray) -> faiss.IndexHNSWFlat:
    index = faiss.IndexHNSWFlat(gallery.shape[1], HNSW_LINKS)
    index.hnsw.efConstruction = HNSW_BUILD
    index.add(gallery)
    return index


def _built(make: Callable[[], S]) -> tuple[S, float]:
    start = time.thread_time()
    return make(), time.thread_time() - start


def _timed(search: Callable[[np.ndarray], np.ndarray], faces: np.ndarray) -> tuple[np.ndarray, float]:
    """The rows found, and the median CPU time of one query in milliseconds: others on the machine hardly change it."""
    found, seconds = [], []
    for face in faces:
        start = time.thread_time()
        found.append(int(search(face[None])[0]))
        seconds.append(time.thread_time() - start)
    return np.array(found), 1e3 * float(np.median(seconds))


def _table(found: list[Row]) -> Table:
    table = Table(title="one query, one thread; CPU time; bold: what serves at that size")
    for name in ("rows", "of", "method", "setting", "build s", "MB", "recall@1", "ms"):
        table.add_column(name, justify="left" if name in ("of", "method", "setting") else "right")
    for row in found:
        figures = (f"{row.build_s:.1f}", f"{row.megabytes:.0f}", f"{row.recall:.3f}", f"{row.ms:.2f}")
        style = "bold" if row.serves else ""
        table.add_row(f"{row.rows:,}", row.of, row.method, row.setting, *figures, style=style)
    return table


def _draw(found: list[Row], out: Path) -> None:
    """Recall against milliseconds of the approximate ways, a line for each size; the exact way as a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, rows in enumerate(sorted({row.rows for row in found})):
        for method, line in (("ivf", "o-"), ("hnsw", "s--"), ("exact", "*")):
            drawn = [row for row in found if (row.rows, row.of, row.method) == (rows, "crowds", method)]
            label = f"{method}, {rows:,}"
            axes.plot([r.ms for r in drawn], [r.recall for r in drawn], line, color=f"C{number}", label=label)
    axes.set(xscale="log", xlabel="ms a query, one thread", ylabel="recall@1", ylim=(0.8, 1.005))
    axes.legend(fontsize=7, ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)

"""`anonfaces bench partition`: every partitioner side by side, and the paper's figures beside ours."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from services.arrays import read_embeddings
from services.errors import PartitionError
from services.files import require_parent
from services.population.bench import published as paper
from services.population.bench.drawing import draw
from services.population.bench.trials import Job, Trial, read_algorithms, run_trials
from services.population.partition.swap import EFFORTS
from services.population.tell import tell
from services.text import figures_console

DEFAULT_K = "2,5,10,20"


def partition(
    embeddings: Annotated[Path, typer.Option(exists=True, dir_okay=False, help=".npz with `embedding`, or .npy")],
    k: Annotated[str, typer.Option(help="fewest people of a crowd, with commas between")] = DEFAULT_K,
    algorithms: Annotated[str, typer.Option(help="with commas between; NAME:EFFORT; all: every one there is")] = "all",
    effort: Annotated[str, typer.Option(help="quick, default or thorough, where a name says nothing else")] = "default",
    seed: Annotated[int, typer.Option(help="the same seed gives the same crowds")] = 0,
    limit_s: Annotated[float, typer.Option(min=0, help="seconds after which an algorithm is given up at a k")] = 300,
    published: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="figures of the paper, to stand beside")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="the figures as JSON; - prints it")] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="folder for the figures and a picture")] = None,
) -> None:
    """Measures partitioners on one population: loss, distances, sizes and CPU time, at each k."""
    ks, names = _read_ks(k), read_algorithms(algorithms)
    if effort not in EFFORTS:
        raise PartitionError(f"no effort named {effort!r}; there are {', '.join(EFFORTS)}")
    tables = [paper.read_published(file) for file in published or ()]
    to_stdout = str(as_json) == "-"
    require_parent(None if to_stdout else as_json)
    if out:
        require_parent(out)
        out.mkdir(exist_ok=True)
    points = read_embeddings(embeddings)
    _check_ks(ks, len(points))
    console = figures_console(stderr=to_stdout)
    known: dict[Job, Trial] = {}

    def run(jobs: Sequence[Job]) -> list[Trial]:
        for trial in run_trials(points, [job for job in jobs if job not in known], effort, limit_s):
            known[trial.job] = trial
            fewer = f", {trial.job.left_out} people left out" if trial.job.left_out else ""
            told = f"{trial.job.algorithm}, k = {trial.job.k}{fewer}: {trial.note or 'done'}"
            console.print(told, style="dim", highlight=False)
        return [known[job] for job in jobs]

    trials = run([Job(name, each, seed) for name in names for each in ks])
    told: dict[str, Any] = {
        "embeddings": str(embeddings),
        "people": len(points),
        "dims": points.shape[1],
        "effort": effort,
        "trials": [asdict(trial) for trial in trials],
    }
    for each in ks:
        console.print(_table(each, [trial for trial in trials if trial.job.k == each]))
    for table in tables:
        told.setdefault("published", []).append(_beside(table, points, ks, run, console))
    if out:
        draw(trials, out / "partition.png")
        tell(told, out / "partition.json")
    if as_json:
        tell(told, as_json)


def _read_ks(text: str) -> list[int]:
    try:
        ks = [int(part) for part in text.split(",")]
    except ValueError:
        ks = []
    if not ks or min(ks) < 2:
        raise PartitionError(
            f"--k {text!r}: wanted are whole numbers from 2 on, with commas between, as in {DEFAULT_K}"
        )
    return list(dict.fromkeys(ks))


def _check_ks(ks: list[int], n: int) -> None:
    if max(ks) > n:
        raise PartitionError(f"{n} people cannot form a crowd of {max(ks)}; ask for a smaller --k")


def _table(k: int, trials: Iterable[Trial]) -> Table:
    table = Table(
        title=f"k = {k}: distances are means, but for the widest crowd; best loss first", title_justify="left"
    )
    for name in (
        "algorithm",
        "loss",
        "to centre",
        "in crowd",
        "diameter",
        "widest",
        "silhouette",
        "crowds",
        "sizes",
        "CPU s",
    ):
        table.add_column(name, justify="left" if name == "algorithm" else "right", no_wrap=True)
    for trial in sorted(trials, key=lambda trial: trial.measures.loss if trial.measures else np.inf):
        m = trial.measures
        if m is None:
            table.add_row(trial.job.algorithm, trial.note, *[""] * 8)
            continue
        figures = [f"{value:.4f}" for value in (m.loss, m.to_centre, m.apart, m.diameter, m.widest)]
        silhouette = "" if m.silhouette is None else f"{m.silhouette:.4f}"
        sizes = f"{m.smallest} / {m.mean_size:.1f} / {m.largest}" + (f", below {k}" if trial.note else "")
        table.add_row(trial.job.algorithm, *figures, silhouette, f"{m.crowds:,}", sizes, f"{trial.cpu_s:.2f}")
    return table


def _beside(
    table: list[paper.Row] | dict[str, dict[int, float]],
    points: np.ndarray,
    ks: list[int],
    run: paper.Run,
    console: Console,
) -> Any:
    """Prints one of the paper's tables beside ours; the same as JSON."""
    if isinstance(table, list):
        found = paper.beside(table, len(points), run)
        _show_rows(found, len(points), console)
        return {"k": paper.K, "rows": [asdict(row) for row in found]}
    console.print(f"\n[bold]The paper's curves over k.[/bold] {paper.RENDERED}", highlight=False)
    if paper.are_rates(table):
        console.print(
            f"Re-identification rates: shares of {paper.SAMPLE} people (every figure of CelebA is a whole number of "
            f"{paper.SAMPLE}ths) whose distance to that picture is at most 0.6. A partition alone does not give them.",
            highlight=False,
        )
        return {"reidentification": "needs rendered faces"}
    variance = float(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())
    curves = paper.curves(table, ks, variance, run)
    for curve in curves:
        console.print(_curve_table(curve))
        console.print(curve.verdict(), highlight=False)
    return {"curves": [{**asdict(curve), "verdict": curve.verdict()} for curve in curves]}


def _show_rows(found: list[paper.Beside], n: int, console: Console) -> None:
    table = Table(
        title=f"the paper's table at k = {paper.K}, of {paper.PEOPLE} people, and ours, of {n}", title_justify="left"
    )
    for name in ("", "algorithm", "k", *paper.COLUMNS, "silhouette", "size"):
        table.add_column(name, justify="left" if name in ("", "algorithm") else "right", no_wrap=True)
    for each in found:
        figures = each.row.figures
        distances = [f"{figures[name]:.4f}" for name in paper.COLUMNS]
        named = (f"{each.row.strategy}, {each.row.method}", "paper", str(paper.K))
        table.add_row(*named, *distances, f"{figures['mean silhouette']:.4f}", f"{figures['size']:.2f}")
        for trial in each.trials:
            m = trial.measures
            if m is None:
                table.add_row("", each.algorithm, str(trial.job.k), trial.note)
                continue
            ours = [f"{getattr(m, of):.4f} {each.deviation(name, trial):+.1%}" for name, of in paper.COLUMNS.items()]
            silhouette = "" if m.silhouette is None else f"{m.silhouette:.4f}"
            table.add_row("", each.algorithm, str(trial.job.k), *ours, silhouette, f"{m.mean_size:.2f}")
        spread = [f"± {each.spread[name]:.4f}" for name in paper.COLUMNS if name in each.spread]
        table.add_row("", "others left out", str(paper.K), *spread, end_section=True)
    console.print(table)
    console.print(
        f"No row can come out exactly: the embeddings of the paper's {paper.PEOPLE} people were not published. ± is a "
        f"standard deviation, over {paper.DRAWS} draws of as many people left out as are missing here. Besides:",
        highlight=False,
    )
    for each in found:
        console.print(f"  {each.row.strategy}, {each.row.method}: {each.why}", highlight=False)


def _curve_table(curve: paper.Curve) -> Table:
    table = Table(title=f"{curve.column}, and {curve.algorithm} here", title_justify="left")
    for name in ("k", "information loss", "to centre", "ratio", "in crowd", "offset"):
        table.add_column(name, justify="right")
    rows = zip(curve.ks, curve.published, curve.to_centre, curve.apart, curve.offset, strict=True)
    for k, published, to_centre, apart, offset in rows:
        figures = (published, to_centre, published / to_centre, apart, offset)
        table.add_row(str(k), *(f"{value:.4f}" for value in figures))
    return table

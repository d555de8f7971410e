"""`anonfaces population partition`: bare embeddings -> crowds."""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from services.arrays import read_embeddings
from services.files import require_parent
from services.population.engine import engine_for
from services.population.partition import information_loss
from services.population.partition import partition as partition_people
from services.population.tell import tell

console = Console()


def partition(
    embeddings: Annotated[Path, typer.Option(exists=True, dir_okay=False, help=".npz with `embedding`, or .npy")],
    k: Annotated[int, typer.Option(help="fewest people of a crowd")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="where the labels go (CSV)")],
    algorithm: Annotated[str, typer.Option(help="how people are partitioned")] = "swap",
    effort: Annotated[str, typer.Option(help="quick, default or thorough")] = "default",
    seed: Annotated[int, typer.Option(help="the same seed gives the same labels")] = 0,
    engine: Annotated[str, typer.Option(help="local or ray")] = "local",
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; one of its own if not given")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="what came of it, as JSON; - prints it")] = None,
) -> None:
    """Partitions bare embeddings, one row a person: CSV with a header, then each row and its crowd, in order."""
    require_parent(out)
    points = read_embeddings(embeddings)
    with engine_for(engine, address) as machines:
        start = time.perf_counter()
        labels = partition_people(points, k, algorithm, seed, effort, machines)
        seconds = time.perf_counter() - start
    told: dict[str, Any] = {
        "people": len(points),
        "k": k,
        "algorithm": algorithm,
        "effort": effort,
        "seed": seed,
        "seconds": round(seconds, 3),
        "information_loss": round(information_loss(points, labels), 6),
        "crowds": int(labels.max()) + 1,
        "smallest": int(np.bincount(labels).min()),
        "largest": int(np.bincount(labels).max()),
    }
    _write(labels, out)
    if as_json is not None:
        tell(told, as_json)
        return
    console.print(
        f"{told['people']} people in {told['crowds']} crowds of {told['smallest']} to {told['largest']}, "
        f"information loss {told['information_loss']:.4f}, {seconds:.1f} s: {out}",
        soft_wrap=True,
        highlight=False,
    )


def _write(labels: np.ndarray, out: Path) -> None:
    """Writes row and crowd of everyone: whole, or, on a full disk, not at all."""
    partial = out.with_name(f".{out.name}.part")
    try:
        rows = np.column_stack([np.arange(len(labels)), labels])
        np.savetxt(partial, rows, "%d", ",", header="row,crowd", comments="")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)

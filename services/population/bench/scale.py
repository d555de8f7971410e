"""How time and memory of a partition grow with the population, from thousands to millions."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from rich.table import Table
from sklearn.mixture import GaussianMixture

from services.arrays import read_embeddings
from services.errors import ConfigurationError
from services.files import require_parent
from services.population.engine import engine_for
from services.population.partition import information_loss
from services.population.partition import partition as partition_people
from services.population.tell import tell
from services.text import figures_console

GROUPS = 10  # Gaussians of the mixture
DIMS = 128
CHILD = "from services.population.bench.scale import one; one()"


def scale(
    embeddings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="what people are drawn after; made up if not given")
    ] = None,
    sizes: Annotated[str, typer.Option(help="people, separated by commas")] = "1000,10000,100000,1000000",
    k: Annotated[int, typer.Option(min=2, help="fewest people of a crowd")] = 10,
    effort: Annotated[str, typer.Option(help="quick, default or thorough")] = "default",
    seed: Annotated[int, typer.Option(help="of the people and of the partition")] = 0,
    engine: Annotated[str, typer.Option(help="local or ray")] = "local",
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; one of its own if not given")] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="file for a plot (.png)")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="the figures, as JSON; - prints them")] = None,
) -> None:
    """Seconds, memory and loss against the number of people, each size in a process of its own."""
    require_parent(out)
    if not re.fullmatch(r"\d+(,\d+)*", sizes):
        raise ConfigurationError(f"--sizes {sizes!r}: give numbers with commas between them, such as 1000,10000")
    rows = []
    for n in map(int, sizes.split(",")):
        told = {"n": n, "k": k, "effort": effort, "seed": seed, "engine": engine, "address": address}
        told["embeddings"] = str(embeddings) if embeddings else None
        rows.append(_in_a_child(told))
    if out is not None:
        _draw(rows, out)
    if as_json is not None:
        tell({"k": k, "effort": effort, "engine": engine, "rows": rows}, as_json)
    else:
        figures_console().print(_table(rows, k, effort))


def people_like(reference: np.ndarray | None, n: int, seed: int) -> np.ndarray:
    """float32 [n, d]: drawn from a mixture of Gaussians fitted to reference embeddings, or from one made up."""
    rng = np.random.default_rng(seed)
    if reference is None:
        means = rng.normal(size=(GROUPS, DIMS)).astype(np.float32) * 0.04
        spreads = [np.eye(DIMS, dtype=np.float32) * 0.05] * GROUPS
        weights = np.full(GROUPS, 1 / GROUPS)
    else:
        mixture = GaussianMixture(min(GROUPS, len(reference)), covariance_type="full", random_state=0, reg_covar=1e-5)
        mixture.fit(reference.astype(np.float64))
        means, weights = mixture.means_.astype(np.float32), mixture.weights_
        spreads = [np.linalg.cholesky(c).astype(np.float32) for c in mixture.covariances_]
    group = rng.choice(len(means), n, p=weights)
    points = rng.standard_normal((n, means.shape[1]), dtype=np.float32)
    step = 65_536
    for start in range(0, n, step):  # in place, by parts: a million people are half a gigabyte
        some = slice(start, start + step)
        for number, spread in enumerate(spreads):
            mine = np.flatnonzero(group[some] == number) + start
            points[mine] = points[mine] @ spread.T + means[number]
    return points


def _in_a_child(told: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(told), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(f"the measurement of {told['n']} people ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def one() -> None:
    """Measures one size, in a process of its own: reads what from the standard input, prints one line of JSON."""
    told = json.load(sys.stdin)
    reference = read_embeddings(Path(told["embeddings"])) if told["embeddings"] else None
    points = people_like(reference, told["n"], told["seed"])
    with engine_for(told["engine"], told["address"]) as engine:
        partition_people(points[: 4 * told["k"]], told["k"], "swap", 0, told["effort"], engine)  # compiles
        wall, cpu = time.perf_counter(), time.process_time()
        labels = partition_people(points, told["k"], "swap", told["seed"], told["effort"], engine)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    sizes = np.bincount(labels)
    row = {
        "people": told["n"],
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": int(peak[1]) // 1024 if peak else None,
        "information_loss": round(information_loss(points, labels), 4),
        "crowds": len(sizes),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
    }
    print(json.dumps(row))


def _table(rows: list[dict[str, Any]], k: int, effort: str) -> Table:
    table = Table(title=f"swap, k = {k}, effort {effort}")
    for name in ("people", "seconds", "CPU seconds", "peak MB", "information loss", "crowds", "sizes"):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [f"{row['people']:,}", row["seconds"], row["cpu_seconds"], row["peak_mb"], row["information_loss"]]
        table.add_row(*map(str, cells), f"{row['crowds']:,}", f"{row['smallest']} to {row['largest']}")
    return table


def _draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Seconds and megabytes against people, both on logarithmic axes."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    people = [row["people"] for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    wall, memory = axes
    wall.loglog(people, [row["seconds"] for row in rows], "o-", color="#1f4e9c", label="wall")
    wall.loglog(people, [row["cpu_seconds"] for row in rows], "s--", color="#c26a1b", label="CPU, this process")
    wall.set(xlabel="people", ylabel="seconds", title="Time of a partition")
    wall.legend(frameon=False)
    memory.loglog(people, [row["peak_mb"] for row in rows], "o-", color="#1f4e9c")
    memory.set(xlabel="people", ylabel="MB at the most", title="Memory, the embeddings included")
    for axis in axes:
        axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)

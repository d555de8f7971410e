"""Every model of a repository in a table: where it is from, on which terms, how large, how exact, how fast."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from conversion.triton_config import FREE_PX
from services.errors import ConversionError
from services.provenance import VERSION_FOLDER, check_model

BATCHES = (1, 4, 8)
LEAST_S, MOST_RUNS = 1.0, 50  # how long each batch size is measured
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    source: str
    licence: str
    megabytes: float
    parity: dict[str, Any]
    ms: dict[int, float]  # of one row, by batch size; empty: not measured


def describe(name: str, repository: Path, measure: bool) -> Row:
    """A model's row, from its provenance, and a measurement on one thread of this machine's CPU.

    Raises:
        ConversionError: the model is not converted, or was changed.
    """
    told = check_model(repository, name)
    file = repository / name / VERSION_FOLDER / "model.onnx"
    return Row(
        name=name,
        source=_source(told),
        licence=told["licence"] + (" (restricted)" if told["restricted"] else ""),
        megabytes=file.stat().st_size / 1e6,
        parity=told["parity"],
        ms={batch: _milliseconds(file, batch) for batch in BATCHES} if measure else {},
    )


def _source(told: dict[str, Any]) -> str:
    source = told["source"]
    if source["kind"] == "pypi" or source["kind"] == "npm":
        return f"{source['kind']} {source['package']} {source['version']}"
    return str(source.get("url") or source.get("path") or ", ".join(source.get("files", [])))


def _milliseconds(file: Path, batch: int) -> float:
    """The median time of one row, on one thread, of inputs that are neither zero nor alike."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        shape = (batch, *(side if isinstance(side, int) else FREE_PX[1] for side in value.shape[1:]))
        noise = rng.normal(size=shape) if value.type == "tensor(float)" else rng.integers(0, 256, shape)
        feed[value.name] = noise.astype(TYPES[value.type])
    session.run(None, feed)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < LEAST_S and len(times) < MOST_RUNS):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000 / batch


def names_of(repository: Path) -> list[str]:
    """The converted models of a repository, in order.

    Raises:
        ConversionError: there is none.
    """
    names = sorted(path.parent.parent.name for path in repository.glob(f"[!.]*/{VERSION_FOLDER}/model.onnx"))
    if not names:
        raise ConversionError(f"no converted models in {repository}; run `anonfaces models convert`")
    return names


def markdown(rows: list[Row]) -> str:
    """The table as Markdown."""
    batches = [f"ms/row, batch {batch}" for batch in BATCHES] if rows and rows[0].ms else []
    heads = ["model", "from", "terms", "MB", "parity", *batches]
    lines = [heads, ["---", "---", "---", "--:", "---", *["--:"] * len(batches)]]
    for row in rows:
        parity = f"{row.parity['value']:.1g} ({row.parity['measure']}; {row.parity['reference']})"
        lines.append(
            [
                row.name,
                row.source,
                row.licence,
                f"{row.megabytes:.1f}",
                parity,
                *(f"{ms:.3g}" for ms in row.ms.values()),
            ]
        )
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines)

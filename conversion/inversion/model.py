"""An inversion as a file, and as a graph for Triton."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conversion.converted import Converted
from conversion.graph import FLOAT, Graph
from conversion.inversion.fit import Inversion
from conversion.parity import Parity, run_onnx
from conversion.registry import Options
from services.anonymizer.models import Inverter
from services.arrays import read_arrays
from services.errors import ConversionError
from services.files import fsync_directory, write_durably

MAX_BYTES = 64 << 20
POSE = 10
# name: (type, axes). The matrix is in half precision: its rounding moves w by less than a thousandth of its spread.
ARRAYS = {"mean": ("<f4", 1), "scale": ("<f4", 1), "matrix": ("<f2", 2), "w_mean": ("<f4", 1), "gain": ("<f4", 0)}


@dataclass(frozen=True)
class Fitted:
    """An inversion, and what is known about it: models, pairs, seed, figures, command."""

    inversion: Inversion
    card: dict[str, Any]


def save(fitted: Fitted, path: Path) -> None:
    """Writes a `.npz`, whole or not at all."""
    values = {name: np.asarray(getattr(fitted.inversion, name), kind) for name, (kind, _) in ARRAYS.items()}
    sink = io.BytesIO()
    np.savez_compressed(sink, card=np.array(json.dumps(fitted.card)), **values)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    write_durably(partial, sink.getvalue())
    partial.replace(path)
    fsync_directory(path.parent)


def load(path: Path) -> Fitted:
    """Reads a `.npz` of `save`; nothing in it is executed.

    Raises:
        ConversionError: another file, damaged, of sizes that do not fit, or with values that are not finite.
    """
    try:
        arrays = read_arrays(path, "card", *ARRAYS, max_bytes=MAX_BYTES)
        card = json.loads(str(arrays["card"]))
    except ValueError as broken:
        raise ConversionError(
            f"{path.name} is not a fitted inversion (`anonfaces models fit inversion`): {broken}"
        ) from broken
    for name, (kind, axes) in ARRAYS.items():
        if arrays[name].dtype != np.dtype(kind) or arrays[name].ndim != axes:
            raise ConversionError(f"{path.name}: {name} is {arrays[name].dtype} with {arrays[name].ndim} axes")
        if not np.isfinite(arrays[name]).all():
            raise ConversionError(f"{path.name}: {name} holds values that are not finite numbers")
    rows, columns = arrays["matrix"].shape
    if not (len(arrays["mean"]) == len(arrays["scale"]) == rows > POSE and len(arrays["w_mean"]) == columns > 0):
        raise ConversionError(f"{path.name}: its arrays are of different lengths")
    needed = ("embedder", "mapping")
    if type(card) is not dict or not all(type(card.get(key)) is str for key in needed):
        raise ConversionError(f"{path.name} does not say which {' and which '.join(needed)} it is for")
    matrix, gain = arrays["matrix"].astype(np.float32), float(arrays["gain"])
    return Fitted(Inversion(arrays["mean"], arrays["scale"], matrix, arrays["w_mean"], gain), card)


def build(inversion: Inversion) -> onnx.ModelProto:
    """`embedding float32 [N, d]`, `pose float32 [N, 10]` (align.pose_of) -> `w float32 [N, w]`, as one Gemm."""
    inputs, columns = inversion.matrix.shape
    matrix = inversion.gain * inversion.matrix.astype(np.float64) / inversion.scale[:, None]
    offset = inversion.w_mean - inversion.mean.astype(np.float64) @ matrix
    graph = Graph()
    joined = graph.op("Concat", "embedding", "pose", axis=1)
    graph.name(graph.op("Gemm", joined, graph.const(matrix), graph.const(offset)), "w")
    shapes = [("embedding", FLOAT, [inputs - POSE]), ("pose", FLOAT, [POSE])]
    return graph.model("inversion", shapes, [("w", FLOAT, [columns])])


def check(model: onnx.ModelProto, inversion: Inversion, samples: int = 16) -> Parity:
    """Against the regression as it was fitted, on inputs like those it learnt from."""
    rng = np.random.default_rng(4)
    inputs = (inversion.mean + inversion.scale * rng.normal(size=(samples, len(inversion.mean)))).astype(np.float32)
    embeddings, poses = inputs[:, :-POSE], inputs[:, -POSE:]
    difference = np.abs(run_onnx(model, embedding=embeddings, pose=poses)[0] - inversion.predict(embeddings, poses))
    return Parity("numpy", "largest |difference| of w", float(difference.max()), 1e-3, samples)


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A fitted inversion -> `NAME`, which gives latents of faces.

    Raises:
        ConversionError: not a fitted inversion, or damaged.
    """
    fitted = load(path)
    inversion, card = fitted.inversion, fitted.card
    model = build(inversion)
    row = Inverter(
        name=name, model=name, embedder=card["embedder"], mapping=card["mapping"], w_dims=len(inversion.w_mean)
    )
    return [Converted(name, model, check(model, inversion), card, row)]

"""Does a converted model answer as its source does? Every conversion carries one such figure, or is not published."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime

from services.errors import ConversionError


@dataclass(frozen=True)
class Parity:
    """A comparison of a converted model with its source, on the same inputs."""

    reference: str  # what answered for the source, with its version
    measure: str  # what `value` is
    value: float
    tolerance: float
    samples: int

    def require(self, model: str) -> "Parity":
        """Returns itself, or refuses.

        Raises:
            ConversionError: the difference is above the tolerance (or not a number).
        """
        if not self.value <= self.tolerance:
            raise ConversionError(
                f"{model}: {self.measure} is {self.value:.3g}, above the tolerance of {self.tolerance:.3g} against "
                f"{self.reference}; nothing was published. Is the file whole?"
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows_of(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    """The first output of a model for all rows of its inputs, computed row by row: large pictures need the memory."""
    session = _session(model)
    count = len(next(iter(inputs.values())))
    rows = [session.run(None, {name: value[i : i + 1] for name, value in inputs.items()})[0] for i in range(count)]
    return np.concatenate(rows)


def run_onnx(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    """Runs a model held in memory on the CPU; all outputs in the graph's order."""
    return list(_session(model).run(None, inputs))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def smooth_images(count: int, side: int, seed: int) -> np.ndarray:
    """Pictures with structure at several scales, `uint8 [count, side, side, 3]`, the same for a seed everywhere."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((count, side, side, 3))
    for cells in (4, 16, 64):
        coarse = rng.normal(size=(count, cells, cells, 3))
        at = np.minimum(np.arange(side) * cells // side, cells - 1)
        picture += coarse[:, at][:, :, at] / np.sqrt(cells)
    return np.clip(128 + 60 * picture, 0, 255).astype(np.uint8)

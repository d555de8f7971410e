"""What every conversion ends with: a graph, what it was checked against, and what the services need to know of it."""

from dataclasses import dataclass, field
from typing import Any

import onnx

from conversion.parity import Parity
from services.anonymizer.models import Embedder, Estimator, Generator, Inverter


@dataclass(frozen=True)
class Converted:
    """A model ready to be published: its Triton name, the graph, its parity, and facts users need."""

    name: str
    model: onnx.ModelProto
    parity: Parity
    card: dict[str, Any] = field(default_factory=dict)
    serves: Generator | Embedder | Inverter | Estimator | None = (
        None  # the registry row that makes the services use it; None: a part of one
    )

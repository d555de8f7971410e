"""The capacity table of docs/operations.md: `python -m deploy.checks.capacity` prints it.

Counted: what the served networks calculate for a photo. Measured: what a photo takes of the service's processors
(docs/load.md). Planned: the rest, by an assumption that is stated, since no GPU was at hand.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import onnx

from services.anonymizer.models import choose
from services.settings import Settings

PHOTO = (1, 1024, 1024, 3)  # one face in it, its surrogate kept
SHARE = 0.05  # of a GPU's peak: planned, and meant to be low, since small convolutions wait for memory
NETWORK = 25e9 / 8  # bytes/s into Triton's node: planned
CORE_SECONDS = 0.064  # of the service for a photo: 0.9 of a core at 14 photos/s, docs/load.md
# Peak of dense FP16 with tensor cores in TFLOP/s, by the vendor's data sheets.
GPUS = {"T4": 65, "L4": 121, "A10G": 70, "A100": 312, "H100": 989, "H100, a slice 1g.10gb": 989 / 7}


@dataclass(frozen=True)
class Row:
    """What a GPU is planned to do."""

    gpu: str
    computed: float  # photos/s
    received: float  # photos/s, whose pixels the network brings

    @property
    def photos_s(self) -> float:
        return min(self.computed, self.received)

    @property
    def bound(self) -> str:
        return "GPU" if self.computed < self.received else "network"

    @property
    def cores(self) -> float:
        """Of services that keep up with it."""
        return self.photos_s * CORE_SECONDS

    @property
    def hours(self) -> float:
        """Of that GPU and those cores, for a million photos."""
        return 1e6 / self.photos_s / 3600


def operations(model: str, repository: Path, shape: tuple[int, ...] | None = None) -> float:
    """Operations (two for a multiplication and its addition) of a network's convolutions and matrix products.

    Args:
        shape: of the input, where it is free; None: a batch of one.
    """
    (file,) = (repository / model / "1").glob("*.onnx")
    network = onnx.load(file)
    for tensor in network.graph.input:
        for dim, size in zip(tensor.type.tensor_type.shape.dim, shape or (1,), strict=shape is not None):
            dim.dim_value = size
    network = onnx.shape_inference.infer_shapes(network, data_prop=True)
    graph = network.graph
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return sum(_of_node(node, shapes) for node in graph.node)


def _of_node(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> float:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0.0
    data, weights, out = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    if 0 in out:
        raise ValueError(f"the shape of {node.output[0]} is not known")
    match node.op_type:
        case "Conv":
            return 2.0 * math.prod(out) * math.prod(weights[1:])
        case "ConvTranspose":
            return 2.0 * math.prod(data) * math.prod(weights[1:])
    return 2.0 * math.prod(out) * data[-1]


def of_a_photo(settings: Settings) -> float:
    """Operations that the models of the settings do for `PHOTO` on a GPU."""
    models = choose(settings.model_copy(update={"detector_precision": "float32"}))
    first, second = models.detector.served
    at = settings.model_repository
    return operations(first, at, PHOTO) + operations(second, at) + operations(models.embedder.model, at)


def table(settings: Settings) -> list[Row]:
    """A row for each GPU."""
    work = of_a_photo(settings)
    received = NETWORK / math.prod(PHOTO)  # a byte for each value: pixels go to Triton as they are
    return [Row(gpu, SHARE * peak * 1e12 / work, received) for gpu, peak in GPUS.items()]


def markdown(settings: Settings) -> str:
    """The table as it stands in the document."""
    head = "| GPU | photos/s | bound by | cores of services beside it | hours for a million photos |"
    lines = [head, "|---|--:|---|--:|--:|"]
    lines += [f"| {r.gpu} | {r.photos_s:.0f} | {r.bound} | {r.cores:.0f} | {r.hours:.2f} |" for r in table(settings)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(f"{of_a_photo(Settings()) / 1e9:.1f} billion operations a photo, {PHOTO[1]} x {PHOTO[2]} with one face\n")
    print(markdown(Settings()), end="")

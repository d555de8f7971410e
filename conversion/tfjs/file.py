"""Reads a TensorFlow.js graph model: the network in JSON, its weights in binary files ("shards") beside it.

The JSON's `modelTopology` is a TensorFlow GraphDef written as JSON. `weightsManifest` says which bytes of the shards
are which constant: groups of shards, joined, hold their constants one after the other, little-endian. A quantised
constant q stands for q * scale + min; float16 stands for itself (tfjs-core, io/io_utils.ts, `decodeWeights`).
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from services.errors import ConversionError

MAX_JSON_BYTES = 64 << 20
MAX_WEIGHT_BYTES = 1 << 30
MAX_NODES = 20_000


class _Quantisation(BaseModel):
    dtype: Literal["uint8", "uint16", "float16"]
    scale: FiniteFloat = 1.0
    min: FiniteFloat = 0.0


class _Weight(BaseModel):
    name: str
    shape: Annotated[list[PositiveInt], Field(max_length=8)]  # none: a scalar
    dtype: Literal["float32", "int32"]
    quantization: _Quantisation | None = None

    @property
    def stored(self) -> np.dtype:
        """The type of the bytes on disk."""
        return np.dtype(self.quantization.dtype if self.quantization else self.dtype).newbyteorder("<")


class _Group(BaseModel):
    paths: list[Annotated[str, Field(pattern=r"^\w[\w.-]*$")]]  # beside the JSON, nowhere else
    weights: list[_Weight]


class _Node(BaseModel):
    name: str
    op: str
    input: list[str] = []
    attr: dict[str, dict[str, Any]] = {}


class _Topology(BaseModel):
    node: Annotated[list[_Node], Field(min_length=1, max_length=MAX_NODES)]


class _File(BaseModel):
    format: Literal["graph-model"]
    modelTopology: _Topology
    weightsManifest: list[_Group]


@dataclass(frozen=True)
class Node:
    """One operation; its inputs are names of other nodes or of constants."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, dict[str, Any]]

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A list of integers. Raises ConversionError if it is something else."""
        return tuple(self._read(name, lambda value: [int(i) for i in value["list"].get("i", [])], default))

    def flag(self, name: str) -> bool:
        """A truth value, false if it is not there. Raises ConversionError if it is something else."""
        return self._read(name, lambda value: bool(value["b"]), False)

    def text(self, name: str, default: str = "") -> str:
        """A string. Raises ConversionError if it is something else."""
        return self._read(name, lambda value: _decoded(value["s"]), default)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings. Raises ConversionError if it is something else."""
        return self._read(name, lambda value: tuple(_decoded(s) for s in value["list"].get("s", [])), ())

    def sides(self) -> tuple[int, ...]:
        """The shape that a Placeholder declares, -1 where it is free. Raises ConversionError if it is none."""
        return self._read("shape", lambda value: tuple(int(dim["size"]) for dim in value["shape"]["dim"]), ())

    def _read(self, name: str, how: Any, default: Any) -> Any:
        if name not in self.attributes:
            return default
        try:
            return how(self.attributes[name])
        except (KeyError, TypeError, ValueError, AttributeError) as broken:
            raise ConversionError(f"{self.name}: its {name} cannot be read ({broken})") from broken


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode("ascii")  # what it raises is a ValueError


@dataclass(frozen=True)
class TfjsModel:
    """What one output needs of a network: a plain chain of operations, each behind those it takes from."""

    input: str
    side: int  # of the square picture it takes, in pixels
    channels: int  # values of each pixel: 3, or 1 of a network that sees grey
    output: str
    nodes: tuple[Node, ...]  # without the input and the constants
    constants: dict[str, np.ndarray]  # float32 or int32, as TensorFlow has them (NHWC)


def json_of(path: Path) -> Path:
    """The model's JSON: the file itself, or the only one of a folder.

    Raises:
        ConversionError: the folder has none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        raise ConversionError(f"{path.name} holds {len(found)} .json files; a TensorFlow.js model has one")
    return found[0]


def node_names(path: Path) -> set[str]:
    """The names of all nodes of a model. Raises ConversionError if it is none."""
    return {node.name for node in _parse(json_of(path)).modelTopology.node}


def read_model(path: Path, output: str, channels: Literal[1, 3] = 3) -> TfjsModel:
    """Reads what a network calculates for one of its nodes.

    Args:
        path: the model's JSON, or a folder with nothing but one model.
        output: name of the node.
        channels: of the picture it takes.

    Raises:
        ConversionError: not a TensorFlow.js graph model, damaged, larger than any face network, or it has a loop, a
            weight that is not finite, or not exactly one square picture as its input.
    """
    path = json_of(path)
    file = _parse(path)
    weights = _weights(file.weightsManifest, path)
    nodes: dict[str, Node] = {}
    for node in file.modelTopology.node:
        if node.name in nodes:
            raise ConversionError(f"{path.name}: two nodes are called {node.name}; the file is damaged")
        inputs = tuple(_source(value, node.name) for value in node.input if not value.startswith("^"))
        nodes[node.name] = Node(node.name, node.op, inputs, node.attr)
    needed = [nodes[name] for name in _ordered(output, nodes)]
    open_ends = [node for node in needed if node.op == "Placeholder"]
    if len(open_ends) != 1:
        raise ConversionError(
            f"{path.name}: {output} has {len(open_ends)} inputs; a network of faces takes one picture"
        )
    sides = open_ends[0].sides()
    if len(sides) != 4 or sides[1] != sides[2] or not 0 < sides[1] <= 1024 or sides[3] != channels:
        raise ConversionError(
            f"{path.name}: its input is {list(sides)}, not a square picture of {channels} values a pixel"
        )
    absent = [node.name for node in needed if node.op == "Const" and node.name not in weights]
    if absent:
        raise ConversionError(f"{path.name}: no weights are stored for {absent[0]}")
    return TfjsModel(
        open_ends[0].name,
        sides[1],
        channels,
        output,
        tuple(node for node in needed if node.op not in ("Const", "Placeholder")),
        {node.name: weights[node.name] for node in needed if node.op == "Const"},
    )


def _parse(path: Path) -> _File:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ConversionError(f"{path.name} is larger than {MAX_JSON_BYTES} bytes; no network's JSON is")
        return _File.model_validate_json(path.read_bytes())
    except OSError as broken:
        raise ConversionError(f"{path.name} cannot be read: {broken.strerror}") from broken
    except ValidationError as broken:
        first = broken.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConversionError(f"{path.name} is no TensorFlow.js graph model: {where}: {first['msg']}") from None


def _source(value: str, node: str) -> str:
    """The node that an input comes from. No operation that is known here has a second output."""
    name, _, port = value.partition(":")
    if port not in ("", "0"):
        raise ConversionError(f"{node} takes output {port} of {name}; only first outputs are known here")
    return name


def _ordered(output: str, nodes: dict[str, Node]) -> Iterator[str]:
    """The nodes that `output` needs, each after those it takes from."""
    done: set[str] = set()
    open_: set[str] = set()  # on the way from the output to here
    stack = [(output, "")]
    while stack:
        name, user = stack[-1]
        if name not in nodes:
            raise ConversionError(f"{user} takes {name}, which is not there" if user else f"there is no node {name}")
        wanted = [source for source in nodes[name].inputs if source not in done]
        if name in done or not wanted:
            stack.pop()
            open_.discard(name)
            if name not in done:
                done.add(name)
                yield name
        elif name in open_:
            raise ConversionError(f"{name} depends on itself; the file is damaged")
        else:
            open_.add(name)
            stack.extend((source, name) for source in wanted)


def _weights(groups: list[_Group], path: Path) -> dict[str, np.ndarray]:
    """All constants, dequantised."""
    found: dict[str, np.ndarray] = {}
    for group in groups:
        data, at = _joined(group, path), 0
        for weight in group.weights:
            size = prod(weight.shape) * weight.stored.itemsize
            stored = np.frombuffer(data, weight.stored, prod(weight.shape), at).reshape(weight.shape)
            value = _dequantised(stored, weight)
            if not np.isfinite(value).all():
                raise ConversionError(f"{path.name}: {weight.name} is not finite; the shards are damaged")
            if weight.name in found:
                raise ConversionError(f"{path.name}: two weights are called {weight.name}")
            found[weight.name] = value
            at += size
    return found


def _joined(group: _Group, path: Path) -> bytes:
    """The bytes of a group's shards, as many as its weights need."""
    need = sum(prod(weight.shape) * weight.stored.itemsize for weight in group.weights)
    shards = [path.with_name(name) for name in group.paths]
    names = ", ".join(group.paths)
    try:
        have = sum(shard.stat().st_size for shard in shards)
        if have != need:
            raise ConversionError(
                f"{path.name}: {names}: {have} bytes, the weights need {need}; a shard is cut off or not this model's"
            )
        if need > MAX_WEIGHT_BYTES:
            raise ConversionError(f"{path.name}: weights of {need} bytes; no recogniser has that many")
        return b"".join(shard.read_bytes() for shard in shards)
    except OSError as broken:
        raise ConversionError(f"{path.name}: {names}: {broken.strerror}; put the shards beside it") from broken


def _dequantised(stored: np.ndarray, weight: _Weight) -> np.ndarray:
    """In float64 first, as JavaScript calculates."""
    quantisation = weight.quantization
    if quantisation is None or quantisation.dtype == "float16":
        return stored.astype(weight.dtype)
    value = stored * np.float64(quantisation.scale) + quantisation.min
    if weight.dtype == "int32":
        value = np.floor(value + 0.5)  # Math.round
        if np.abs(value).max(initial=0) >= 2**31:
            raise ConversionError(f"{weight.name} does not fit in int32; the file is damaged")
    with np.errstate(over="ignore"):  # what overflows is not finite, and is refused as such
        return value.astype(weight.dtype)

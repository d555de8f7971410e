"""Reads whole models that Keras saved as HDF5, without Keras: Keras 1, Keras 2, tf.keras, and Keras 3's legacy format.

The format (keras/engine/topology.py and keras/models.py of Keras 1.2, keras/engine/saving.py of Keras 2.3): the root's
attribute `model_config` describes the layers in JSON; the group `model_weights` lists them in `layer_names`, and each
layer's group lists its datasets in `weight_names`. Lists too long for one attribute are cut into `layer_names0`,
`layer_names1`, and so on. Keras 1's names and values come out as Keras 2 calls them.

A file may be hostile. Nothing outside of it is opened (links, external storage, virtual datasets), and a dataset is
read only after its size, type and packing were held against what the file really has.
"""

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from services.errors import ConversionError

MAX_WEIGHT_BYTES = 2 << 30  # of all weights together
MAX_CONFIG_BYTES = 16 << 20
MAX_LAYERS = 1000
MAX_WEIGHTS_OF_A_LAYER = 16
MAX_CHUNKS = 10_000  # of one dataset
MAX_RATIO, SMALL_BYTES = 20, 64 << 10  # what gzip may gain: weights barely shrink, short rows of zeros do
PACKINGS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32)

# what h5py, HDF5 and a description of another shape raise
UNREADABLE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)

KINDS = {"Convolution2D": "Conv2D"}
RENAMED = {
    "batch_shape": "batch_input_shape",  # Keras 3
    "negative_slope": "alpha",  # Keras 3
    "bias": "use_bias",
    "border_mode": "padding",
    "concat_axis": "axis",
    "dim_ordering": "data_format",
    "nb_filter": "filters",
    "output_dim": "units",
    "subsample": "strides",
}
DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}


@dataclass(frozen=True)
class KerasLayer:
    """One layer, in Keras 2's words."""

    kind: str  # class name
    name: str
    config: dict[str, Any]  # as the file has it: values are not checked
    inbound: tuple[str, ...]  # the layers it reads, in the order of its arguments
    weights: tuple[np.ndarray, ...]  # float32, finite, in the order of Keras's `get_weights`


@dataclass(frozen=True)
class KerasModel:
    """A functional model of one output. Every layer comes after those it reads."""

    layers: tuple[KerasLayer, ...]
    inputs: dict[str, int]  # name -> length of the vector
    output: str  # name of a layer
    keras_version: str  # "" where the file does not say
    backend: str  # "" where the file does not say; Keras 1 never does


def read_model(path: Path) -> KerasModel:
    """Reads a file written by `model.save(...)`.

    Raises:
        ConversionError: not HDF5, truncated, no whole functional Keras model, or weights that lie elsewhere, claim
            more than the file holds, or are not finite; says which.
    """
    try:
        if not h5py.is_hdf5(path):
            raise ConversionError("not an HDF5 file, so no model saved by Keras")
        with h5py.File(path, "r") as root:
            return _read(_Store(root, path.stat().st_size))
    except ConversionError as refused:
        raise ConversionError(f"{path.name}: {refused}") from refused
    except UNREADABLE as broken:
        raise ConversionError(f"{path.name} is truncated, damaged, or no Keras model: {broken}") from broken


def _read(store: "_Store") -> KerasModel:
    root = store.root
    if "model_config" not in root.attrs:
        what = "only weights" if "layer_names" in root.attrs else "no Keras model"
        raise ConversionError(f"it has no model_config: it holds {what}; save the whole model with model.save(...)")
    config = _functional(store.text(root, "model_config"))
    entries = config["layers"]
    if len(entries) > MAX_LAYERS:
        raise ConversionError(f"{len(entries)} layers; at most {MAX_LAYERS} are read")
    layers = {}
    group = store.member(root, "model_weights", h5py.Group)
    weighted = set(store.names(group, "layer_names", MAX_LAYERS))
    for entry in entries:
        layer = _layer(entry, lambda name: store.weights(group, name) if name in weighted else ())
        if layer.name in layers:
            raise ConversionError(f"two layers are called {layer.name!r}")
        layers[layer.name] = layer
    outputs = _tensors(config["output_layers"])
    if len(outputs) != 1 or outputs[0] not in layers:
        raise ConversionError(f"the outputs are {outputs}; one is needed, and it must be a layer")
    return KerasModel(
        layers=_in_order(layers),
        inputs={layer.name: _length(layer) for layer in layers.values() if layer.kind == "InputLayer"},
        output=outputs[0],
        keras_version=store.text(root, "keras_version"),
        backend=store.text(root, "backend"),
    )


# --- the description --------------------------------------------------------------------------------------------


def _functional(text: str) -> dict[str, Any]:
    """The part of `model_config` that holds the layers."""
    if len(text) > MAX_CONFIG_BYTES:
        raise ConversionError(f"model_config is {len(text):,} characters long; at most {MAX_CONFIG_BYTES:,} are read")
    try:
        described = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise ConversionError(f"model_config is not JSON: {broken}") from broken
    kind = described.get("class_name") if isinstance(described, dict) else None
    config = described.get("config") if isinstance(described, dict) else None
    if kind not in ("Model", "Functional") or not isinstance(config, dict):
        raise ConversionError(f"model_config describes {kind!r}; only functional models (Model) are read")
    if not isinstance(config.get("layers"), list) or not isinstance(config.get("output_layers"), list):
        raise ConversionError("model_config is not a functional model's: it lists no layers, or no outputs")
    return config


def _layer(entry: Any, weights_of: Callable[[str], tuple[np.ndarray, ...]]) -> KerasLayer:
    kind, name, config, nodes = (entry.get(key) for key in ("class_name", "name", "config", "inbound_nodes"))
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(config, dict) and isinstance(nodes, list)):
        raise ConversionError("model_config is not a functional model's: a layer lacks its class, name, or inputs")
    named = {RENAMED.get(str(key), str(key)): value for key, value in config.items()}
    if "data_format" in named:
        named["data_format"] = DATA_FORMATS.get(str(named["data_format"]), named["data_format"])
    if "nb_row" in named:
        named["kernel_size"] = [named["nb_row"], named.get("nb_col")]
    if kind == "Merge" and named.get("mode") == "concat":
        kind = "Concatenate"
    if len(nodes) > 1:
        raise ConversionError(f"layer {name!r} is used {len(nodes)} times; only layers used once are read")
    return KerasLayer(KINDS.get(kind, kind), name, named, _tensors(nodes[0]) if nodes else (), weights_of(name))


def _tensors(node: Any) -> tuple[str, ...]:
    """The layers behind the tensors that one call takes.

    Keras 1 and 2 write [[layer, call, tensor, ...], ...], or one such row where there is one; Keras 3 writes
    {"args": [...]} of tensors, or of one list of tensors, each with its `keras_history`.
    """
    if isinstance(node, dict):
        given = [tensor for arg in node["args"] for tensor in (arg if isinstance(arg, list) else [arg])]
        rows = [tensor["config"]["keras_history"] for tensor in given]
    else:
        rows = [node] if node and isinstance(node[0], str) else node
    if not all(isinstance(row[0], str) and list(row[1:3]) == [0, 0] for row in rows):
        raise ConversionError(
            "model_config joins layers in a way that is not read: a shared layer, or one of many outputs"
        )
    return tuple(row[0] for row in rows)


def _in_order(layers: dict[str, KerasLayer]) -> tuple[KerasLayer, ...]:
    """The same layers, sources first."""
    for layer in layers.values():
        for source in layer.inbound:
            if source not in layers:
                raise ConversionError(f"layer {layer.name!r} reads {source!r}, which is not there")
    try:
        order = TopologicalSorter({name: layer.inbound for name, layer in layers.items()}).static_order()
        return tuple(layers[name] for name in order)
    except CycleError as cycle:
        raise ConversionError(f"the layers read each other in a circle: {' -> '.join(cycle.args[1])}") from cycle


def _length(layer: KerasLayer) -> int:
    shape = layer.config.get("batch_input_shape")
    if not isinstance(shape, list) or len(shape) != 2 or type(shape[1]) is not int or shape[1] < 1:
        raise ConversionError(f"input {layer.name!r} has the shape {shape}; only vectors of a fixed length are read")
    return shape[1]


# --- what is stored ---------------------------------------------------------------------------------------------


class _Store:
    """An open file. Its parts are reached over hard links alone, and read only once their claims were checked."""

    def __init__(self, root: h5py.File, size: int) -> None:
        self.root, self.size = root, size
        self.stored = self.claimed = 0  # bytes of the datasets read so far: in the file, and unpacked

    def attribute(self, group: h5py.Group, key: str, most: int) -> np.ndarray:
        claim = group.attrs.get_id(key)
        values, kind = math.prod(claim.shape), claim.get_type()
        if values > most or values * kind.get_size() > self.size:
            raise ConversionError(f"{key} claims {values:,} values; at most {most:,} are read")
        if values and kind.get_class() != h5py.h5t.STRING:  # damaged sequences of other things crash HDF5
            raise ConversionError(f"{key} is not text; Keras writes it as text")
        return np.ravel(group.attrs[key])

    def text(self, group: h5py.Group, key: str) -> str:
        values: Any = self.attribute(group, key, 1) if key in group.attrs else ()
        return _text(values[0]) if len(values) else ""

    def names(self, group: h5py.Group, key: str, most: int) -> list[str]:
        """A list of names, in one attribute or cut into several."""
        keys = [key] if key in group.attrs else takewhile(group.attrs.__contains__, (f"{key}{i}" for i in count()))
        names = [_text(name) for part in keys for name in self.attribute(group, part, most)]
        if len(names) > most:
            raise ConversionError(f"{key} lists {len(names):,} names; at most {most:,} are read")
        return names

    def member(self, group: h5py.Group, path: str, kind: type) -> Any:
        """The group or dataset at a path. A link that is not hard may lead into another file, or nowhere."""
        found: Any = group
        for part in filter(None, path.split("/")):
            name = part.encode()
            if not isinstance(found, h5py.Group) or not found.id.links.exists(name):
                raise ConversionError(f"{path!r} is named, but not there")
            if found.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                raise ConversionError(f"{path!r} is a soft or external link; Keras writes none, so it is not followed")
            found = found[part]
        if not isinstance(found, kind):
            raise ConversionError(f"{path!r} is not a {kind.__name__.lower()}")
        return found

    def weights(self, group: h5py.Group, layer: str) -> tuple[np.ndarray, ...]:
        """The weights of a layer, float32 and finite."""
        own = self.member(group, layer, h5py.Group)
        names = self.names(own, "weight_names", MAX_WEIGHTS_OF_A_LAYER)
        return tuple(self.weight(self.member(own, name, h5py.Dataset), f"{layer}/{name}") for name in names)

    def weight(self, dataset: h5py.Dataset, name: str) -> np.ndarray:
        plist = dataset.id.get_create_plist()
        # before anything is asked of it: the shape of a virtual dataset is found by opening its sources
        if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise ConversionError(f"weight {name!r} lies in other files (virtual or external); they are not opened")
        kind = dataset.id.get_type()
        if kind.get_class() != h5py.h5t.FLOAT or kind.get_size() > 8 or dataset.shape is None:
            raise ConversionError(f"weight {name!r} is not made of single or double precision numbers")
        self.check_claim(dataset, [plist.get_filter(i)[0] for i in range(plist.get_nfilters())], name)
        with np.errstate(over="ignore"):
            values = np.asarray(dataset[()], np.float32)
        if not np.isfinite(values).all():
            raise ConversionError(f"weight {name!r} has values that are not finite numbers (NaN, infinity)")
        return values

    def check_claim(self, dataset: h5py.Dataset, packing: list[int], name: str) -> None:
        """Refuses a dataset that unpacks to more than its bytes in the file can stand for."""
        chunk = dataset.chunks or dataset.shape
        chunks = math.prod(-(-side // part) for side, part in zip(dataset.shape, chunk, strict=True) if side)
        chunk_bytes = math.prod(chunk) * dataset.dtype.itemsize
        claimed = chunks * chunk_bytes
        stored = dataset.id.get_storage_size()
        self.stored, self.claimed = self.stored + stored, self.claimed + claimed
        if not set(packing) <= set(PACKINGS) or len(set(packing)) != len(packing) or chunks > MAX_CHUNKS:
            raise ConversionError(f"weight {name!r} is packed in a way that is not read; only gzip is, in few chunks")
        gzipped = h5py.h5z.FILTER_DEFLATE in packing
        if claimed > (MAX_RATIO * stored + SMALL_BYTES if gzipped else stored) or self.stored > self.size:
            raise ConversionError(
                f"weight {name!r} claims {claimed:,} bytes, but the file ({self.size:,} bytes) holds {stored:,} of them"
            )
        if self.claimed > MAX_WEIGHT_BYTES:
            raise ConversionError(f"its weights claim more than {MAX_WEIGHT_BYTES >> 30} GiB (up to {name!r})")
        if gzipped:
            _refuse_bombs(dataset, packing.index(h5py.h5z.FILTER_DEFLATE), chunk_bytes, name)


def _refuse_bombs(dataset: h5py.Dataset, deflate: int, chunk_bytes: int, name: str) -> None:
    """HDF5 inflates a chunk to whatever it gives, whatever its size should be. So each is inflated here first, bounded.

    Args:
        deflate: place of the filter among the dataset's; a chunk may skip it.
    """
    for cells in dataset.iter_chunks():
        skipped, data = dataset.id.read_direct_chunk(tuple(side.start for side in cells))
        try:
            raw = data if skipped >> deflate & 1 else zlib.decompressobj().decompress(data, chunk_bytes + 5)
        except zlib.error as broken:
            raise ConversionError(f"weight {name!r} cannot be unpacked: {broken}") from broken
        if len(raw) not in (chunk_bytes, chunk_bytes + 4):  # 4: a checksum
            raise ConversionError(f"weight {name!r} unpacks to {len(raw):,} bytes or more where {chunk_bytes:,} belong")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

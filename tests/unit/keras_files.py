"""Writes face generators with random weights as Keras 1, 2 and 3 write them to HDF5, without Keras."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LAYOUTS = ("keras1", "keras2", "keras3")
VERSIONS = {"keras1": "1.2.2", "keras2": "2.1.3", "keras3": "3.4.1"}
KERAS_1 = {
    "units": "output_dim",
    "use_bias": "bias",
    "padding": "border_mode",
    "strides": "subsample",
    "filters": "nb_filter",
    "data_format": "dim_ordering",
    "kernel": "W",
    "bias": "b",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",
}
KERAS_3 = {"batch_input_shape": "batch_shape", "alpha": "negative_slope"}


@dataclass
class Layer:
    """A layer in Keras 2's words; tests change it before it is written."""

    kind: str
    name: str
    inbound: list[str]
    settings: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


class Network:
    """Grows a generator layer by layer; `layers` is what is written."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[Layer] = []
        self.output = "rgb"

    def __getitem__(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    def add(self, kind: str, name: str, *inbound: str, **settings: Any) -> str:
        self.layers.append(Layer(kind, name, list(inbound), settings))
        return name

    def give(self, name: str, **shapes: tuple[int, ...]) -> None:
        """Random weights that keep the size of what passes through, so that every layer is seen in the picture."""
        for key, shape in shapes.items():
            value = self.rng.normal(size=shape)
            if key == "kernel":
                value *= np.sqrt(2 / np.prod(shape[:-1]))
            elif key in ("gamma", "moving_variance"):
                value = 1 + np.abs(value) / 2
            else:
                value /= 4
            self[name].weights[key] = value.astype(np.float32)

    def dense(self, name: str, x: str, inputs: int, units: int) -> str:
        self.add("Dense", name, x, units=units, activation="linear", use_bias=True)
        self.give(name, kernel=(inputs, units), bias=(units,))
        return self.add("LeakyReLU", f"{name}_leaky", name, alpha=0.3)

    def conv(self, name: str, x: str, channels: int, filters: int, side: int, activation: str = "linear") -> str:
        self.add("Conv2D", name, x, filters=filters, kernel_size=[side, side], strides=[1, 1], padding="same")
        self[name].settings.update(data_format="channels_last", activation=activation, use_bias=True)
        self.give(name, kernel=(side, side, channels, filters), bias=(filters,))
        return name

    def block(self, name: str, x: str, channels: int, filters: int) -> str:
        """Twice the size, two convolutions, a normalisation."""
        x = self.add("MaxPooling2D", f"{name}_pool", x, pool_size=[1, 1], strides=[1, 1], data_format="channels_last")
        x = self.add("UpSampling2D", f"{name}_up", x, size=[2, 2], data_format="channels_last")
        x = self.conv(f"{name}_5", x, channels, filters, 5)
        x = self.add("LeakyReLU", f"{name}_5_leaky", x, alpha=0.3)
        x = self.conv(f"{name}_3", x, filters, filters, 3)
        x = self.add("LeakyReLU", f"{name}_3_leaky", x, alpha=0.3)
        x = self.add("BatchNormalization", f"{name}_norm", x, axis=-1, epsilon=1e-3, momentum=0.99)
        self.give(x, **dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (filters,)))
        return x


def generator(
    ids: int = 6,
    orientation: int = 2,
    emotions: int = 8,
    start: tuple[int, int] = (3, 2),
    blocks: tuple[int, ...] = (7, 5),
    hidden: int = 10,
    seed: int = 0,
) -> Network:
    """A small generator built as the published one; its picture is `start` doubled by every block, made by `rgb`."""
    net = Network(seed)
    sizes = {"identity": ids, "orientation": orientation, "emotion": emotions}
    for name, size in sizes.items():
        net.add("InputLayer", name, batch_input_shape=[None, size])
    parts = [net.dense(f"of_{name}", name, size, hidden) for name, size in sizes.items()]
    x = net.add("Concatenate", "joined", *parts, axis=-1)
    x = net.dense("mixed", x, 3 * hidden, start[0] * start[1] * blocks[0])
    x = net.add("Reshape", "folded", x, target_shape=[*start, blocks[0]])
    for i, (channels, filters) in enumerate(zip((blocks[0], *blocks), blocks, strict=False)):
        x = net.block(f"block{i}", x, channels, filters)
    net.conv("rgb", x, blocks[-1], 3, 3, activation="sigmoid")
    return net


def described(net: Network, layout: str) -> dict[str, Any]:
    """`model_config` of a layout."""
    inputs = [[name, 0, 0] for name in ("identity", "orientation", "emotion")]
    output = [net.output, 0, 0]
    return {
        "class_name": "Functional" if layout == "keras3" else "Model",
        "config": {
            "name": "model_1",
            "layers": [_described(layer, layout) for layer in net.layers],
            "input_layers": inputs,
            "output_layers": output if layout == "keras3" else [output],
        },
    }


def _described(layer: Layer, layout: str) -> dict[str, Any]:
    kind, config = layer.kind, {"name": layer.name, "trainable": True, **layer.settings}
    nodes: list[Any] = [[[name, 0, 0, {}] for name in layer.inbound]]
    if layout == "keras1":
        kind = {"Conv2D": "Convolution2D", "Concatenate": "Merge"}.get(kind, kind)
        if kind == "Merge":
            config = {"name": layer.name, "mode": "concat", "concat_axis": config["axis"], "dot_axes": -1}
        if "kernel_size" in config:
            config["nb_row"], config["nb_col"] = config.pop("kernel_size")
        config = {KERAS_1.get(key, key): value for key, value in config.items()}
        if "dim_ordering" in config:
            config["dim_ordering"] = {"channels_last": "tf", "channels_first": "th"}[config["dim_ordering"]]
        nodes = [[[name, 0, 0] for name in layer.inbound]]
    if layout == "keras3":
        config = {KERAS_3.get(key, key): value for key, value in config.items()}
        tensors = [
            {"class_name": "__keras_tensor__", "config": {"dtype": "float32", "keras_history": [name, 0, 0]}}
            for name in layer.inbound
        ]
        nodes = [{"args": [tensors] if kind == "Concatenate" else tensors, "kwargs": {}}]
    return {"class_name": kind, "name": layer.name, "config": config, "inbound_nodes": nodes if layer.inbound else []}


def write(
    path: Path,
    net: Network,
    layout: str = "keras2",
    fixed: bool = True,
    parts: int = 0,
    **storage: Any,
) -> Path:
    """Writes the network as `model.save(path)` of that Keras does.

    Args:
        fixed: text is stored in bytes of a fixed length, as h5py 2 does; else in strings.
        parts: cut lists of names into attributes of this many; 0 keeps them whole.
        storage: passed on to h5py for every weight.
    """

    def text(value: str) -> Any:
        return np.bytes_(value) if fixed else value

    def names(group: h5py.Group, key: str, values: list[str]) -> None:
        stored = np.array(values, "S") if fixed else values
        pieces = {f"{key}{i // parts}": stored[i : i + parts] for i in range(0, len(stored), parts)} if parts else {}
        for part, piece in (pieces or {key: stored}).items():
            group.attrs[part] = piece

    with h5py.File(path, "w") as root:
        root.attrs["keras_version"] = text(VERSIONS[layout])
        if layout != "keras1":
            root.attrs["backend"] = text("tensorflow")
        root.attrs["model_config"] = text(json.dumps(described(net, layout)))
        group = root.create_group("model_weights")
        names(group, "layer_names", [layer.name for layer in net.layers])
        for layer in net.layers:
            own = group.create_group(layer.name)
            stored = {
                f"{layer.name}_{KERAS_1.get(key, key)}" if layout == "keras1" else f"{layer.name}/{key}:0": value
                for key, value in layer.weights.items()
            }
            names(own, "weight_names", list(stored))
            for name, value in stored.items():
                own.create_dataset(name, data=value, **storage)
    return path

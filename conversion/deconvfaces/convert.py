"""The up-convolutional face generator ("deconvfaces", `FaceGen.RaFD.model.d5.adam.h5`) as ONNX.

After Dosovitskiy et al. 2014, "Learning to Generate Chairs, Tables and Cars with Convolutional Networks". Three vectors
(who, seen from where, feeling what) pass dense layers and are joined; blocks of up-sampling, two convolutions and a
normalisation turn them into a picture. A person is a one-hot code, a crowd the mean of its members' codes.

What the layers mean is read once (keras_layers); the graph and the numpy reference then compute it each in its own way.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conversion import reference as plain
from conversion.converted import Converted
from conversion.deconvfaces.keras_h5 import KerasModel, read_model
from conversion.deconvfaces.keras_layers import Step, read_steps
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity, run_onnx
from conversion.registry import Options
from services.anonymizer.models import Choice, Generator
from services.errors import ConversionError

INPUTS = ("identity", "orientation", "emotion")
FRONTAL = (0.0, 1.0)  # sine and cosine of the camera's angle from the front
EMOTIONS = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
MAX_SIDE = 4096
ONNX_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def read_network(model: KerasModel) -> dict[str, Step]:
    """The steps from the three inputs to a picture, by name, sources first.

    Raises:
        ConversionError: not this generator's network, or a layer that is not supported; names it.
    """
    if set(model.inputs) != set(INPUTS):
        raise ConversionError(f"the inputs are {', '.join(model.inputs)}; this generator's are {', '.join(INPUTS)}")
    if model.inputs["orientation"] != len(FRONTAL):
        raise ConversionError(f"orientation has {model.inputs['orientation']} values; a sine and a cosine are needed")
    steps = read_steps(model)
    shape = steps[model.output].shape
    if len(shape) != 3 or shape[0] != 3:
        raise ConversionError(f"layer {model.output!r} gives {shape}; a picture of 3 channels is needed")
    if max(*shape, *model.inputs.values()) > MAX_SIDE:
        raise ConversionError(f"inputs of {model.inputs} or a picture of {shape}: none may be above {MAX_SIDE}")
    return steps


def _size(steps: dict[str, Step], model: KerasModel) -> tuple[int, int]:
    _, height, width = steps[model.output].shape
    return height, width


# --- the graph --------------------------------------------------------------------------------------------------


class _FaceGraph(Graph):
    """Pictures are [N, C, H, W] inside, where Keras has [N, H, W, C]."""

    def __init__(self, flip_kernels: bool) -> None:
        super().__init__()
        self.flip_kernels = flip_kernels

    def emit(self, steps: dict[str, Step]) -> dict[str, str]:
        values: dict[str, str] = {}
        for step in steps.values():
            x = [values[source] for source in step.sources]
            y = step.name if step.what == "input" else getattr(self, f"_{step.what}")(step, *x)
            values[step.name] = y if step.activation == "linear" else self.op(ONNX_ACTIVATIONS[step.activation], y)
        return values

    def _dense(self, step: Step, x: str) -> str:
        return self.op("Gemm", x, self.const(step.values["kernel"]), self.const(step.values["bias"]))

    def _conv(self, step: Step, x: str) -> str:
        kernel = step.values["kernel"]
        kernel = kernel[::-1, ::-1] if self.flip_kernels else kernel
        after = [kernel.shape[0] // 2, kernel.shape[1] // 2]
        before = [(kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2]
        weight = self.const(kernel.transpose(3, 2, 0, 1))
        return self.op(
            "Conv", x, weight, self.const(step.values["bias"]), kernel_shape=kernel.shape[:2], pads=before + after
        )

    def _normalise(self, step: Step, x: str) -> str:
        """One scale and shift a channel. Not folded into the next convolution: its zero padding must stay zero."""
        v = step.values
        scale = v["gamma"] / np.sqrt(v["variance"].astype(np.float64) + v["epsilon"])
        shift = v["beta"] - v["mean"] * scale
        each = (-1, 1, 1) if len(step.shape) == 3 else (-1,)
        return self.op("Add", self.op("Mul", x, self.const(scale.reshape(each))), self.const(shift.reshape(each)))

    def _leaky(self, step: Step, x: str) -> str:
        return self.op("LeakyRelu", x, alpha=step.values["slope"])

    def _join(self, step: Step, *x: str) -> str:
        return self.op("Concat", *x, axis=1)

    def _fold(self, step: Step, x: str) -> str:
        channels, height, width = step.shape
        return self.op("Transpose", self.op("Reshape", x, self.ints(-1, height, width, channels)), perm=[0, 3, 1, 2])

    def _enlarge(self, step: Step, x: str) -> str:
        scales = self.const([1, 1, step.values["rows"], step.values["columns"]])
        return self.op(
            "Resize",
            x,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _same(self, step: Step, x: str) -> str:
        return x


def build(model: KerasModel, flip_kernels: bool, as_float: bool = False) -> onnx.ModelProto:
    """The generator as a graph.

    Args:
        model: the file's network.
        flip_kernels: reverse rows and columns of every convolution's kernel: Theano's convolution does.
        as_float: answer with the network's own floats, to compare them.

    Returns:
        `identity float32 [N, ids]`, `orientation float32 [N, 2]` (sine and cosine of the angle from the front),
        `emotion float32 [N, E]` -> `image uint8 [N, H, W, 3]` RGB, or float32 in [0, 1] with `as_float`.

    Raises:
        ConversionError: the network is not this generator's; names the layer.
    """
    steps = read_network(model)
    graph = _FaceGraph(flip_kernels)
    picture = graph.op("Transpose", graph.emit(steps)[model.output], perm=[0, 2, 3, 1])
    if not as_float:
        scaled = graph.op("Round", graph.op("Mul", picture, graph.const(255)))
        picture = graph.op("Cast", graph.op("Clip", scaled, graph.const(0), graph.const(255)), to=UINT8)
    graph.name(picture, "image")
    inputs = [(name, FLOAT, [model.inputs[name]]) for name in INPUTS]
    shape = [*_size(steps, model), 3]
    return graph.model("deconvfaces", inputs, [("image", FLOAT if as_float else UINT8, shape)])


# --- the network as it is defined -------------------------------------------------------------------------------


def reference(model: KerasModel, inputs: dict[str, np.ndarray], flip_kernels: bool) -> np.ndarray:
    """The network in plain numpy, double precision.

    Args:
        inputs: as the graph's, float [N, ...] each.

    Returns:
        float64 [N, H, W, 3], in [0, 1] where the last layer is a sigmoid.

    Raises:
        ConversionError: as `build`.
    """
    values: dict[str, np.ndarray] = {}
    for step in read_network(model).values():
        x = [values[source] for source in step.sources]
        y = inputs[step.name].astype(np.float64) if step.what == "input" else _computed(step, x, flip_kernels)
        values[step.name] = _activated(step.activation, y)
    return values[model.output].transpose(0, 2, 3, 1)


def _computed(step: Step, inputs: list[np.ndarray], flip_kernels: bool) -> np.ndarray:
    x, v = inputs[0], step.values
    if step.what == "dense":
        return x @ v["kernel"] + v["bias"]
    if step.what == "conv":
        kernel = np.flip(v["kernel"], axis=(0, 1)) if flip_kernels else v["kernel"]
        return plain.conv2d(x, kernel.transpose(3, 2, 0, 1)) + v["bias"][:, None, None]
    if step.what == "normalise":
        last = np.moveaxis(x, 1, -1)
        last = (last - v["mean"]) / np.sqrt(v["variance"] + v["epsilon"]) * v["gamma"] + v["beta"]
        return np.moveaxis(last, -1, 1)
    if step.what == "leaky":
        return plain.leaky_relu(x, v["slope"])
    if step.what == "fold":
        channels, height, width = step.shape
        return x.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    if step.what == "enlarge":
        return plain.upsample(x, v["rows"], v["columns"])
    return np.concatenate(inputs, axis=1)  # join; of one: same


def _activated(activation: str, x: np.ndarray) -> np.ndarray:
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "sigmoid":
        return (1 + np.tanh(x / 2)) / 2  # the same function; exp(-x) would overflow
    return np.tanh(x) if activation == "tanh" else x


# --- one file ---------------------------------------------------------------------------------------------------


def _samples(model: KerasModel, count: int, seed: int) -> dict[str, np.ndarray]:
    """People as they are, and crowds: every second identity is the mean of up to five people."""
    rng = np.random.default_rng(seed)
    people, emotions = (np.eye(model.inputs[name], dtype=np.float32) for name in ("identity", "emotion"))
    identity = [people[rng.integers(len(people), size=5 if i % 2 else 1)].mean(axis=0) for i in range(count)]
    angles = rng.uniform(-np.pi / 2, np.pi / 2, count)
    return {
        "identity": np.array(identity),
        "orientation": np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32),
        "emotion": emotions[rng.integers(len(emotions), size=count)],
    }


def check(image: onnx.ModelProto, model: KerasModel, flip_kernels: bool, seed: int = 5) -> Parity:
    """The network's floats against the numpy reference; the grey levels of `image` may differ by one, by rounding.

    Raises:
        ConversionError: a grey level differs by more.
    """
    inputs = _samples(model, 4, seed)
    expected = reference(model, inputs, flip_kernels)
    floats = run_onnx(build(model, flip_kernels, as_float=True), **inputs)[0]
    levels = np.clip(np.rint(expected * 255), 0, 255)
    apart = np.abs(run_onnx(image, **inputs)[0] - levels).max()
    if not apart <= 1:
        raise ConversionError(f"the picture is {apart:g} grey levels from the reference; 1 is accepted")
    return Parity(
        reference=f"numpy {np.__version__}, double precision",
        measure="largest |difference| of the picture in [0, 1]",
        value=float(np.abs(floats - expected).max()),
        tolerance=1e-4,  # a fortieth of a grey level
        samples=len(expected),
    )


def _card(model: KerasModel, steps: dict[str, Step], image: onnx.ModelProto, flip_kernels: bool) -> dict[str, Any]:
    card: dict[str, Any] = {
        "ids": model.inputs["identity"],
        "layers": len(steps),
        "nodes": len(image.graph.node),
        "flops_per_image": 2 * sum(step.multiply_adds for step in steps.values()),
        "keras_version": model.keras_version,
        "backend": model.backend,
        "flip_kernels": flip_kernels,
    }
    if not flip_kernels and model.backend in ("theano", ""):
        whose = "trained under Theano" if model.backend else "of a Keras that did not record its backend"
        card["hint"] = f"the file is {whose}; if the faces look wrong, convert it again with --flip-kernels"
    return card


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """An `.h5` file -> `NAME`, a generator whose latents are codes of people; a request may choose the emotion."""
    model = read_model(path)
    steps = read_network(model)
    image = build(model, options.flip_kernels)
    parity = check(image, model, options.flip_kernels)
    count = model.inputs["emotion"]
    emotions = EMOTIONS if count == len(EMOTIONS) else tuple(str(i) for i in range(count))
    serves = Generator(
        name=name,
        model=name,
        latent="identity",
        latent_shape=(model.inputs["identity"],),
        image_size=_size(steps, model),
        fixed={"orientation": FRONTAL},
        choices={
            "emotion": Choice(
                default="neutral" if "neutral" in emotions else emotions[0],
                values={emotion: tuple(row) for emotion, row in zip(emotions, np.eye(count).tolist(), strict=True)},
            )
        },
    )
    return [Converted(name, image, parity, _card(model, steps, image, options.flip_kernels), serves)]

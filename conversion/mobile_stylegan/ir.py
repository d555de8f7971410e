"""Reads MobileStyleGAN's learnt tensors out of its OpenVINO IR, by the structure of the graph they hang on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from services.errors import ConversionError

STAGES = 7  # 4x4 -> 512x512, and the last wavelet gives 1024


@dataclass(frozen=True)
class Convolution:
    """One convolution: `weight [out, in/groups, kh, kw]`; a depthwise one has neither bias nor noise."""

    weight: np.ndarray
    bias: np.ndarray | None = None
    noise: np.ndarray | None = None

    @property
    def depthwise(self) -> bool:
        return self.bias is None


@dataclass(frozen=True)
class Synthesis:
    """The learnt tensors of the synthesis network, in the order of use."""

    start: np.ndarray  # [1, 512, 4, 4]
    modulations: dict[str, tuple[np.ndarray, np.ndarray]]  # name -> weight [out, 512], bias [out], scale folded in
    convolutions: list[Convolution]


def read_network(ir: Path) -> Any:
    try:
        return openvino.Core().read_model(ir)
    except RuntimeError as refused:  # all that openvino raises
        reason = str(refused).strip().splitlines()[-1]
        raise ConversionError(f"{ir.name} is not an OpenVINO IR file: {reason}") from refused


def _constant(value: Any) -> np.ndarray | None:
    node = value.get_source_output().get_node()
    return node.get_data() if node.get_type_name() == "Constant" else None


def constants(node: Any) -> list[np.ndarray]:
    return [c for c in map(_constant, node.inputs()) if c is not None]


def consumers(node: Any) -> list[Any]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def require_finite(network: openvino.Model, ir: Path) -> None:
    """Raises ConversionError if a constant of the network is not a finite number."""
    for node in network.get_ops():
        if node.get_type_name() == "Constant":
            data = node.get_data()
            if data.dtype.kind == "f" and not np.isfinite(data).all():
                raise ConversionError(f"{ir.name}: {node.get_friendly_name()} holds values that are not finite numbers")


def read_synthesis(ir: Path) -> Synthesis:
    """Reads the learnt tensors out of `SynthesisNetwork.xml` (its .bin beside it).

    Raises:
        ConversionError: the file is not MobileStyleGAN's synthesis network.
    """
    network = read_network(ir)
    require_finite(network, ir)
    modulations: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    convolutions: list[Convolution] = []
    start = None
    for node in network.get_ordered_ops():
        kind = node.get_type_name()
        if node.get_friendly_name() == "m.input.input":
            start = node.get_data()
        elif kind == "MatMul":
            weight_node = node.input(1).get_source_output().get_node()
            name = weight_node.get_friendly_name().removeprefix("m.").removesuffix(".modulation.weight")
            modulations[name] = _read_modulation(node, weight_node.get_data())
        elif kind == "GroupConvolution":
            convolutions.append(Convolution(weight=constants(node)[0][:, 0]))
        elif kind == "Convolution":
            convolutions.append(_read_convolution(node))
    missing = {name for name, _ in modulation_order()} ^ set(modulations)
    if start is None or missing or len(convolutions) != 2 + 4 * STAGES:
        raise ConversionError(f"{ir.name} is not MobileStyleGAN's synthesis network (differs in {sorted(missing)[:3]})")
    return Synthesis(start, modulations, convolutions)


def _read_modulation(matmul: Any, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    add = consumers(matmul)[0]
    bias = constants(add)[0].reshape(-1)
    scale = 1.0
    for reshape in consumers(add):
        for multiply in consumers(reshape) if reshape.get_type_name() == "Reshape" else []:
            scalars = [c for c in constants(multiply) if c.size == 1]
            scale = float(scalars[0].reshape(-1)[0]) if scalars else scale
    return weight * scale, bias * scale


def _read_convolution(node: Any) -> Convolution:
    weight = constants(node)[0]
    add = consumers(node)[0]
    noise = None
    added = constants(add)[0]
    if added.shape[1] == 1:  # a noise plane comes before the bias; it is a constant in the export
        noise = added
        added = constants(consumers(add)[0])[0]
    return Convolution(weight, added.reshape(-1), noise)


def modulation_order() -> list[tuple[str, bool]]:
    """(name, modulates wavelet bands) in the order of use."""
    order = [("conv1.conv", False)]
    for i in range(STAGES):
        order += [(f"layers.{i}.up", True), (f"layers.{i}.conv1.conv", False), (f"layers.{i}.conv2.conv", False)]
    return [*order, (f"layers.{STAGES - 1}.to_img.conv", False)]

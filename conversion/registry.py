"""What can be converted: one row a kind. A new model is a module, a row here, and its folder in the repository."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conversion import centerface, dlib_dat, dlib_resnet, mobile_stylegan, mobile_stylegan_ir
from conversion.parity import Parity, run_onnx
from services.errors import ConversionError


@dataclass(frozen=True)
class Converted:
    """A model ready to be published: its Triton name, the graph, what it was checked against, and facts users need."""

    name: str
    model: onnx.ModelProto
    parity: Parity
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a row of the weights catalogue becomes models: `convert(files by name)`."""

    weights: str
    models: tuple[str, ...]
    convert: Callable[[dict[str, Path]], list[Converted]]


def _mobile_stylegan(files: dict[str, Path]) -> list[Converted]:
    mapping = mobile_stylegan.build_mapping(files["MappingNetwork.xml"])
    average = mobile_stylegan.mean_w(mapping)
    card = {"w_mean": [round(float(v), 6) for v in average], "layers": 1, "alignment": "ffhq"}
    checked = mobile_stylegan.check_mapping(mapping, files["MappingNetwork.xml"])
    models = [Converted("mobile-stylegan-mapping", mapping, checked, card)]
    weights = mobile_stylegan_ir.read_synthesis(files["SynthesisNetwork.xml"])
    z = np.random.default_rng(2).standard_normal((2, mobile_stylegan.W_DIM), dtype=np.float32)
    w = (average + 0.7 * (run_onnx(mapping, z=z)[0] - average)).astype(np.float32)
    for size in mobile_stylegan.SIZES:
        synthesis = mobile_stylegan.build_synthesis(weights, size)
        checked = mobile_stylegan.check_synthesis(synthesis, size, files["SynthesisNetwork.xml"], w)
        models.append(Converted(f"mobile-stylegan-{size}", synthesis, checked, {"nodes": len(synthesis.graph.node)}))
    return models


def _dlib_resnet(files: dict[str, Path]) -> list[Converted]:
    (weights,) = files.values()
    model = dlib_resnet.build(dlib_dat.read_network(weights))
    return [Converted("dlib-resnet", model, dlib_resnet.check(model, weights))]


def _centerface(files: dict[str, Path]) -> list[Converted]:
    (weights,) = files.values()
    models = []
    for size in centerface.SIZES:
        model = centerface.build(weights, size)
        models.append(Converted(f"centerface-{size}", model, centerface.check(model, weights, size)))
    return models


RECIPES = {
    recipe.weights: recipe
    for recipe in (
        Recipe(
            "mobile-stylegan",
            ("mobile-stylegan-mapping", *(f"mobile-stylegan-{size}" for size in mobile_stylegan.SIZES)),
            _mobile_stylegan,
        ),
        Recipe("dlib-resnet", ("dlib-resnet",), _dlib_resnet),
        Recipe("centerface", tuple(f"centerface-{size}" for size in centerface.SIZES), _centerface),
    )
}


def recipe(name: str) -> Recipe:
    """The row of that name.

    Raises:
        ConversionError: there is none.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise ConversionError(f"nothing known converts {name!r}; there are {', '.join(RECIPES)}") from None

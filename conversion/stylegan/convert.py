"""StyleGAN pickles -> models: read, built, compared with the definition of the network, and described."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conversion.converted import Converted
from conversion.parity import Parity, rows_of, run_onnx
from conversion.registry import Options
from conversion.stylegan import reference as stylegan_reference
from conversion.stylegan.graph import HALF_LARGEST, build_mapping, build_synthesis
from conversion.stylegan.network import Mapping, Synthesis, read_mapping, read_synthesis
from conversion.stylegan.pickle_file import Network, read
from services.anonymizer.models import Generator
from services.errors import ConversionError

FLOAT_TOLERANCE = 1e-3  # of the pictures' range, before they are rounded
HALF_TOLERANCE = 2.0  # grey levels, root mean square: what float16 convolutions cost
HALF_MARGIN = 4.0  # pictures that were not tried may go so much further than those that were


def check_mapping(model: onnx.ModelProto, network: Mapping, samples: int = 16) -> Parity:
    """Against the network as its options define it, in float64."""
    z = np.random.default_rng(1).standard_normal((samples, network.latent))
    with np.errstate(all="ignore"):
        expected = stylegan_reference.mapping(network, z)
    difference = np.abs(run_onnx(model, z=z.astype(np.float32))[0] - expected).max()
    return Parity(
        reference="numpy, float64",
        measure="largest |difference| of w, as a share of its largest value",
        value=float(difference / max(np.abs(expected).max(), 1e-12)),
        tolerance=1e-4,
        samples=samples,
    )


def check_synthesis(
    built: onnx.ModelProto, network: Synthesis, w: np.ndarray, half: bool
) -> tuple[Parity, dict[str, float]]:
    """Against the network as its options define it, on `w float32 [N, layers, dlatent]`, brought to uint8 alike.

    Returns:
        The parity figure, and all that was measured: for the card.

    Raises:
        ConversionError: the file's pictures are not finite; float32 pictures differ by more than one step somewhere, or
            before rounding by more than a thousandth of their range.
    """
    with np.errstate(all="ignore"):
        expected = np.concatenate([stylegan_reference.synthesis(network, row[None]) for row in w])
    if not np.isfinite(expected).all():
        raise ConversionError("its pictures are not finite numbers; the weights are too large")
    found = rows_of(build_synthesis(network, half, "float").model, w=w)
    steps = np.clip(np.floor(expected * 127.5 + 128.0), 0, 255).astype(np.int16).transpose(0, 2, 3, 1)
    difference = np.abs(rows_of(built, w=w).astype(np.int16) - steps)
    measured = {
        "compared_pictures": len(w),
        "difference_of_range": float(np.abs(found - expected).max() / max(np.ptp(expected), 1e-6)),
        "largest_uint8_difference": int(difference.max()),
        "uint8_values_that_differ": float((difference > 0).mean()),
    }
    if half:
        rms = float(np.sqrt((difference.astype(np.float64) ** 2).mean()))
        measure = "root mean square difference of uint8 values"
        return Parity("numpy, float32", measure, rms, HALF_TOLERANCE, len(w)), measured
    if difference.max() > 1:
        raise ConversionError(f"synthesis is off by {difference.max()} of 255 somewhere; nothing was published")
    if measured["difference_of_range"] > FLOAT_TOLERANCE:
        raise ConversionError(f"synthesis is off by {measured['difference_of_range']:.2g} of its range somewhere")
    measure = "share of uint8 values that differ (each by 1)"
    return Parity("numpy, float32", measure, measured["uint8_values_that_differ"], 1e-3, len(w)), measured


def check_half(network: Synthesis, w: np.ndarray) -> float:
    """The largest |value| that goes into or comes out of any convolution for some w, computed in float32.

    Raises:
        ConversionError: float16 (at most 65504) would not hold four times that.
    """
    largest = float(rows_of(build_synthesis(network, kind="peaks").model, w=w).max())
    if not largest * HALF_MARGIN <= HALF_LARGEST:
        raise ConversionError(
            f"values reach {largest:.3g} inside the network: too near to float16's {HALF_LARGEST:g}; "
            "use --precision fp32"
        )
    return largest


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A pickle -> `NAME-mapping` and `NAME-synthesis`, the generator NAME.

    Raises:
        ConversionError: the file is damaged or hostile, or holds a network that is not supported.
    """
    network = read(path)[options.network]
    if not {"mapping", "synthesis"} <= network.components.keys():
        raise ConversionError(
            f"{path.name} is not StyleGAN (1): {options.network} has no mapping and synthesis networks"
        )
    # The whole network's options hold for its parts, unless these say otherwise.
    parts = {key: _with_options(part, network.options) for key, part in network.components.items()}
    mapping, synthesis = read_mapping(parts["mapping"]), read_synthesis(parts["synthesis"], options.noise == "fixed")
    if mapping.dlatent != synthesis.dlatent:
        raise ConversionError(
            f"{path.name}: its mapping gives w of {mapping.dlatent}, its synthesis takes {synthesis.dlatent}"
        )
    half = options.precision == "fp16"
    mapping_model, built = build_mapping(mapping), build_synthesis(synthesis, half)
    w_mean = _average(network, mapping)
    layers, side = len(synthesis.layers), synthesis.resolution
    w = np.concatenate([_some_w(mapping, w_mean, layers, 1, psi) for psi in (0.7, 1.0)])
    card = {
        "w_mean": [float(v) for v in w_mean],
        "truncation": {
            "psi": _number(network, "truncation_psi", 0.7),
            "cutoff": _number(network, "truncation_cutoff", 8),
        },
        "network": options.network,
        "nodes": len(mapping_model.graph.node),
        "flops_per_row": sum(2 * layer.weight.size for layer in mapping.layers),
    }
    checked, measured = check_synthesis(built.model, synthesis, w, half)
    facts: dict[str, Any] = {
        "resolution": side,
        "layers": layers,
        "noise": options.noise,
        "precision": options.precision,
        "nodes": len(built.model.graph.node),
        "flops_per_image": built.flops,
        **measured,
    }
    if half:
        tried = _some_w(mapping, w_mean, layers, 4 if side > 256 else 16, psi=1.0)
        facts["largest_value"] = check_half(synthesis, tried)
        facts["largest_value_of"] = f"{len(tried)} pictures, not truncated, in float32; float16 holds {HALF_LARGEST:g}"
    row = Generator(
        name=name,
        model=f"{name}-synthesis",
        latent_shape=(layers, synthesis.dlatent),
        image_size=(side, side),
        mapping=f"{name}-mapping",
        z_dims=mapping.latent,
    )
    return [
        Converted(f"{name}-mapping", mapping_model, check_mapping(mapping_model, mapping), card),
        Converted(row.model, built.model, checked, facts, row),
    ]


def _with_options(part: Network, outer: dict[str, Any]) -> Network:
    return Network(part.name, {**outer, **part.options}, part.components, part.variables)


def _number(network: Network, option: str, default: float) -> float | None:
    value = network.options.get(option, default)
    return value if type(value) in (int, float) and abs(value) <= 1e6 else None


def _average(network: Network, mapping: Mapping) -> np.ndarray:
    """The file's running average of w, float32 [dlatent]; the mean of 20,000 if it has none."""
    if "dlatent_avg" in network.variables:
        average = network.variables["dlatent_avg"].astype(np.float32)
        if average.shape != (mapping.dlatent,) or not np.isfinite(average).all():
            raise ConversionError(f"{network.name}: dlatent_avg is not {mapping.dlatent} finite numbers")
        return average
    z = np.random.default_rng(0).standard_normal((20_000, mapping.latent), dtype=np.float32)
    return stylegan_reference.mapping(mapping, z).mean(axis=0).astype(np.float32)


def _some_w(mapping: Mapping, w_mean: np.ndarray, layers: int, count: int, psi: float = 0.7) -> np.ndarray:
    """w float32 [count, layers, dlatent] of random people."""
    z = np.random.default_rng(2).standard_normal((count, mapping.latent), dtype=np.float32)
    w = w_mean + psi * (stylegan_reference.mapping(mapping, z) - w_mean)
    return np.repeat(w[:, None].astype(np.float32), layers, axis=1)

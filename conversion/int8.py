"""The int8 form of a detector for CPUs: convolutions on whole numbers, heads and the arithmetic of boxes in float32.

Quantised are a network's convolutions, activations and sums; weights by channel, with 7 bits: where a processor has no
VNNI, two products of 8 bits are added in 16, and would be cut off. An activation's scale comes from the range that was
seen of it on photos with known faces. The ranges ship as a file (`anonfaces local ranges` makes it), so that a
conversion is quick and the same everywhere; photos of the same kind lie beside them, for the check that the form finds
what its source finds.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnxruntime.quantization import QuantType  # type: ignore[import-untyped]
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData  # type: ignore[import-untyped]
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer  # type: ignore[import-untyped]
from PIL import Image

from conversion.parity import Parity, run_onnx
from services.errors import ConversionError

QUANTISED = ("Conv", "Relu", "Add")
FOUND_SCORE = 0.5  # what the source is as sure of as that counts as a face
NEAR = 0.1  # of a face's side: as far may its box be off
NARROWEST = 1e-3  # range of an activation that never was anything but zero


@dataclass(frozen=True)
class Ranges:
    """What was seen of each activation, and photos to check with."""

    bounds: dict[str, tuple[float, float]]  # by tensor: lowest, highest
    photos: list[np.ndarray]  # uint8 [H, W, 3] RGB, with faces; sides are multiples of 64
    about: dict[str, Any]  # what the ranges were seen on

    def save(self, path: Path) -> None:
        files = {f"photo{number}": _jpeg(photo) for number, photo in enumerate(self.photos)}
        bounds = np.array(list(self.bounds.values()), np.float32)
        np.savez_compressed(path, names=list(self.bounds), bounds=bounds, about=json.dumps(self.about), **files)

    @staticmethod
    def load(path: Path) -> "Ranges":
        """Raises ConversionError: the file is not there, or not whole."""
        try:
            with np.load(path, allow_pickle=False) as file:
                photos = [_pixels(file[key]) for key in sorted(file.files) if key.startswith("photo")]
                pairs = zip(file["names"].tolist(), file["bounds"].tolist(), strict=True)
                return Ranges(
                    {name: (low, high) for name, (low, high) in pairs}, photos, json.loads(str(file["about"]))
                )
        except (OSError, ValueError, KeyError) as broken:
            raise ConversionError(f"{path.name} holds no ranges of activations: {broken}") from broken


def _jpeg(photo: np.ndarray) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(photo).save(sink, "JPEG", quality=92)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _pixels(data: np.ndarray) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))


def observe(
    model: onnx.ModelProto, body: Iterable[str], photos: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each tensor of `body` on photos, uint8 [H, W, 3]."""
    names = list(body)
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    open_model.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    data = open_model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    lows, highs = np.zeros(len(names)), np.zeros(len(names))
    for photo in photos:
        values = session.run(names, {"image": photo[None]})
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    return {name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def quantise(model: onnx.ModelProto, nodes: Iterable[str], ranges: Ranges) -> onnx.ModelProto:
    """The model with those of its nodes in int8, as QDQ.

    Args:
        nodes: names of nodes of the kinds in QUANTISED.
    """
    chosen = list(nodes)
    seen = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(max(high, low + NARROWEST)))
        for name, (low, high) in ranges.bounds.items()
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantiser = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, seen),
        nodes_to_quantize=chosen,
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTISED),
        extra_options={},
    )
    quantiser.quantize_model()
    return quantiser.model.model


def check(model: onnx.ModelProto, source: onnx.ModelProto, photos: list[np.ndarray]) -> Parity:
    """Does it find the faces that its source finds, about as surely? A face that it misses loses all of its score."""
    worst, faces = 0.0, 0
    for photo in photos:
        boxes, scores, _ = (value[0] for value in run_onnx(model, image=photo[None]))
        for box, score in _found(source, photo):
            side = (box[2:] - box[:2]).max()
            near = np.abs(boxes - box).max(axis=1) < NEAR * side
            worst = max(worst, float(score - scores[near].max(initial=0)))
            faces += 1
    if not faces:
        raise ConversionError("the source finds no face in the photos of the ranges; they say nothing")
    return Parity(
        reference=f"the float32 form, onnxruntime {onnxruntime.__version__}, in photos with faces",
        measure="largest loss of a face's score",
        value=worst,
        tolerance=0.2,
        samples=faces,
    )


def _found(source: onnx.ModelProto, photo: np.ndarray) -> list[tuple[np.ndarray, float]]:
    boxes, scores, _ = (value[0] for value in run_onnx(source, image=photo[None]))
    return [(box, float(score)) for box, score in zip(boxes, scores, strict=True) if score >= FOUND_SCORE]

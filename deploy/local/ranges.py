"""Which values the detector's activations take on photos with known faces: what its int8 form is made with."""

from pathlib import Path

import numpy as np
from rich.console import Console

from conversion import centerface
from conversion.catalogue import Catalogue
from conversion.int8 import Ranges, observe
from deploy.local.recall import people
from deploy.local.truth import SIZES, Board, boards
from services.anonymizer.align import shrink
from services.anonymizer.models import INPUT_STEP
from services.files import sha256_of
from services.settings import Settings

PEOPLE, SEED = 24, 900_001  # others than those that recall is counted on
SIDE = 448  # of what is looked at of a photo: the face and what is around it
LONGEST = 1024  # of a photo as the first look sees it
CHECKED = (40, 96, 240)  # pixels of the faces of the photos that conversions are checked with


def run(settings: Settings, out: Path, console: Console) -> None:
    """Writes the ranges to `out`; the same every time.

    Raises:
        ConversionError, WeightsError: the generator is not converted, or the detector's weights are not here.
    """
    (weights,) = Catalogue(settings.weights_dir).verified("centerface").values()
    console.print("making photos with known faces ...")
    photos = boards(people(settings, PEOPLE, SEED), SEED)
    rng = np.random.default_rng(SEED)
    parts = [_part(photo, rng) for photo in photos]
    checked = [
        next(p for b, p in zip(photos, parts, strict=True) if b.condition == "plain" and b.size == size)
        for size in CHECKED
    ]
    model = centerface.build(weights, None)
    console.print("looking at them ...")
    about = {
        "weights_sha256": sha256_of(weights),
        "made_by": "anonfaces local ranges",
        "photos": f"{len(photos)} of deploy/local/truth.py, {PEOPLE} people of seed {SEED}, faces of {SIZES} px",
    }
    bounds = observe(model, centerface.activations(model), parts)
    Ranges(bounds, checked, about).save(out)
    console.print(f"{len(bounds)} ranges in [bold]{out}[/]", highlight=False)


def _part(board: Board, rng: np.random.Generator) -> np.ndarray:
    """A face of a photo and what is around it, as the first look sees it; sides are multiples of INPUT_STEP."""
    pixels, truth = board.pixels, board.truths[rng.integers(len(board.truths))]
    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    if scale < 1:
        pixels = shrink(pixels, (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)))
    width, height = (min(SIDE, extent) // INPUT_STEP * INPUT_STEP for extent in (pixels.shape[1], pixels.shape[0]))
    x = int(np.clip(truth.centre[0] * scale - width / 2, 0, pixels.shape[1] - width))
    y = int(np.clip(truth.centre[1] * scale - height / 2, 0, pixels.shape[0] - height))
    return np.ascontiguousarray(pixels[y : y + height, x : x + width])

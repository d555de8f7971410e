"""What must hold of the decoder for whatever bytes arrive, and what came of one file."""

from functools import lru_cache

import numpy as np

from services.anonymizer.decode import decode, pixels_of
from services.anonymizer.encode import encode
from services.errors import AnonFacesError, BadPhoto, PhotoTooLarge, UnsupportedMediaType
from services.settings import Settings
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import MARKER, seeds

LIMITS = Settings()
REFUSALS = (BadPhoto, PhotoTooLarge, UnsupportedMediaType)
ENCODED_PX = 1_000_000  # larger ones are decoded only: encoding does not depend on how a file was broken


@lru_cache(maxsize=1)
def _files() -> list[bytes]:
    return list(seeds().values())


def photo(number: int) -> bytes:
    """Mutant of that number."""
    return mutant(_files(), number)


def check_photo(data: bytes) -> str:
    """Decodes a file as the service does.

    Returns:
        `photo`, or the code of the refusal.

    Raises:
        AssertionError: what must hold does not.
        Exception: the decoder let something else out than its refusals.
    """
    told: int | None = None
    try:
        told = pixels_of(data, LIMITS.max_pixels, LIMITS.min_side_px, LIMITS.max_side_px)
        found = decode(data, LIMITS.max_pixels, LIMITS.min_side_px, LIMITS.max_side_px)
    except REFUSALS as refusal:
        _check_refusal(refusal)
        return refusal.code
    assert found.pixels.dtype == np.uint8, found.pixels.dtype
    assert found.pixels.ndim == 3, found.pixels.shape
    assert found.pixels.shape[2] == 3, found.pixels.shape
    assert min(found.width, found.height) >= LIMITS.min_side_px
    assert max(found.width, found.height) <= LIMITS.max_side_px
    assert found.width * found.height == told, "admission counts by the header; the photo has other sides"
    if told <= ENCODED_PX:
        answer = encode(found.pixels, found.format, 92, found.grey)
        assert MARKER not in answer, "metadata of the photo is in the answer"
    return "photo"


def _check_refusal(refusal: AnonFacesError) -> None:
    """A refusal is one line for a person, and holds nothing of what was sent but its sides."""
    text = str(refusal)
    assert len(text) < 300, text
    assert text.isprintable(), text
    assert MARKER.decode() not in text, text

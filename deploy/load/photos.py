"""The photos of a load test: sizes, formats and numbers of faces mixed. Generated people, and one who is real."""

import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from deploy.local.sample_photos import framed, fresh_pictures, paste, pinboard, real_portrait, unseen_pictures
from services.anonymizer.decode import PhotoFormat
from services.anonymizer.encode import MEDIA_TYPES, encode
from services.anonymizer.triton import Triton
from services.errors import StackError
from services.population.index import ClusterIndex
from services.population.sample import Sampler


@dataclass(frozen=True)
class LoadPhoto:
    """A photo as a file."""

    name: str
    format: PhotoFormat
    data: bytes


async def load_photos(index: ClusterIndex, sampler: Sampler, triton: Triton) -> list[LoadPhoto]:
    """Eight photos of 190 to 2048 pixels with one to ten faces; about half of the people are enrolled."""
    fresh = await fresh_pictures(6, index, sampler, triton)
    unseen = await unseen_pictures(8, sampler, triton)
    real = real_portrait()
    pair = np.full((1536, 2048, 3), 150, np.uint8)
    for picture, x in ((fresh[5], 560), (unseen[5], 1490)):
        paste(pair, framed(picture), (x, 780), 700, 4.0)
    group = np.stack([picture for both in zip(fresh[:5], unseen[:5], strict=True) for picture in both])
    made: list[tuple[str, PhotoFormat, np.ndarray]] = [
        ("avatar-190", "jpeg", real[:190, 130:320]),
        ("portrait-512", "jpeg", real),
        ("portrait-512", "png", real),
        ("enrolled-1024", "jpeg", fresh[0]),
        ("stranger-1024", "webp", unseen[6]),
        ("three-1200", "jpeg", pinboard(unseen[5:8], 3, 400, seed=5)),
        ("ten-1600", "jpeg", pinboard(group, 5, 320, seed=11)),
        ("two-2048", "jpeg", pair),
    ]
    return [LoadPhoto(name, form, encode(np.ascontiguousarray(pixels), form, 92)) for name, form, pixels in made]


def write_photos(photos: list[LoadPhoto], url: str, folder: Path) -> None:
    """Sends each photo once, so that its surrogates are kept, and writes them for k6 with the number of their faces.

    Raises:
        StackError: the service refused one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for photo in photos:
        media_type = MEDIA_TYPES[photo.format]
        answer = httpx.post(
            f"{url}/v1/anonymize", content=photo.data, headers={"Content-Type": media_type}, timeout=120
        )
        if answer.status_code != 200:
            raise StackError(f"{photo.name}: the service answered {answer.status_code}: {answer.text}")
        file = f"{photo.name}.{photo.format}"
        (folder / file).write_bytes(photo.data)
        rows.append({"file": file, "media_type": media_type, "faces": int(answer.headers["X-AnonFACES-Faces"])})
    (folder / "photos.json").write_text(json.dumps(rows, indent=1) + "\n")

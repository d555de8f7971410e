"""People -> photos in a folder, seeds fixed: the same command makes the same photos."""

import asyncio
import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.anonymizer.encode import encode
from services.anonymizer.models import Inverter, Models
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError
from services.population.generate.figures import figures
from services.population.generate.places import RAFD_LOOKS, Shape, beside, identity, place
from services.population.generate.variety import Look, Variety, draw_looks
from services.population.portrait import BATCH, read_portrait
from services.population.sample import Sampler, map_z

QUALITY = 92
TABLE = "photos.csv"  # who is in each photo, and how


@dataclass(frozen=True)
class Plan:
    """What to generate."""

    people: int
    photos: int  # of each
    seed: int  # the people are those of `population demo` with that seed
    shape: Shape

    def looks(self, person: int) -> list[Look]:
        """How a person shows in each photo. Raises EnrolmentError if the layout has not so many."""
        if self.shape == "rafd":
            if self.photos > len(RAFD_LOOKS):
                raise EnrolmentError(f"laid out as rafd a person has {len(RAFD_LOOKS)} photos at most")
            return list(RAFD_LOOKS.values())[: self.photos]
        return draw_looks(self.photos, np.random.default_rng([self.seed, person]))


async def make_photos(
    plan: Plan,
    folder: Path,
    models: Models,
    sampler: Sampler,
    inverter: Inverter,
    triton: Triton,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Renders and writes the photos, and reads each as enrolment would.

    Args:
        report: hears of photos as they are done.

    Returns:
        `photos`, `faceless` (photos in which no face is found), and `figures` of the distances.

    Raises:
        EnrolmentError: see `Plan.looks`.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
        OSError: no room, or no permission.
    """
    looks = [plan.looks(person) for person in range(plan.people)]
    variety = await Variety.learn(sampler, inverter, models.embedder.dims, triton, plan.seed)
    people = await sampler.latents(plan.people, plan.seed, triton)
    seen: dict[int, list[np.ndarray]] = defaultdict(list)
    faceless = 0
    for person, latent in enumerate(people):
        rng = np.random.default_rng([plan.seed, person, 1])
        others = await map_z(
            rng.standard_normal((plan.photos, sampler.generator.z_dims), np.float32), sampler.generator, triton
        )
        moved = variety.moves(looks[person], others)
        moved[0] = 0 if looks[person][0] == Look() else moved[0]  # the first is the person as sampled
        latents = latent + sampler.spread(moved)
        for start in range(0, plan.photos, BATCH):
            takes = range(start, min(start + BATCH, plan.photos))
            pictures = await render(latents[list(takes)], triton, sampler.generator)
            portraits = await asyncio.gather(*(read_portrait(picture, triton, models) for picture in pictures))
            for take, picture, portrait in zip(takes, pictures, portraits, strict=True):
                _write(folder / place(plan.shape, person, take, plan.photos), encode(picture, "jpeg", QUALITY))
                faceless += portrait is None
                seen[person] += [portrait.embedding] if portrait else []
            report(len(takes))
    for name, text in (*beside(plan.shape, looks), (TABLE, _table(plan, looks))):
        _write(folder / name, text.encode())
    told = figures(seen, models.embedder.same_person)
    return {"photos": plan.people * plan.photos, "faceless": faceless, "figures": told}


def _table(plan: Plan, looks: list[list[Look]]) -> str:
    sink = io.StringIO()
    lines = csv.writer(sink)
    lines.writerow(("photo", "identity", "yaw", "pitch", "smile"))
    for person, takes in enumerate(looks):
        for take, look in enumerate(takes):
            path = place(plan.shape, person, take, plan.photos)
            lines.writerow(
                (path, identity(plan.shape, person), *(round(v, 3) for v in (look.yaw, look.pitch, look.smile)))
            )
    return sink.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole, or not at all; one with the same bytes is left as it is."""
    if path.is_file() and hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)

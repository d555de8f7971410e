"""The service beside other ways to do the same, in one run, on the same photos, one thread each. Only ratios are told.

Contenders take turns on every photo, in an order that changes, so that whatever else a machine does at the time meets
all of them.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from conversion.catalogue import Catalogue
from deploy.local.bench import FACE_PX, PHOTO_PX
from deploy.local.contenders import PREDICTOR, Contender, bare_loop, deface, dlib_alone, service
from deploy.local.sample_photos import framed, paste, pinboard, unseen_pictures
from deploy.local.sessions import Sessions
from deploy.local.stack import LocalStack
from services.anonymizer.encode import encode
from services.population.compatibility import models_for
from services.population.index import open_index
from services.population.sample import Sampler, sampler_for
from services.settings import Settings

ROUNDS = 12
PHOTOS = 4  # of each kind
GROUP, GROUP_COLUMNS, GROUP_CELL = 8, 4, 256  # eight people on 1024 x 512
RATIO_OF = "service"


@dataclass(frozen=True)
class Kind:
    """Photos that are told together."""

    name: str
    photos: list[bytes]


def photos_of(sampler: Sampler, settings: Settings) -> list[Kind]:
    """One-face photos of 1024 x 1024, and boards of eight faces, of people who do not exist; JPEG."""

    async def people() -> np.ndarray:
        async with Sessions(settings.model_repository, sampler.models) as sessions:
            return await unseen_pictures(max(PHOTOS, GROUP), sampler, sessions)

    pictures = asyncio.run(people())
    portraits = []
    for picture in pictures[:PHOTOS]:
        board = np.full((PHOTO_PX, PHOTO_PX, 3), 150, np.uint8)
        paste(board, framed(picture), (PHOTO_PX / 2, PHOTO_PX / 2), FACE_PX, 4.0)
        portraits.append(encode(board, "jpeg", quality=92))
    groups = [pinboard(pictures[:GROUP], GROUP_COLUMNS, GROUP_CELL, seed) for seed in range(PHOTOS)]
    height, width = groups[0].shape[:2]
    return [
        Kind(f"one face, {PHOTO_PX} x {PHOTO_PX}", portraits),
        Kind(f"{GROUP} faces, {width} x {height}", [encode(group, "jpeg", quality=92) for group in groups]),
    ]


def run(settings: Settings, out: Path, console: Console, rounds: int = ROUNDS) -> dict[str, Any]:
    """Starts a stack of its own, compares, prints a table for each kind of photo, and writes `out` as JSON.

    Raises:
        AnonFacesError: a missing model, weight or index, or a stack that does not start.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by dlib when it is imported
    cv2.setNumThreads(1)
    index = open_index(settings)
    models = models_for(index, settings)
    Catalogue(settings.weights_dir).pull(PREDICTOR)
    kinds = photos_of(sampler_for(models.generator, settings.model_repository), settings)
    console.print("starting Triton and the service ...")
    with LocalStack(settings) as stack:
        contenders = [
            service(stack.url),
            bare_loop(settings, models, index),
            dlib_alone(settings, 0),
            dlib_alone(settings, 1),
            deface(settings),
        ]
        console.print("comparing ...")
        report = {kind.name: compare(kind.photos, contenders, rounds) for kind in kinds}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    for name, rows in report.items():
        console.print(table(name, rows, contenders))
    console.print(f"also in [bold]{out}[/]", highlight=False)
    return report


def compare(photos: Sequence[bytes], contenders: Sequence[Contender], rounds: int) -> dict[str, dict[str, Any]]:
    """Times every contender on every photo, `rounds` times, after one round that is not counted.

    Returns:
        By contender: faces found per photo; and how long the service takes as a multiple of what the contender takes,
        measured one after the other: its median, lower and upper quartile.
    """
    order, rng = list(contenders), random.Random(0)  # noqa: S311 - an order, no secret
    faces = {c.name: [c.run(photo) for photo in photos] for c in contenders}
    seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
    for photo in list(photos) * rounds:
        rng.shuffle(order)
        for contender in order:
            start = time.perf_counter()
            contender.run(photo)
            seconds[contender.name].append(time.perf_counter() - start)
    return {
        name: {"faces": sum(faces[name]) / len(photos), **_spread(seconds[RATIO_OF], own), "seconds": own}
        for name, own in seconds.items()
    }


def _spread(service_seconds: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    ratios = [ours / theirs for ours, theirs in zip(service_seconds, own, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"service_takes": median(ratios), "lower_quartile": low, "upper_quartile": high}


def table(title: str, rows: dict[str, dict[str, Any]], contenders: Sequence[Contender]) -> Table:
    shown = Table(title=title)
    for column in ("", "what it does", "faces found", "service takes, times that", "quartiles"):
        shown.add_column(column, justify="left" if column in ("", "what it does") else "right")
    for contender in contenders:
        row = rows[contender.name]
        spread = f"{row['lower_quartile']:.2f} .. {row['upper_quartile']:.2f}"
        shown.add_row(contender.name, contender.about, f"{row['faces']:g}", f"{row['service_takes']:.2f}", spread)
    return shown

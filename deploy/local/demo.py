"""The demo: sample photos through the running service, pictures and a table of what it did."""

import asyncio
import io
import json
from pathlib import Path

import cv2
import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from deploy.local.measure import Measured, measure
from deploy.local.sample_photos import Sample, sample_photos
from deploy.local.stack import LocalStack
from services.anonymizer.encode import encode
from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import StackError
from services.population.compatibility import models_for
from services.population.index import ClusterIndex, open_index
from services.population.sample import sampler_for
from services.settings import Settings

TILE_PX = 360


def run(settings: Settings, out: Path, console: Console) -> None:
    """Starts a stack, shows the demo on it, and stops it.

    Raises:
        AnonFacesError: a missing model or index, or a stack that does not start.
    """
    models = models_for(open_index(settings), settings)
    sampler = sampler_for(models.generator, settings.model_repository)
    console.print("starting Triton and the service ...")
    with LocalStack(settings, extra_models=sampler.models) as stack:
        show(stack, settings, out, console)
    console.print(f"pictures and faces.json are in [bold]{out}[/]; begin with contact-sheet.jpg", highlight=False)


def show(stack: LocalStack, settings: Settings, out: Path, console: Console) -> None:
    """Anonymises the samples over HTTP; writes pictures and faces.json into `out`, and prints a table.

    Raises:
        StackError: the service refused a sample, or a face is still nearer to the original than to its surrogate.
    """
    out.mkdir(parents=True, exist_ok=True)
    index = open_index(settings)
    models = models_for(index, settings)
    rows = asyncio.run(_through(stack, settings, models, index, out, console))
    (out / "faces.json").write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    console.print(_table(rows, index))
    kept = [row for row in rows if not row.nearer_to_surrogate]
    if kept:
        raise StackError(
            f"{len(kept)} replaced faces are nearer to the original than to their surrogate; see faces.json"
        )


async def _through(
    stack: LocalStack, settings: Settings, models: Models, index: ClusterIndex, out: Path, console: Console
) -> list[Measured]:
    sampler = sampler_for(models.generator, settings.model_repository)
    rows: list[Measured] = []
    pairs: list[np.ndarray] = []
    async with Triton(stack.triton.url, timeout_s=60) as triton, httpx.AsyncClient(timeout=120) as http:
        console.print("making sample photos ...")
        for sample in await sample_photos(index, sampler, triton):
            before, after, inspected = await _anonymise(sample, stack.url, http, out)
            faces = len(inspected["faces"])
            console.print(f"  {sample.name}: {faces} face{'s' * (faces != 1)}", highlight=False)
            pairs.append(_side_by_side(before, after, out / f"{sample.name}-side-by-side.jpg"))
            rows += await measure(sample.name, before, after, inspected, index, triton, models, settings)
    Image.fromarray(_contact_sheet(pairs)).save(out / "contact-sheet.jpg", quality=90)
    return rows


async def _anonymise(
    sample: Sample, url: str, http: httpx.AsyncClient, out: Path
) -> tuple[np.ndarray, np.ndarray, dict]:
    data = encode(sample.pixels, "jpeg", quality=95)
    (out / f"{sample.name}-before.jpg").write_bytes(data)
    headers = {"Content-Type": "image/jpeg"}
    inspected = await http.post(f"{url}/v1/inspect", content=data, headers=headers)
    answer = await http.post(f"{url}/v1/anonymize", content=data, headers=headers)
    for response in (inspected, answer):
        if response.status_code != 200:
            raise StackError(f"{sample.name}: the service answered {response.status_code}: {response.text}")
    (out / f"{sample.name}-after.jpg").write_bytes(answer.content)
    return _pixels(data), _pixels(answer.content), inspected.json()


def _pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def _side_by_side(before: np.ndarray, after: np.ndarray, path: Path) -> np.ndarray:
    gap = np.full((before.shape[0], max(4, before.shape[1] // 80), 3), 255, np.uint8)
    picture = np.concatenate([before, gap, after], axis=1)
    Image.fromarray(picture).save(path, quality=92)
    return picture


def _contact_sheet(pairs: list[np.ndarray]) -> np.ndarray:
    """All before/after pairs: the first and the last across the sheet, the others two in a row."""
    width = 4 * TILE_PX + 24
    lines = [_fit(pairs[0], width)]
    for start in range(1, len(pairs) - 1, 2):
        row = [_letterbox(pair, 2 * TILE_PX + 8, TILE_PX) for pair in pairs[start : start + 2]]
        row += [np.full_like(row[0], 255)] * (2 - len(row))
        lines.append(np.concatenate([row[0], np.full((TILE_PX, 8, 3), 255, np.uint8), row[1]], axis=1))
    lines.append(_fit(pairs[-1], width))
    gap = np.full((8, width, 3), 255, np.uint8)
    return np.concatenate([part for line in lines for part in (_letterbox(line, width, len(line)), gap)][:-1])


def _fit(picture: np.ndarray, width: int) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _letterbox(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (min(width, round(picture.shape[1] * scale)), min(height, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 255, np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = small
    return canvas


def _table(rows: list[Measured], index: ClusterIndex) -> Table:
    table = Table(title=f"index {index.version}, k = {index.k}; distances between dlib embeddings")
    for name in ("photo", "face", "px", "person", "crowd", "people", "new to surrogate", "new to old"):
        table.add_column(name, justify="left" if name in ("photo", "person") else "right")
    for row in rows:
        table.add_row(
            row.photo,
            str(row.face),
            str(row.side_px),
            "enrolled" if row.enrolled else "stranger",
            str(row.crowd),
            str(row.crowd_size),
            f"{row.to_surrogate:.2f}",
            f"{row.to_original:.2f}" + ("" if row.nearer_to_surrogate else " [red]nearer to old[/]"),
        )
    return table

"""A small collection of people who do not exist and one who does, and the command that releases it."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from deploy.local.stack import LocalStack
from services.anonymizer.triton import Triton
from services.population.compatibility import models_for
from services.population.demo import person_name
from services.population.index import ClusterIndex
from services.population.sample import sampler_for
from services.release.cli import app
from services.settings import Settings

SIDE = 240
ENROLLED = 2  # the first people of the demo population
STRANGER = "trip/day 1/B\n.PNG"
NAMES = {f"{person_name(0)}/0.jpg", f"{person_name(1)}/1.jpg", STRANGER}
COUNTED = (
    "--recognisable",
    "count",
)  # generated people are alike, and so are they and their surrogates


def run(*arguments: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def fill(folder: Path, portraits: list[np.ndarray]) -> Path:
    """Three photos in nested folders: two of enrolled people, one of a stranger with metadata."""
    for number, pixels in enumerate(portraits[:ENROLLED]):
        place = folder / person_name(number)
        place.mkdir(parents=True)
        Image.fromarray(pixels).save(place / f"{number}.jpg", quality=95)
    (folder / "trip" / "day 1").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010F] = "a camera with a serial number"
    Image.fromarray(portraits[-1]).save(folder / STRANGER, exif=exif)
    return folder


@pytest.fixture(scope="session")
def portraits(stack: LocalStack, index: ClusterIndex, settings: Settings, astronaut: np.ndarray) -> list[np.ndarray]:
    """Enrolled people as they were enrolled, and a person whom nobody enrolled: uint8 [240, 240, 3] each."""
    sampler = sampler_for(models_for(index, settings).generator, settings.model_repository)

    async def draw() -> np.ndarray:
        async with Triton(stack.triton.url, timeout_s=120) as triton:
            latents = await sampler.latents(ENROLLED, index.manifest["provenance"]["seed"], triton)
            return await sampler.pictures(latents, triton)

    pictures = [Image.fromarray(picture) for picture in asyncio.run(draw())]
    pictures.append(Image.fromarray(astronaut[:300, 60:360]))
    return [np.asarray(picture.resize((SIDE, SIDE))) for picture in pictures]


@pytest.fixture(scope="session")
def collection(portraits: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos. Tests copy what they change."""
    return fill(tmp_path_factory.mktemp("collection") / "photos", portraits)


@pytest.fixture(scope="session")
def whole(collection: Path, stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A release that is made and proved, and what the command said. Tests copy what they change."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(collection, "--out", out, "--triton", stack.triton.url, *COUNTED)
    assert done.exit_code == 0, done.output
    return out, done


@pytest.fixture
def photos(collection: Path, tmp_path: Path) -> Path:
    return shutil.copytree(collection, tmp_path / "photos")


@pytest.fixture
def again(whole: tuple[Path, Result], photos: Path, tmp_path: Path) -> Path:
    """A copy of the whole release, of a copy of its photos, to go on with."""
    out = shutil.copytree(whole[0], tmp_path / "out")
    private = shutil.copytree(private_of(whole[0]), private_of(out))
    terms = json.loads((private / "release.json").read_text())
    (private / "release.json").write_text(json.dumps({**terms, "folder": str(photos)}))
    return out


@pytest.fixture
def release(stack: LocalStack, tmp_path: Path) -> Callable[..., Result]:
    """Releases a folder into `out`, against the Triton that runs. Options of the test come last."""

    def released(folder: Path, *options: object) -> Result:
        return run(folder, "--out", tmp_path / "out", "--triton", stack.triton.url, *COUNTED, *options)

    return released


def private_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.private")


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def lines_of(out: Path, kind: str) -> list[dict[str, Any]]:
    """What the journal of a release says of its photos, or of their proofs, from the first line on."""
    lines = map(json.loads, (private_of(out) / "journal.jsonl").read_text().splitlines())
    return [line[kind] for line in lines if kind in line]


def told(out: Path) -> dict[str, Any]:
    """The header of a release's manifest."""
    return json.loads((out / "manifest.json").read_text())

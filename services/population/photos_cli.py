"""`anonfaces photos`: single photos -> aligned pictures, and latents."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.triton import LocalTriton
from services.anonymizer.align import FFHQ_LANDMARKS, cut_chips, pose_of
from services.anonymizer.detect import detect
from services.anonymizer.latents import broadcast
from services.anonymizer.models import DEFAULTS, Generator, Models, choose, find_generator, find_inverter
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import LatentsRefused
from services.files import require_parent
from services.population.compatibility import check_inverter
from services.population.faces import Tally, faces_of, find_photos
from services.population.ffhq import align_ffhq
from services.population.latents_file import Latents, import_latents, write_latents
from services.population.portrait import MIN_FACE_PX, MIN_SCORE
from services.population.sample import sampler_for
from services.population.tally import show_photos
from services.provenance import VERSION_FOLDER, check_model
from services.settings import settings

app = typer.Typer(help="Single photos: aligned pictures of their faces, and latents.", no_args_is_help=True)
console = Console()
T = TypeVar("T")
Photos = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of photos, with its subfolders")]
EveryFace = Annotated[bool, typer.Option("--every-face", help="all faces of a photo; else its largest")]


@app.command()
def align(
    photos: Photos,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder for the pictures; made if it is not there")],
    size: Annotated[int, typer.Option(min=64, max=4096, help="side of a picture in pixels")] = 1024,
    every_face: EveryFace = False,
) -> None:
    """Cuts faces out as FFHQ aligns them: PNG files, under the photos' own names. They show who they show."""
    models, tally = choose(settings()), Tally()
    written = 0

    def cut(pixels: np.ndarray, landmarks: np.ndarray) -> list[np.ndarray]:
        return [align_ffhq(pixels, points, size) for points in landmarks[: None if every_face else 1]]

    async def run() -> None:
        nonlocal written
        async with LocalFaces(models, ()) as local:
            async for path, pictures in local.faces(photos, cut, tally):
                for name, picture in zip(_names(path, photos, len(pictures)), pictures, strict=True):
                    target = out / f"{name}.png"
                    await asyncio.to_thread(_save, picture, target)
                    written += 1

    asyncio.run(run())
    show_photos(tally, console)
    console.print(f"{written} pictures in {out}", soft_wrap=True, highlight=False)


@app.command()
def invert(
    photos: Photos,
    out: Annotated[Path, typer.Option(dir_okay=False, help="file for the latents (.npz)")],
    generator: Annotated[str, typer.Option(help="whose latents")] = DEFAULTS["generator"],
    embedder: Annotated[str, typer.Option(help="whose embeddings the inversion takes")] = DEFAULTS["embedder"],
    every_face: EveryFace = False,
    refine: Annotated[int, typer.Option(min=0, max=1000, help="steps of optimisation; needs PyTorch")] = 0,
) -> None:
    """Finds the latent of each photo's face, by regression; with --refine, better ones by optimisation.

    The file holds one latent a face: personal data, readable by its owner only.
    """
    require_parent(out)
    models = choose(settings().model_copy(update={"generator": generator, "embedder": embedder}))
    inverter = find_inverter(models, settings().model_repository)
    check_inverter(inverter, settings().model_repository)
    sampler = sampler_for(models.generator, settings().model_repository)
    refiner = _refiner(models, sampler.generator, refine) if refine else None
    tally = Tally()
    chosen = models.embedder

    def cut(pixels: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = landmarks[: None if every_face else 1]
        return cut_chips(pixels, points, chosen.aligner, chosen.chip_px), pose_of(points)

    async def run() -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """Names, latents, embeddings, and where the face is in the picture of each latent, if that is asked."""
        names: list[str] = []
        embeddings, rows = [], []
        rendering = (sampler.generator.model,) if refiner else ()
        async with LocalFaces(models, (chosen.model, inverter.model, *rendering)) as local:
            async for path, (chips, poses) in local.faces(photos, cut, tally):
                (embedding,) = await local.triton.infer(chosen.model, {"chips": chips}, "embedding")
                (w,) = await local.triton.infer(inverter.model, {"embedding": embedding, "pose": poses}, "w")
                names += _names(path, photos, len(w))
                embeddings.append(embedding)
                rows.append(broadcast(w, models.generator))
            if not rows:
                raise LatentsRefused(f"no photo in {photos} has a face that can be used")
            values = np.concatenate(rows)
            landmarks = await _landmarks(values, local, sampler.generator) if refiner else np.empty(0)
        return names, values, np.concatenate(embeddings), landmarks

    names, values, embeddings, landmarks = asyncio.run(run())
    if refiner:
        values = refiner(values, embeddings, landmarks)
    write_latents(Latents(models.generator.name, names, values), out)
    show_photos(tally, console)
    console.print(f"{len(names)} latents of {generator} in {out}", soft_wrap=True, highlight=False)


@app.command("import-latents")
def import_(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of .npy files, one a photo")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="file for the latents (.npz)")],
    generator: Annotated[str, typer.Option(help="whose latents they are")],
) -> None:
    """Takes over latents that were found elsewhere, such as StyleGAN-encoder's [18, 512], after checking each."""
    require_parent(out)
    row = find_generator(generator, settings().model_repository)
    latents = import_latents(sorted(folder.rglob("*.npy")), folder, row)
    write_latents(latents, out)
    console.print(f"{len(latents.names)} latents of {generator} in {out}", soft_wrap=True, highlight=False)


class LocalFaces:
    """A Triton of its own that finds faces in folders of photos, and runs some further models."""

    def __init__(self, models: Models, further: tuple[str, ...]):
        self.models = models
        served = {*models.detector.served, *further}
        self._server = LocalTriton(settings().model_repository, served, settings().home / "run" / "photos")

    async def __aenter__(self) -> "LocalFaces":
        self._server.start()  # here: a server ends with the thread that started it
        self.triton = Triton(self._server.url, timeout_s=120)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.triton.close()
        self._server.stop()

    async def faces(
        self, folder: Path, work: Callable[[np.ndarray, np.ndarray], T], tally: Tally
    ) -> AsyncIterator[tuple[Path, T]]:
        """See `faces_of`, with a progress bar."""
        paths = find_photos(folder, tally)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("reading photos", total=len(paths))

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done)

            found = faces_of(paths, work, self.triton, self.models.detector, settings(), tally, progress)
            async with aclosing(found) as results:
                async for result in results:
                    yield result


def _names(path: Path, folder: Path, count: int) -> list[str]:
    """What the faces of a photo are called: the photo's path below the folder, and a number from the second on.

    The photo's suffix stays, so that `a.jpg` and `a.png` do not meet.
    """
    name = path.relative_to(folder).as_posix()
    return [name if i == 0 else f"{name}-{i + 1}" for i in range(count)]


def _save(picture: np.ndarray, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    Image.fromarray(picture).save(partial, "PNG")
    partial.replace(target)


async def _landmarks(latents: np.ndarray, local: LocalFaces, generator: Generator) -> np.ndarray:
    """Where the face is in the picture of each latent, float [n, 5, 2]; where FFHQ has it if none is found."""
    height, width = generator.image_size
    rows = []
    for latent in latents:  # one at a time: pictures are large, and a CPU gains nothing by more
        (picture,) = await render(latent[None], local.triton, generator)
        faces = await detect(picture, local.triton, local.models.detector, MIN_SCORE, MIN_FACE_PX)
        largest = max(faces, key=lambda face: face.side, default=None)
        rows.append(FFHQ_LANDMARKS * (width, height) if largest is None else largest.landmarks)
    return np.array(rows)


def _refiner(models: Models, generator: Generator, steps: int) -> Callable[..., np.ndarray]:
    """(latents, embeddings, landmarks) -> better latents; asks for PyTorch now, not after the photos were read."""
    from conversion.inversion.refine import PULL, refine

    repository, files = settings().model_repository, []
    for model in (generator.model, models.embedder.model):
        check_model(repository, model)
        files.append(repository / model / VERSION_FOLDER / "model.onnx")

    def better(latents: np.ndarray, embeddings: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("refining", total=None)
            done = refine(
                latents,
                embeddings,
                landmarks,
                generator_onnx=files[0],
                embedder_onnx=files[1],
                aligner=models.embedder.aligner,
                chip_px=models.embedder.chip_px,
                latent_name=generator.latent,
                steps=steps,
                pull=PULL,
                report=lambda step, total: bar.update(task, completed=step, total=total),
            )
        first, last = np.nanmean(done.first), np.nanmean(done.last)
        console.print(f"distance {first:.3f} before, {last:.3f} after, as the embedder itself sees it", highlight=False)
        return done.latents

    return better

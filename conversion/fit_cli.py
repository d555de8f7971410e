"""`anonfaces models fit`: what is learnt from photos of the user's own."""

import asyncio
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from conversion.inversion.cli import inversion
from conversion.local import local_triton
from conversion.names import require_name
from conversion.pca.convert import ALIGNER, CHIP, Fitter
from conversion.pca.file import MAX_DIMS, MIN_DIMS, Pca
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.align import cut_chips
from services.anonymizer.models import DETECTORS
from services.anonymizer.triton import Triton
from services.errors import ConversionError
from services.files import require_parent
from services.population.faces import SUFFIXES, Tally, faces_of, find_photos
from services.population.tally import show_photos
from services.settings import settings

DETECTOR = DETECTORS["centerface"]  # the one whose landmarks the aligner takes
SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 200)  # components in the table

app = typer.Typer(help="Models learnt from your own photos.", no_args_is_help=True)
console = Console()


@app.callback()
def _group() -> None:
    """Models learnt from your own photos."""


app.command()(inversion)


@app.command()
def pca(
    photos: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of photos, with its subfolders")],
    dims: Annotated[int, typer.Option(min=MIN_DIMS, max=MAX_DIMS, help="of an embedding")] = 128,
    whiten: Annotated[bool, typer.Option("--whiten", help="give each dimension the same variance")] = False,
    name: Annotated[str, typer.Option(help="what the embedder is called")] = "pca",
    repository: Annotated[Path | None, typer.Option(help="model repository; the settings' if not given")] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="keep the fitted file here (.npz)")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed reads the same photos in the same order")] = 0,
) -> None:
    """Fits eigenfaces to the faces of your photos, and publishes them as an embedder.

    A PCA of few photos can be made to show them: fit it to photos that everyone who gets the model may see.
    """
    target = repository or settings().model_repository
    require_name(name, "pca", target)  # now, and not after an hour of reading photos
    require_parent(out)
    fitter, tally = Fitter(dims, whiten, seed=seed), Tally()
    paths = find_photos(photos, tally)
    if paths:
        shuffled = np.random.default_rng(seed).permutation(len(paths))  # one person's photos lie side by side
        asyncio.run(_read([paths[i] for i in shuffled], fitter, tally))
    show_photos(tally, console)
    if not paths:
        raise ConversionError(f"no photos in {photos}; looked for {' '.join(SUFFIXES)}")
    fitted = fitter.finish()
    with TemporaryDirectory() as scratch:
        file = out or Path(scratch) / f"{name}.npz"
        fitted.save(file)
        (model,) = convert_file("pca", file, name, target, Options())
    _show_variance(fitted)
    console.print(
        f"{target / model.name}: {fitted.dims} dimensions of {fitted.chips} faces; {model.parity['measure']} "
        f"{model.parity['value']:.2g} (at most {model.parity['tolerance']:.0e}) against {model.parity['reference']}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


async def _read(paths: list[Path], fitter: Fitter, tally: Tally) -> None:
    """Feeds the faces of photos to the fit, through a Triton of its own that serves the detector."""
    s = settings()
    rate = TextColumn("{task.fields[faces]} faces, {task.fields[rate]:.1f} photos/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with (
        local_triton()(s.model_repository, DETECTOR.served, s.home / "run" / "fit") as server,
        Progress(*columns, console=console) as bar,
    ):
        task = bar.add_task("reading photos", total=len(paths), faces=0, rate=0.0)

        def progress(done: int, _: int) -> None:
            bar.update(task, completed=done, faces=tally.faces, rate=done / (bar.tasks[task].elapsed or 1))

        async with Triton(server.url, timeout_s=120) as triton:
            cut = partial(cut_chips, aligner=ALIGNER, side=CHIP)
            chips = faces_of(paths, cut, triton, DETECTOR, s, tally, progress)
            async with aclosing(chips) as faces:
                async for _, batch in faces:
                    await asyncio.to_thread(fitter.add, batch)


def _show_variance(fitted: Pca) -> None:
    """How much of the faces' differences the embedding holds."""
    ratios = fitted.explained_variance_ratio.astype(np.float64)
    table = Table("component", "share of variance", "so far")
    for number in sorted({*(n for n in SHOWN if n < fitted.dims), fitted.dims}):
        table.add_row(str(number), f"{ratios[number - 1]:.2%}", f"{ratios[:number].sum():.2%}")
    console.print(table)
    console.print(f"explained variance {ratios.sum():.2%}", highlight=False)

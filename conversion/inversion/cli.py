"""`anonfaces models fit inversion`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from conversion.inversion.fit import Inversion, choose_gain, explained, fit, split
from conversion.inversion.judge import Studio, judge, learning_curve
from conversion.inversion.model import POSE, Fitted, load, save
from conversion.inversion.pairs import Pairs, describe, sample_pairs
from conversion.local import local_triton
from conversion.names import require_name
from conversion.registry import Options
from conversion.repository import convert_file
from services.anonymizer.models import DEFAULTS, Embedder, Models, choose, find_embedder
from services.anonymizer.triton import Triton
from services.arrays import read_arrays
from services.errors import ConversionError
from services.files import require_parent
from services.population.sample import Sampler, sampler_for
from services.settings import Settings, settings

console = Console()


def inversion(
    generator: Annotated[str, typer.Option(help="whose latents")] = DEFAULTS["generator"],
    embedder: Annotated[str, typer.Option(help="whose embeddings")] = DEFAULTS["embedder"],
    pairs: Annotated[int, typer.Option(min=200, help="how many to learn from; some are held out")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="the same seed samples the same people")] = 1,
    name: Annotated[str | None, typer.Option(help="what the model is called; inversion-GENERATOR if not given")] = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="model repository to take models from and publish to; the settings' if not given"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="where sampled pairs are kept; below the home if not given")
    ] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="keep the fitted file here (.npz)")] = None,
    second: Annotated[list[str] | None, typer.Option(help="also judge by this embedder; may be repeated")] = None,
) -> None:
    """Learns photo -> latent on people sampled from a generator, and publishes it.

    Sampling takes most of the time and goes on where it was stopped; pictures are rendered, found and embedded at the
    same time.
    """
    told = {"generator": generator, "embedder": embedder, "model_repository": repository or settings().model_repository}
    chosen = settings().model_copy(update=told)
    name = name or f"inversion-{generator}"
    require_name(name, "inversion", chosen.model_repository)
    models = choose(chosen)
    others = [find_embedder(other, chosen.model_repository) for other in second or []]
    sampler = sampler_for(models.generator, chosen.model_repository)
    if sampler.generator.mapping is None:
        raise ConversionError(f"{generator} has no mapping network: it has no w to find")
    require_parent(out)
    where = folder or chosen.home / "pairs" / f"{sampler.generator.name}-{embedder}-{seed}"
    fitted = asyncio.run(_fit(chosen, models, sampler, others, pairs, seed, where))
    file = out or where / "inversion.npz"
    save(fitted, file)
    (published,) = convert_file("inversion", file, name, chosen.model_repository, Options())
    _show(fitted.card)
    console.print(f"{chosen.model_repository / published.name}; fitted file {file}", soft_wrap=True, highlight=False)


def judge_inversion(
    fitted: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="fitted file (.npz)")],
    embeddings: Annotated[Path, typer.Option(exists=True, dir_okay=False, help=".npz with the array `embedding`")],
    count: Annotated[int | None, typer.Option(min=2, help="only so many, drawn by the seed")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of what is drawn")] = 0,
    generator: Annotated[str, typer.Option(help="whose latents")] = DEFAULTS["generator"],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """How near the faces of predicted latents come to embeddings of your own people; no photo is needed."""
    loaded = load(fitted)
    wanted = _embeddings(embeddings, len(loaded.inversion.mean) - POSE)
    if count is not None and count < len(wanted):
        wanted = wanted[np.sort(np.random.default_rng(seed).permutation(len(wanted))[:count])]
    s = settings().model_copy(update={"generator": generator, "embedder": loaded.card["embedder"]})
    figures = asyncio.run(_judge(loaded.inversion, wanted, s))
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
        return
    console.print(
        f"{figures['people']} people, {figures['faces_found']} faces found: to the face of the predicted w "
        f"{figures['mean_distance']:.4f}, random pair {figures['random_pair']:.4f}, "
        f"within 0.6 {figures['within_0.6']:.0%}",
        soft_wrap=True,
        highlight=False,
    )


def _embeddings(path: Path, dims: int) -> np.ndarray:
    try:
        found = read_arrays(path, "embedding")["embedding"].astype(np.float32)
    except ValueError as broken:
        raise ConversionError(f"{path} holds no array `embedding` of numbers: {broken}") from broken
    if found.ndim != 2 or len(found) < 2 or found.shape[1] != dims or not np.isfinite(found).all():
        raise ConversionError(f"{path} holds embeddings of shape {list(found.shape)}; wanted are [n, {dims}], finite")
    return found


async def _judge(inversion: Inversion, wanted: np.ndarray, s: Settings) -> dict[str, Any]:
    models = choose(s)
    sampler = sampler_for(models.generator, s.model_repository)
    served = {*sampler.models, *models.detector.served, models.embedder.model}
    with local_triton()(s.model_repository, served, s.home / "run" / "judge") as server:
        async with Triton(server.url, timeout_s=120) as triton:
            studio = Studio(sampler, models, triton)
            again = await studio.portraits(inversion.predict(wanted))
    distances = np.array([np.linalg.norm(p.embedding - e) for p, e in zip(again, wanted, strict=True) if p is not None])
    if not len(distances):
        raise ConversionError("no face is found in any picture; are these embeddings of the fitted embedder?")
    return {
        "people": len(wanted),
        "faces_found": len(distances),
        "mean_distance": round(float(distances.mean()), 4),
        "random_pair": round(float(np.linalg.norm(wanted - np.roll(wanted, 1, axis=0), axis=1).mean()), 4),
        "within_0.6": round(float((distances <= 0.6).mean()), 4),
    }


async def _fit(
    s: Settings, models: Models, sampler: Sampler, others: list[Embedder], count: int, seed: int, folder: Path
) -> Fitted:
    served = {*sampler.models, *models.detector.served, models.embedder.model, *(o.model for o in others)}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    about = describe(sampler, models, seed, s.model_repository)
    with local_triton()(s.model_repository, served, s.home / "run" / "fit") as server:
        async with Triton(server.url, timeout_s=120) as triton:
            with Progress(*columns, console=console) as bar:
                task = bar.add_task("sampling pairs", total=count)

                def report(done: int, total: int) -> None:
                    bar.update(task, completed=done, total=total)

                pairs = await sample_pairs(count, about, folder, sampler, models, triton, report)
            return await _learn(pairs, about, Studio(sampler, models, triton, others), seed, count)


async def _learn(pairs: Pairs, about: dict[str, Any], studio: Studio, seed: int, count: int) -> Fitted:
    """Fits, chooses the gain, judges, and writes the card."""
    learnt, held = split(pairs)
    console.print(f"learning from {len(learnt)} pairs, {len(held)} held out ...", highlight=False)
    first, penalty = fit(learnt, held)
    best, gains = await choose_gain(first, held, studio.distances)
    rounded = Inversion(
        best.mean, best.scale, best.matrix.astype(np.float16).astype(np.float32), best.w_mean, best.gain
    )
    console.print(f"gain {best.gain:g}; judging on people of another seed ...", highlight=False)
    card = {
        **about,
        "command": f"anonfaces models fit inversion --generator {studio.models.generator.name} "
        f"--embedder {studio.models.embedder.name} --pairs {count} --seed {seed}"
        + "".join(f" --second {other.name}" for other in studio.others),
        "pairs": len(learnt),
        "held_out": len(held),
        "penalty": penalty,
        "gain": best.gain,
        "mean_distance_by_gain": gains,
        "explained_w": round(explained(first, held), 4),
        "explained_w_by_pairs": learning_curve(learnt, held),
        "judged": await judge(rounded, studio, seed),
    }
    return Fitted(rounded, card)


def _show(card: dict[str, Any]) -> None:
    console.print(f"w explained on held-out pairs: {card['explained_w']:.1%}; by pairs {card['explained_w_by_pairs']}")
    console.print(f"distance by gain: {card['mean_distance_by_gain']}")
    for name, figures in card["judged"].items():
        if isinstance(figures, dict):
            console.print(
                f"{name}: person to the face of the predicted w {figures['mean_distance']:.3f}, random pair "
                f"{figures['random_pair']:.3f}; nearest of all {figures['nearest_of_all']:.0%}",
                highlight=False,
            )

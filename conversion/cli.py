"""`anonfaces models`: what weights there are, fetching them, and turning them into a model repository."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from conversion import fit_cli
from conversion.catalogue import Catalogue
from conversion.engine import batches_of, build_engine
from conversion.inversion.cli import judge_inversion
from conversion.prepare import prepare
from conversion.registry import KINDS, RECIPES, Network, Noise, Options, Precision
from conversion.repository import Published, convert, convert_file, is_current
from conversion.table import describe, markdown, names_of
from conversion.triton_config import stale_gpu_configs, write_gpu_configs
from services.errors import ConfigurationError, ConversionError, WeightsError
from services.settings import ROOT, settings

app = typer.Typer(help="Weights, and the models made from them.", no_args_is_help=True)
app.add_typer(fit_cli.app, name="fit")
app.command("judge-inversion")(judge_inversion)
console = Console()
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="rows of the catalogue; all if none")]


def _catalogue() -> Catalogue:
    return Catalogue(settings().weights_dir)


@app.command("list")
def list_weights() -> None:
    """What the catalogue holds, on which terms, and what of it is here."""
    catalogue = _catalogue()
    for weight in catalogue.weights.values():
        states = {verdict.state for verdict in catalogue.inspect(weight.name)}
        here = "wrong file" if "wrong" in states else "not here" if "missing" in states else "here"
        here += ", optional" if weight.optional else ""
        use = "[bold red]commercial use restricted[/]" if weight.restricted else "commercial use allowed"
        console.print(f"[bold]{weight.name}[/] ({here}): {weight.purpose}", highlight=False)
        console.print(f"  {weight.licence}; {use}. {weight.terms}", highlight=False)
        console.print(f"  from {weight.source}", highlight=False)


@app.command()
def pull(names: Names = None) -> None:
    """Fetches weights that are not here yet, and checks their hashes; optional ones if they are named."""
    catalogue = _catalogue()
    for name in names or catalogue.weights:
        weight = catalogue[name]
        if not names and catalogue.left_out(name):
            console.print(f"[bold]{name}[/]: optional, left out; `anonfaces models pull {name}` fetches it")
            continue
        console.print(f"[bold]{name}[/]: {weight.licence}" + (" [red](restricted)[/]" if weight.restricted else ""))
        fetched = catalogue.pull(name)
        console.print(f"  {'fetched and verified' if fetched else 'already here, verified'}")


@app.command()
def verify(names: Names = None) -> None:
    """Hashes every weight on disk; exit status 1 if one is missing or wrong. Optional ones may be missing."""
    catalogue = _catalogue()
    bad = 0
    for name in names or catalogue.weights:
        if not names and catalogue.left_out(name):
            console.print(f"left out {name} (optional)")
            continue
        for verdict in catalogue.inspect(name):
            good = verdict.state == "ok"
            bad += not good
            console.print(f"{'ok     ' if good else verdict.state + ' '} {name}/{verdict.file}")
            if verdict.state == "wrong":
                console.print(f"        found    {verdict.found}")
                console.print(f"        expected {catalogue[name].files[verdict.file].sha256}")
    if bad:
        raise WeightsError(f"{bad} file(s) missing or wrong; run `anonfaces models pull`")


@app.command("convert")
def convert_models(
    what: Annotated[str | None, typer.Argument(metavar="[KIND|ROW]", help="kind of file, or catalogue row")] = None,
    file: Annotated[
        Path | None, typer.Argument(help="your file; a folder for mobile-stylegan, tfjs, age-gender, emotion")
    ] = None,
    name: Annotated[str | None, typer.Option(help="what the models of your file are called after")] = None,
    repository: Annotated[Path | None, typer.Option(help="model repository; the settings' if not given")] = None,
    network: Annotated[Network, typer.Option(help="stylegan: the averaged generator, or the trained one")] = "Gs",
    noise: Annotated[Noise, typer.Option(help="stylegan: the file's own noise, or none")] = "fixed",
    precision: Annotated[Precision, typer.Option(help="stylegan: of weights and convolutions")] = "fp32",
    flip_kernels: Annotated[bool, typer.Option("--flip-kernels", help="cnn: it was trained under Theano")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="catalogue: only what is missing or changed")] = False,
) -> None:
    """Converts weights into the model repository; publishes a model only if it agrees with its source.

    With FILE, a file of yours: `convert stylegan karras2019stylegan-ffhq-1024x1024.pkl --name ffhq`.
    Without, what the catalogue holds: one row, or all but the optional ones that were not pulled.
    """
    target = repository or settings().model_repository
    if file is not None:
        options = Options(network, noise, precision, flip_kernels)
        _show(convert_file(what or "", file, name or "", target, options))
        return
    if what in KINDS and what not in RECIPES:
        raise ConversionError(f"which file? anonfaces models convert {what} FILE --name NAME")
    catalogue = _catalogue()
    for row in [what] if what else RECIPES:
        if not what and catalogue.left_out(row):
            console.print(f"{row}: optional, left out")
        elif stale and is_current(row, catalogue, target):
            console.print(f"{row}: up to date")
        else:
            _show(convert(row, catalogue, target))


def _show(published: list[Published]) -> None:
    for model in published:
        parity = model.parity
        console.print(
            f"{model.name}: {parity['measure']} {parity['value']:.2g} (at most {parity['tolerance']:.0e}) against "
            f"{parity['reference']}; {model.bytes / 1e6:.1f} MB",
            soft_wrap=True,
        )


@app.command("prepare")
def prepare_repository(
    carried: Annotated[Path, typer.Option(help="the project's repository, with its configurations")] = (
        ROOT / "model_repository"
    ),
) -> None:
    """Makes the settings' model repository whole: lays out, pulls, verifies and converts what is missing or changed.

    What the image of models does in front of Triton. It may be run again at any time, on a volume that is kept.
    """

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    prepare(_catalogue(), carried, settings().model_repository, tell)


@app.command("configs")
def gpu_configs(
    check: Annotated[bool, typer.Option("--check", help="only compare; exit status 1 if one is stale")] = False,
    repository: Annotated[Path | None, typer.Option(help="model repository; the settings' if not given")] = None,
) -> None:
    """Writes configs/gpu.pbtxt of every model from its config.pbtxt: TensorRT, for Triton on a GPU."""
    target = repository or settings().model_repository
    changed = stale_gpu_configs(target) if check else write_gpu_configs(target)
    if check and changed:
        raise ConfigurationError(f"stale: {', '.join(map(str, changed))}; run `anonfaces models configs`")
    for path in changed:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    if not changed:
        console.print("every configs/gpu.pbtxt is up to date")


@app.command("build-engine")
def build_plan(
    name: Annotated[str, typer.Argument(help="a model of the repository")],
    repository: Annotated[Path | None, typer.Option(help="model repository; the settings' if not given")] = None,
    precision: Annotated[
        Literal["fp16", "fp32"] | None, typer.Option(help="what the graph can take, if not given")
    ] = None,
    batch: Annotated[str, typer.Option(help="rows the plan is made for: fewest, usual, most")] = "1,8,32",
    out: Annotated[Path | None, typer.Option(help="gets NAME/, a model folder; home/engines if not given")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds the tool may take")] = 3600.0,
) -> None:
    """Builds a TensorRT plan with trtexec or polygraphy, on the GPU that will serve it.

    Needs one of the two on PATH, as NVIDIA's TensorRT and Triton containers have. Serve it with
    `tritonserver --model-repository=OUT`. Nobody has to build plans: with --model-config-name=gpu Triton builds its own
    engines at its first start, and keeps them.
    """
    folder = build_engine(
        name,
        repository or settings().model_repository,
        out or settings().home / "engines",
        batches_of(batch),
        precision,
        timeout,
        tell=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False),
    )
    console.print(f"built {folder}", soft_wrap=True, highlight=False)


@app.command()
def table(
    names: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="models; all if none")] = None,
    repository: Annotated[Path | None, typer.Option(help="model repository; the settings' if not given")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="also milliseconds on one CPU thread, by batch")] = False,
) -> None:
    """What is converted, as a Markdown table: sources, terms, sizes, parity, and how long a row takes."""
    folder = repository or settings().model_repository
    rows = [describe(name, folder, measure) for name in names or names_of(folder)]
    typer.echo(markdown(rows))

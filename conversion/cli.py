"""`anonfaces models`: what weights there are, fetching them, and turning them into a model repository."""

from typing import Annotated

import typer
from rich.console import Console

from conversion.catalogue import Catalogue
from conversion.registry import RECIPES
from conversion.repository import convert, is_current
from services.errors import WeightsError
from services.settings import settings

app = typer.Typer(help="Weights, and the models made from them.", no_args_is_help=True)
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
        use = "[bold red]commercial use restricted[/]" if weight.restricted else "commercial use allowed"
        console.print(f"[bold]{weight.name}[/] ({here}): {weight.purpose}", highlight=False)
        console.print(f"  {weight.licence}; {use}. {weight.terms}", highlight=False)
        console.print(f"  from {weight.source}", highlight=False)


@app.command()
def pull(names: Names = None) -> None:
    """Fetches weights that are not here yet, and checks their hashes."""
    catalogue = _catalogue()
    for name in names or catalogue.weights:
        weight = catalogue[name]
        console.print(f"[bold]{name}[/]: {weight.licence}" + (" [red](restricted)[/]" if weight.restricted else ""))
        fetched = catalogue.pull(name)
        console.print(f"  {'fetched and verified' if fetched else 'already here, verified'}")


@app.command()
def verify(names: Names = None) -> None:
    """Hashes every weight on disk; exit status 1 if one is missing or wrong."""
    catalogue = _catalogue()
    bad = 0
    for name in names or catalogue.weights:
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
    names: Names = None,
    stale: Annotated[
        bool, typer.Option(help="only models that are missing, changed, or made by another version")
    ] = False,
) -> None:
    """Converts weights into the model repository; publishes a model only if it agrees with its source."""
    catalogue, repository = _catalogue(), settings().model_repository
    for name in names or RECIPES:
        if stale and is_current(name, catalogue, repository):
            console.print(f"{name}: up to date")
            continue
        for model in convert(name, catalogue, repository):
            parity = model.parity
            console.print(
                f"{model.name}: {parity['measure']} {parity['value']:.2g} (at most {parity['tolerance']:.0e}) against "
                f"{parity['reference']}; {model.bytes / 1e6:.1f} MB",
                soft_wrap=True,
            )

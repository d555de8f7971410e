"""`anonfaces bench`: how good, how fast and how large; all figures of a table come from one run."""

import typer

from services.population.bench.lookup import lookup
from services.population.bench.partition import partition
from services.population.bench.scale import scale

app = typer.Typer(help="Measurements: partitioners, their scale, crowd look-up.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measurements: partitioners, their scale, crowd look-up."""


for _command in (partition, scale, lookup):
    app.command()(_command)

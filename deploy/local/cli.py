"""`anonfaces local`: the whole stack on this machine."""

import contextlib
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from conversion import centerface
from deploy.load import run as load_test
from deploy.local import bench as benchmark
from deploy.local import compare as comparison
from deploy.local import demo as demonstration
from deploy.local import ranges as activation_ranges
from deploy.local import recall as known_faces
from deploy.local.stack import LocalStack
from deploy.monitoring.watch import run as watching
from services.settings import settings

app = typer.Typer(help="Triton and the service on this machine, without containers.", no_args_is_help=True)
console = Console()


@app.command()
def serve() -> None:
    """Starts Triton and the service, and keeps them running until Ctrl-C."""
    _stop_on_signal()
    chosen = settings()
    with (
        contextlib.suppress(KeyboardInterrupt),
        LocalStack(chosen, port=chosen.port, grpc_port=chosen.grpc_port) as stack,
    ):
        places = f"[bold]{stack.url}[/]" + (f" and [bold]{stack.grpc_url}[/]" if stack.service.grpc_port else "")
        console.print(f"listening on {places} (Ctrl-C stops; logs in {stack.work / 'logs'})", highlight=False)
        console.print(
            f"try: curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {stack.url}/v1/anonymize -o out.jpg",
            highlight=False,
            soft_wrap=True,
        )
        while True:
            stack.check_alive()
            time.sleep(0.5)


@app.command()
def watch(
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0 picks a free one")] = 8090,
    traffic: Annotated[bool, typer.Option("--traffic", help="send sample photos, one after the other")] = False,
) -> None:
    """As serve, with Prometheus and a page that draws what it scrapes, until Ctrl-C."""
    _stop_on_signal()
    with contextlib.suppress(KeyboardInterrupt):
        watching.run(settings(), port, traffic, console)


def _stop_on_signal() -> None:
    """SIGTERM is Ctrl-C; told before anything is started, so that all of it is stopped."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)


@app.command()
def demo(out: Annotated[Path, typer.Option(help="folder for pictures and measurements")] = Path("demo")) -> None:
    """Anonymises sample photos through a running stack and shows what it did."""
    demonstration.run(settings(), out, console)


@app.command()
def bench(out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("build/bench.json")) -> None:
    """Milliseconds per stage, faces per second, and time outside Triton, on a stack of its own."""
    benchmark.run(settings(), out, console)


@app.command()
def load(
    out: Annotated[Path, typer.Option(help="folder for the report")] = Path("build/load"),
    scenario: Annotated[load_test.What, typer.Option(help="short: all of them but the soak")] = "short",
    minutes: Annotated[float, typer.Option(min=0.5, help="length of a soak")] = 20,
    rate: Annotated[float | None, typer.Option(min=0.1, help="photos a second, where the rate is steady")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="length of one stair of a ramp")] = 8,
) -> None:
    """Load by HTTP and gRPC on a stack of its own, and a report with plots; fails if a threshold is crossed."""
    load_test.run(settings(), out, load_test.Plan(scenario, minutes, rate, seconds), console)


@app.command()
def compare(
    out: Annotated[Path, typer.Option(help="where the JSON goes")] = Path("build/compare.json"),
    rounds: Annotated[int, typer.Option(min=2, help="how often each photo goes through each contender")] = 12,
) -> None:
    """How long the service takes beside the bare models, dlib and deface: ratios, on a stack of its own."""
    comparison.run(settings(), out, console, rounds)


@app.command()
def recall(
    detectors: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME:PRECISION]...", help="the first is compared with the others")
    ] = None,
) -> None:
    """Faces found, faces missed and false faces, in photos in which every face is known."""
    known_faces.run(settings(), detectors or ["centerface:float32", "centerface:int8"], console)


@app.command()
def ranges(
    out: Annotated[Path, typer.Option(help="the file that ships")] = centerface.RANGES,
) -> None:
    """What the int8 form of the detector is made with: the ranges of its activations on photos with known faces."""
    activation_ranges.run(settings(), out, console)

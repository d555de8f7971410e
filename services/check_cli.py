"""`anonfaces check`: does a running service do its work? Asked with a face of nobody's, one of its own surrogates."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from services.client import API_KEY, DEFAULT_URL, Client
from services.errors import AnonFacesError
from services.text import plain

console = Console()


def check(
    url: Annotated[str, typer.Option(help="where the service listens: http(s)://... or grpc(s)://...")] = DEFAULT_URL,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for it to be there")] = 0.0,
    api_key: Annotated[str | None, typer.Option(envvar=API_KEY, help="better in the environment than here")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM certificates to trust, for https and grpcs")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM certificate to show to the service")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM key of that certificate")] = None,
) -> None:
    """Has a surrogate of the service's own anonymised, and looks at the answer. Exit status 1 if anything is wrong."""
    with Client(url, api_key=api_key, ca=ca, certificate=certificate, key=key) as client:
        _wait_for(client, wait)
        index = client.index()
        picture = client.surrogate(0, format="jpeg")
        start = time.perf_counter()
        result = client.anonymize(picture.data, no_face="refuse")
        seconds = time.perf_counter() - start
    if result.faces - result.masked < 1:
        raise AnonFacesError(f"{client.url} replaced no face of a photo that has one; look at its log")
    if result.data == picture.data:
        raise AnonFacesError(f"{client.url} gave a photo back as it was sent; stop it, and look at its log")
    claimed = f"k = {result.k} for enrolled people" if result.k else "no k is claimed: the enrolment map is not loaded"
    version = plain(result.index_version)
    console.print(
        f"[bold]{client.url}[/] works: {result.faces} face replaced in {seconds:.1f} s, index "
        f"{escape(plain(str(index['name'])))} version {escape(version)}, {index['crowds']} crowds, {claimed}",
        highlight=False,
        soft_wrap=True,
    )


def _wait_for(client: Client, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return client.require()
        except AnonFacesError:
            if time.monotonic() >= end:
                raise
            time.sleep(1)

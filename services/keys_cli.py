"""`anonfaces keys`: makes, lists, replaces and removes API keys. A running service takes the changes up by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from services.api_keys import ApiKey, KeyFile, digest, new_token, read_keys, write_keys
from services.errors import ConfigurationError
from services.files import locked, require_parent
from services.settings import settings

app = typer.Typer(help="API keys: who may ask for what, and how often.", no_args_is_help=True)
console = Console(stderr=True)  # what it prints to stdout is a key, and nothing else

File = Annotated[Path | None, typer.Option(help="the file of keys; default: ANONFACES_API_KEYS")]
Name = Annotated[str, typer.Argument(help="of the key, as the log of the service names it")]


@app.command()
def add(
    name: Name,
    scope: Annotated[list[str], typer.Option(help="anonymize, inspect or metrics; may be repeated")],
    rate: Annotated[float | None, typer.Option(help="most requests a second and worker; default: any")] = None,
    burst: Annotated[int, typer.Option(help="requests that may come at once, where there is a rate")] = 1,
    days: Annotated[float | None, typer.Option(help="for how long it is valid; default: until it is removed")] = None,
    file: File = None,
) -> None:
    """Makes a key and prints it, once: nobody can read it again."""
    path = _path(file)
    with _changing(path):
        known = read_keys(path).keys if path.exists() else ()
        if any(key.name == name for key in known):
            raise ConfigurationError(f"there is a key {name!r} already; replace it with `anonfaces keys rotate {name}`")
        token = new_token()
        expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
        key = _key(name=name, sha256=digest(token), scopes=scope, rate=rate, burst=burst, expires=expires)
        write_keys(path, KeyFile(keys=(*known, key)))
    print(token)
    console.print(f"key {name} is in {path}; it is shown this once", highlight=False, soft_wrap=True)


@app.command("list")
def show(file: File = None) -> None:
    """Shows the keys: names, scopes, rates, the time they expire, and the start of their hashes."""
    table = Table("name", "scopes", "rate", "burst", "expires", "sha256")
    for key in read_keys(_path(file)).keys:
        until = "" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M} UTC"
        expires = f"{until} (expired)" if key.is_expired() else until
        rate, burst = ("", "") if key.rate is None else (f"{key.rate:g}/s", str(key.burst))
        table.add_row(key.name, " ".join(key.scopes), rate, burst, expires, f"{key.sha256[:8]}...")
    Console().print(table)


@app.command()
def rotate(
    name: Name,
    hours: Annotated[float, typer.Option(min=0, help="for how long the old key is still let in")] = 24.0,
    file: File = None,
) -> None:
    """Makes a new key with the scopes and the rate of an old one, prints it once, and lets the old one expire."""
    path, until = _path(file), datetime.now(UTC) + timedelta(hours=hours)
    with _changing(path):
        known = read_keys(path).keys
        old = [key for key in known if key.name == name]
        if not old:
            raise ConfigurationError(f"there is no key {name!r}; see `anonfaces keys list`")
        token = new_token()
        fresh = old[-1].model_copy(update={"sha256": digest(token), "expires": None})
        kept = tuple(_expiring(key, until) if key.name == name else key for key in known)
        write_keys(path, KeyFile(keys=(*(key for key in kept if not key.is_expired()), fresh)))
    print(token)
    console.print(f"the old key {name} is let in until {until:%Y-%m-%d %H:%M} UTC", highlight=False)


@app.command()
def remove(name: Name, file: File = None) -> None:
    """Removes the keys of a name: within a second or two they are let in no more."""
    path = _path(file)
    with _changing(path):
        known = read_keys(path).keys
        kept = tuple(key for key in known if key.name != name)
        if len(kept) == len(known):
            raise ConfigurationError(f"there is no key {name!r}; see `anonfaces keys list`")
        write_keys(path, KeyFile(keys=kept))
    console.print(f"{len(known) - len(kept)} removed, {len(kept)} left", highlight=False)


def _path(file: Path | None) -> Path:
    path = file or settings().api_keys
    if path is None:
        raise ConfigurationError("which file of keys? Name it with --file, or with ANONFACES_API_KEYS")
    return path


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One change at a time. Raises PopulationBusy if another command is at it."""
    require_parent(path)
    with locked(path.with_name(f".{path.name}.lock"), str(path)):
        yield


def _key(**fields: object) -> ApiKey:
    try:
        return ApiKey.model_validate(fields)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        raise ConfigurationError(f"{first['loc'][0]}: {first['msg']}") from None


def _expiring(key: ApiKey, until: datetime) -> ApiKey:
    """The key with at most so long to live."""
    return key.model_copy(update={"expires": until if key.expires is None else min(until, key.expires)})

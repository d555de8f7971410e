"""Who may ask for what, and how often: API keys, the same for every protocol, asked before anything of a body is read.

Without keys the service is for its own machine only, unless its operator says otherwise.
"""

import ipaddress
import logging
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from services import metrics
from services.anonymizer.options import Options
from services.api_keys import ApiKey, KeyFile, Scope, read_keys
from services.errors import ConfigurationError, Forbidden, RateLimited, Unauthenticated
from services.settings import Settings

log = logging.getLogger("anonfaces")
LOOK_S = 1.0  # how often to look whether the file of keys was changed
METRICS = "metrics"
_LAST_PORT = re.compile(r":\d*$")

# What an endpoint needs; any key will do for the others, such as the description of the API.
SCOPES: dict[str, Scope] = {
    "anonymize": "anonymize",
    "anonymize_batch": "anonymize",
    "anonymize_stream": "anonymize",
    "surrogate": "anonymize",
    "index": "anonymize",
    "inspect": "inspect",
    METRICS: "metrics",
}


class Bucket:
    """A token bucket: so many requests a second, and so many at once."""

    def __init__(self, rate: float, burst: int):
        self.rate, self.burst = rate, burst
        self._tokens, self._at = float(burst), time.monotonic()

    def take(self) -> None:
        """Takes a token. Raises RateLimited, which says when there is one."""
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            wait = (1 - self._tokens) / self.rate
            metrics.TURNED_AWAY.labels("rate").inc()
            raise RateLimited(f"this API key may ask {self.rate:g} times a second; try again in {wait:.1f} s", wait)
        self._tokens -= 1


@dataclass(eq=False)
class _Caller:
    """Who a request is from. The task of the request, and those it starts, know it."""

    name: str
    scopes: tuple[Scope, ...]
    bucket: Bucket | None
    paid: bool = True  # for one photo, when the request was admitted


_caller: ContextVar[_Caller | None] = ContextVar("caller", default=None)


class Access:
    """The keys of one process, read again when their file changes. A rate holds for each process.

    Raises:
        ConfigurationError: the file of keys is not there, or not valid; or there is none, and others than this machine
            could ask.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._buckets: dict[tuple[str, float, int], Bucket] = {}
        self._stamp: object = None
        self._next_look = -float("inf")
        self._file: KeyFile | None = None
        if settings.api_keys is not None:
            self._stamp = _stamp(settings.api_keys)
            self._file = read_keys(settings.api_keys)
        elif not settings.allow_anonymous and not is_loopback(settings.host):
            raise ConfigurationError(
                f"there are no API keys, so anybody who reaches {settings.host} could use the service; make keys with "
                "`anonfaces keys add` and name their file with ANONFACES_API_KEYS, or listen on 127.0.0.1, or set "
                "ANONFACES_ALLOW_ANONYMOUS=true if something else decides who may ask"
            )

    def check_place(self, reached: str, asked_for: str) -> None:
        """Where neither keys nor the operator say who may ask, only this machine may, and no stranger's page on it.

        Args:
            reached: the address that the client connected to, whatever the settings say.
            asked_for: the host that it named, port and all; a page of another name would read answers as its own.

        Raises:
            Forbidden: it is another machine's, or another name.
        """
        if self._file is not None or self._settings.allow_anonymous:
            return
        if not is_loopback(reached) or not is_loopback(_LAST_PORT.sub("", asked_for)):
            raise Forbidden("without API keys the service is for its own machine; ask for 127.0.0.1 or localhost")

    def admit(self, token: str | None, endpoint: str) -> None:
        """Lets a request pass. To be called in the task that goes on to serve it.

        Args:
            token: the API key as it was sent; None: none was.
            endpoint: as in the metrics.

        Raises:
            Unauthenticated: no key, or one that is not known, or not any more.
            Forbidden: the key is not for this.
            RateLimited: the key has asked too often.
        """
        _caller.set(None)
        if self._file is None or (endpoint == METRICS and self._settings.open_metrics):
            return
        self._look()
        key = self._known(token)
        needed = SCOPES.get(endpoint)
        if needed is not None and needed not in key.scopes:
            raise Forbidden(f"this API key is not for {endpoint}; it needs the scope {needed!r}")
        bucket = self._bucket(key)
        if bucket is not None:
            bucket.take()
        _caller.set(_Caller(key.name, key.scopes, bucket))

    def check(self, options: Options) -> None:
        """Whether the caller may choose these options. Who may name people can find out who is enrolled.

        Raises:
            Unauthenticated: the request was not admitted.
            Forbidden: people are named, and the key is not for that.
        """
        if self._file is not None and options.identity and "inspect" not in self._admitted().scopes:
            raise Forbidden("this API key may not name people (identity); it needs the scope 'inspect'")

    def charge(self) -> None:
        """Counts one photo: the first of a request was counted with it. Raises Unauthenticated, RateLimited."""
        if self._file is None:
            return
        caller = self._admitted()
        if caller.paid or caller.bucket is None:
            caller.paid = False
        else:
            caller.bucket.take()

    def _admitted(self) -> _Caller:
        caller = _caller.get()
        if caller is None:  # a way in that does not ask `admit` leads nowhere
            raise Unauthenticated("the request was not admitted; send an API key")
        return caller

    def _known(self, token: str | None) -> ApiKey:
        assert self._file is not None
        if token is None:
            raise Unauthenticated("an API key is needed; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        key = self._file.find(token)
        if key is None:
            raise Unauthenticated("this API key is not known; ask the operator of the service for one")
        if key.is_expired():
            raise Unauthenticated("this API key has expired; ask the operator of the service for a new one")
        return key

    def _bucket(self, key: ApiKey) -> Bucket | None:
        """The bucket of a name: a key and the one that replaces it share theirs."""
        if key.rate is None:
            return None
        same = key.name, key.rate, key.burst
        if same not in self._buckets:
            self._buckets[same] = Bucket(key.rate, key.burst)
        return self._buckets[same]

    def _look(self) -> None:
        """Reads the file again if it was changed. One that cannot be read leaves the keys as they are."""
        path, now = self._settings.api_keys, time.monotonic()
        if path is None or now < self._next_look:
            return
        self._next_look = now + LOOK_S
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._file = read_keys(path)
        except ConfigurationError as reason:
            log.error("the API keys read before serve on: %s", reason)
            return
        known = {(key.name, key.rate, key.burst) for key in self._file.keys}
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in known}
        log.info("%d API keys were read", len(self._file.keys))


def caller_name() -> str | None:
    """The name of the key that the request of this task was admitted with; None: with none."""
    caller = _caller.get()
    return None if caller is None else caller.name


def token_of(headers: Mapping[str, str]) -> str | None:
    """The API key in the headers of a request, or the metadata of a call; None if there is none.

    Args:
        headers: by their names in lower case.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or None


def is_loopback(host: str) -> bool:
    """Is this an address, or the name, that only this machine reaches?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "localhost.")


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

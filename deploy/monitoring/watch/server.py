"""Serves the page on this machine, and of Prometheus no more than the page reads."""

import json
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from deploy.monitoring.panels import DASHBOARDS, EMPTY_WHEN_WELL, NO_GPU, Panel
from deploy.monitoring.watch.runbook import runbook_page

PAGE = Path(__file__).with_name("page")
FILES = {f"/{path.name}": path for path in PAGE.iterdir()} | {"/": PAGE / "index.html"}
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ASKED = re.compile(r"/api/v1/(query|query_range|rules|targets)")
PARAMETERS = {"query", "start", "end", "step", "time", "type", "state"}
TIMEOUT_S = 30.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def panels(every_s: float) -> dict[str, Any]:
    """What the page draws: the panels of each dashboard, and how often there is something new, in seconds."""
    return {"every": every_s, "dashboards": {name: [_told(panel) for panel in row] for name, row in DASHBOARDS.items()}}


def _told(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "meaning": panel.meaning,
        "unit": panel.unit,
        "queries": [{"ask": query, "legend": legend} for query, legend in panel.queries],
        "limit": {"value": panel.limit.value, "name": panel.limit.name} if panel.limit else None,
        "whyEmpty": NO_GPU if panel.needs_gpu else EMPTY_WHEN_WELL.get(panel.title, ""),
    }


class WatchServer:
    """The page on 127.0.0.1, in a thread of this process. Use as a context manager, or call `start` and `stop`.

    Args:
        prometheus_url: where Prometheus listens.
        every_s: how often it scrapes.
        port: 0 picks a free one.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, prometheus_url: str, every_s: float, port: int = 0):
        self.asked = httpx.Client(base_url=prometheus_url, timeout=TIMEOUT_S, trust_env=False)
        self.panels = json.dumps(panels(every_s)).encode()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="watch", daemon=True)

    def _handler(self) -> type["_Handler"]:
        return type("Handler", (_Handler,), {"watch": self})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "WatchServer":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.asked.close()

    def __enter__(self) -> "WatchServer":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    """One connection. Only GET, only what is listed above, and only by this machine's own names."""

    watch: WatchServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "anonfaces-watch", ""
    timeout = 60  # seconds that an idle connection is kept

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if self.headers.get("Host") not in (f"127.0.0.1:{self.watch.port}", f"localhost:{self.watch.port}"):
            # A site elsewhere may have its own name point here; its scripts would then read what we answer.
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this page is at {self.watch.url}")
        elif place.path in FILES:
            file = FILES[place.path]
            self._answer(HTTPStatus.OK, file.read_bytes(), MEDIA_TYPES[file.suffix])
        elif place.path == "/panels.json":
            self._answer(HTTPStatus.OK, self.watch.panels)
        elif place.path == "/runbook":
            self._answer(HTTPStatus.OK, runbook_page().encode(), "text/html")
        elif ASKED.fullmatch(place.path):
            self._ask(place.path, parse_qsl(place.query))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _only_get(self) -> None:
        self.close_connection = True  # a body may follow, which nobody reads
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _only_get

    def _ask(self, path: str, parameters: list[tuple[str, str]]) -> None:
        unknown = {name for name, _ in parameters} - PARAMETERS
        if unknown:
            self._refuse(HTTPStatus.BAD_REQUEST, f"unknown parameters: {', '.join(sorted(unknown))}")
            return
        try:
            answer = self.watch.asked.get(path, params=dict(parameters))
        except httpx.TransportError as gone:
            self._refuse(HTTPStatus.BAD_GATEWAY, f"Prometheus does not answer ({type(gone).__name__})")
            return
        except RuntimeError:
            if not self.watch.asked.is_closed:
                raise
            self.close_connection = True  # the page's server is being stopped, and with it this connection
            return
        self._answer(HTTPStatus(answer.status_code), answer.content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(status, json.dumps({"status": "error", "error": why}).encode())

    def _answer(self, status: HTTPStatus, body: bytes, media_type: str = "application/json") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{media_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # its name in the base class
        """Nothing: the page asks every few seconds."""

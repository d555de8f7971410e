"""`anonfaces check` says whether a service does its work, by HTTP and by gRPC."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from services.cli import COMMANDS


def check(*arguments: str):
    return CliRunner().invoke(COMMANDS, ["check", *arguments], env={"COLUMNS": "300"})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_service_that_works_is_said_to(stack, index, protocol):
    url = stack.url if protocol == "http" else stack.service.grpc_url
    done = check("--url", url)
    assert done.exit_code == 0, done.output
    assert f"k = {index.k}" in done.output
    assert index.version in done.output


def test_nobody_there_is_an_error_that_says_so(free_tcp_port):
    done = check("--url", f"http://127.0.0.1:{free_tcp_port}")
    assert done.exit_code != 0
    assert "no service answers" in str(done.exception)


@pytest.fixture
def free_tcp_port() -> int:
    from services.processes import free_port

    return free_port()


def test_service_that_gives_photos_back_as_they_came_is_found_out(stack):
    """A proxy in between that answers with what it was sent."""
    import httpx

    class Echo(BaseHTTPRequestHandler):
        def _answer(self, response: httpx.Response, body: bytes) -> None:
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                if name not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            response = httpx.get(stack.url + self.path, timeout=60)
            self._answer(response, response.content)

        def do_POST(self) -> None:
            photo = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(httpx.post(stack.url + self.path, content=photo, timeout=60), photo)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = check("--url", f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.exit_code != 0
    assert "as it was sent" in str(done.exception)

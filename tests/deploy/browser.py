"""Debian's Chromium, driven by its own protocol over a pipe: no driver, no port, no package."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
COMMANDS, ANSWERS = 3, 4  # the file descriptors that Chromium reads and writes


def chromium() -> str | None:
    """Where Chromium is, if it is installed; a snap's is not: it sees neither our pipe nor our folder."""
    found = shutil.which("chromium")
    return None if found is None or found.startswith("/snap/") else found


class Browser:
    """A headless Chromium with one page. Use as a context manager.

    `requests` holds the address of each request the page made, `complaints` what its console or its security policy
    complained of, both since the last `open`.
    """

    def __init__(self, home: Path):
        self.home, self._ids, self._rest = home, itertools.count(1), b""
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def __enter__(self) -> "Browser":
        program = chromium()
        assert program, "Chromium is not installed"
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()

        def connect() -> None:
            far = (os.dup2(read, 100), os.dup2(write, 101))  # neither may be overwritten by the other
            os.dup2(far[0], COMMANDS)
            os.dup2(far[1], ANSWERS)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self.home}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connect,
            pass_fds=(COMMANDS, ANSWERS),
            start_new_session=True,
        )
        os.close(read)
        os.close(write)
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _attach(self) -> None:
        self._session: str | None = None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self.send("Browser.close", timeout_s=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def send(self, method: str, timeout_s: float = 60, **params: Any) -> dict[str, Any]:
        """A command's result. AssertionError if Chromium refuses it, ends, or does not answer in time."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout_s
        while True:
            told = self._next(deadline)
            if told is not None and told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            assert time.monotonic() < deadline, f"{method}: no answer within {timeout_s:.0f} s"

    def _next(self, deadline: float) -> dict[str, Any] | None:
        """The next message, an event's being noted; None if there is none before the deadline."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self._answers, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        text, self._rest = self._rest.split(b"\0", 1)
        told = json.loads(text)
        self._note(told.get("method", ""), told.get("params", {}))
        return told

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(about["args"]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Loads a page in a window of this size, counted in CSS pixels."""
        self.look(width, height, dark)
        self._load("about:blank")  # nothing of what was open may be taken for the new page
        self.requests, self.complaints = [], []
        self._load(url)

    def _load(self, url: str) -> None:
        self._loaded = False
        self.send("Page.navigate", url=url)
        deadline = time.monotonic() + 30
        while not self._loaded:
            assert self._next(deadline) is not None, f"{url} was not loaded within 30 s"

    def look(self, width: int, height: int, dark: bool) -> None:
        """Another window and colour scheme for the page that is open."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str, timeout_s: float = 30) -> Any:
        """Waits until an expression is true in the page, and returns its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {script}\n{self.complaints}"
            time.sleep(0.1)
        return value

    def press(self, key: str) -> None:
        """A key goes down and up, as typed by somebody: Tab, ArrowLeft, Escape."""
        codes = {"Tab": 9, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def point(self, x: float, y: float) -> None:
        """The mouse goes to a place of the window."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A PNG of the whole page, or of the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


def contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2's ratio of the luminances of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)

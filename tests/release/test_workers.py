"""A model server that comes and goes, and the workers of a Ray cluster."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from services.anonymizer.readiness import Readiness
from services.errors import BadPhoto, DeadlineExceeded, IndexRefused, ModelServerUnavailable
from services.processes import free_port
from services.release import patience
from services.release.patience import Gate
from tests.release.conftest import below, run, told


@contextmanager
def relay(port: int, target: int, after_s: float) -> Iterator[None]:
    """Passes connections on from one port of this machine to another, from some time on."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async def serve() -> None:
        await asyncio.sleep(after_s)
        async with await asyncio.start_server(passed, "127.0.0.1", port):
            await stop.wait()

    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_release_waits_for_a_triton_that_is_away(whole, collection, stack, tmp_path):
    port = free_port()
    with relay(port, stack.triton.grpc_port, after_s=2.5):
        done = run(collection, "--out", tmp_path / "out", "--triton", f"127.0.0.1:{port}", "--no-verify")
    assert done.exit_code == 0, done.output
    assert "paused, since the models do not answer" in done.output
    assert "going on after" in done.output
    assert below(tmp_path / "out" / "photos") == below(whole[0] / "photos")


def test_ray_releases_the_same_photos(whole, collection, stack, tmp_path):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    out = tmp_path / "out"
    options = ("--engine", "ray", "--chunk", 2, "--triton", stack.triton.url)
    done = run(collection, "--out", out, *options, "--no-verify")
    assert done.exit_code == 0, done.output
    assert below(out / "photos") == below(whole[0] / "photos")
    assert told(out)["condensation"] == told(whole[0])["condensation"]


class Check:
    """A check of readiness that fails as it is told to, one failure a time."""

    def __init__(self, *failures: Exception):
        self.failures = list(failures)

    async def __call__(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def gate(check: Check, patience_s: float = 60.0) -> Gate:
    return Gate(Readiness(check, 1000.0), patience_s, told=lambda _: None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.01)


async def test_work_is_done_again_when_the_models_are_back():
    tried = []

    async def work() -> int:
        tried.append(time.monotonic())
        if len(tried) == 1:
            raise ModelServerUnavailable("away")
        return 7

    check = Check()
    held = gate(check)
    await held.wait()
    check.failures = [ModelServerUnavailable("away"), DeadlineExceeded("slow")]
    assert await held.patiently(work) == 7
    assert len(tried) == 2
    assert not held.lost


async def test_models_that_fail_on_one_photo_alone_refuse_it_and_are_not_lost():
    async def work() -> None:
        raise DeadlineExceeded("too slow")

    held = gate(Check())
    with pytest.raises(DeadlineExceeded):
        await held.patiently(work)
    assert not held.lost


async def test_patience_ends():
    held = gate(Check(*[ModelServerUnavailable("away")] * 100), patience_s=0.05)
    with pytest.raises(ModelServerUnavailable):
        await held.wait()
    assert held.lost


@pytest.mark.parametrize("final", [IndexRefused("other models"), BadPhoto("broken")])
async def test_what_does_not_pass_is_raised_at_once(final):
    held = gate(Check(final))
    with pytest.raises(type(final)):
        await held.wait()

"""Threads of a request: noted while they run, whichever of its tasks started them, and cancellable until they run."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from services.anonymizer import threads
from services.anonymizer.threads import in_thread, noting_threads


async def test_result_and_error_come_back():
    def fail() -> None:
        raise ValueError("of the function")

    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ValueError, match="of the function"):
        await in_thread(fail)


async def test_context_of_the_caller_is_seen_in_the_thread():
    name: ContextVar[str] = ContextVar("name", default="nobody")
    name.set("somebody")
    assert await in_thread(name.get) == "somebody"


async def test_thread_that_outlives_its_request_is_noted_until_it_ends():
    go = threading.Event()
    with noting_threads() as running:
        task = asyncio.create_task(in_thread(go.wait, 10))
        while not any(thread.running() for thread in running):  # noqa: ASYNC110 - the thread's own state
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (left,) = running
    assert not left.done()
    go.set()
    await asyncio.wrap_future(left)
    assert not running


async def test_thread_that_was_not_started_is_cancelled_with_its_request(monkeypatch):
    """Where all threads are taken, a request that ends leaves nothing in the line."""
    go, ran = threading.Event(), []
    with threads.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(threads, "_pool", pool)
        first = asyncio.create_task(in_thread(go.wait, 10))
        await asyncio.sleep(0)
        with noting_threads() as running:
            second = asyncio.create_task(in_thread(ran.append, 1))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not running
        go.set()
        await first
    assert not ran


async def test_requests_note_their_own_threads_only():
    async def request() -> int:
        with noting_threads() as running:
            go = threading.Event()
            task = asyncio.create_task(in_thread(go.wait, 10))
            await asyncio.sleep(0.01)
            count = len(running)
            go.set()
            await task
            return count

    assert await asyncio.gather(*(request() for _ in range(5))) == [1] * 5

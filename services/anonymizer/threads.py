"""Work that would hold up the event loop, in threads; and which of them a request has started.

A thread cannot be stopped: a request that is cut short leaves it running, with the photo it holds. So the place of a
request is given to another one only when its threads have ended.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
MOST = 32  # threads are made when they are needed; how many photos there are at a time is admission's concern

_pool = ThreadPoolExecutor(MOST, thread_name_prefix="photo")
_started: ContextVar[set[Future[Any]] | None] = ContextVar("started", default=None)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The function's result, from a thread. Raises what the function raises."""
    thread = _pool.submit(partial(copy_context().run, function, *args, **kwargs))
    started = _started.get()
    if started is not None:
        started.add(thread)
        thread.add_done_callback(started.discard)
    return await asyncio.wrap_future(thread)


@contextmanager
def noting_threads() -> Iterator[set[Future[Any]]]:
    """The threads that were started within the block, by the tasks that it starts as well, and have not ended."""
    started: set[Future[Any]] = set()
    token = _started.set(started)
    try:
        yield started
    finally:
        _started.reset(token)

"""A plan -> photos: on this machine, several under way at a time, or on the workers of a Ray cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, TypeVar

import cv2

from services.anonymizer.pipeline import Pipeline
from services.anonymizer.reload import load
from services.anonymizer.triton import Triton
from services.release.patience import Gate, Told
from services.release.photo import Job

TIMEOUT_S = 120.0  # for one inference: nobody waits for an answer here
CHUNK = 64  # photos that a worker of a cluster is given at a time: at most what its death costs

E = TypeVar("E")
R = TypeVar("R")
One = Callable[[E, Job, Pipeline, Gate], Awaitable[R]]  # what is done with one photo
Done = Callable[[R], None]


@dataclass(frozen=True)
class Where:
    """Where the work is done."""

    engine: Literal["local", "ray"] = "local"
    address: str | None = None  # of a Ray that is running
    chunk: int = CHUNK


def work_through(one: One[E, R], entries: Sequence[E], job: Job, where: Where, done: Done[R], told: Told) -> None:
    """Works on photos, and hands over what came of each as soon as it is there; in no order.

    Args:
        one: a module's own function, so that it can be sent to another machine.
        done: called in this process.
        told: hears of pauses, on this machine.

    Raises:
        AnonFacesError: what `one`, `done` and `load` raise; WorkersLost.
    """
    if where.engine == "local":
        asyncio.run(_flow(one, entries, job, done, told))
        return
    from services.population.engine import engine_for  # here: Ray takes seconds to import

    chunks = [entries[start : start + where.chunk] for start in range(0, len(entries), where.chunk)]
    with engine_for("ray", where.address) as workers:
        for results in workers.map(partial(work_on_chunk, one, job), chunks):
            for result in results:
                done(result)


def work_on_chunk(one: One[E, R], job: Job, entries: Sequence[E]) -> list[R]:
    """All of a chunk, on a worker of a cluster. Raises as `work_through` does."""
    results: list[R] = []
    asyncio.run(_flow(one, entries, job, results.append, told=lambda _: None))
    return results


async def _flow(one: One[E, R], entries: Sequence[E], job: Job, done: Done[R], told: Told) -> None:
    """At most a window of photos is under way, and a slow one holds up no other. The first error ends all."""
    cv2.setNumThreads(1)  # photos run side by side; one photo must not take every core
    async with Triton(job.url, TIMEOUT_S) as triton:
        pipeline = await asyncio.to_thread(load, job.settings, job.version, triton)
        gate = Gate(pipeline.readiness, job.patience_s, told)
        ahead, under_way = iter(entries), set[asyncio.Future[R]]()
        try:
            while True:
                new = islice(ahead, job.window - len(under_way))
                under_way |= {asyncio.ensure_future(one(entry, job, pipeline, gate)) for entry in new}
                if not under_way:
                    return
                finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                failures = [task.exception() for task in finished if task.exception() is not None]
                for task in finished:
                    if task.exception() is None:
                        done(task.result())
                if failures:
                    raise failures[0] or AssertionError
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

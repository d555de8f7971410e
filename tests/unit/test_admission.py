"""What is taken on at once: first come, first served, bounded in requests, bytes and pixels, and nothing leaks."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.anonymizer.admission import LONGEST_RETRY_S, Admission
from services.anonymizer.threads import in_thread
from services.errors import Overloaded
from services.settings import Settings

MP = 1_000_000


def admission(**limits: object) -> Admission:
    return Admission(Settings(**{"max_concurrency": 2, "max_pixels_in_work": 10 * MP, "max_queue": 3, **limits}))


def is_empty(limits: Admission) -> bool:
    """Has everything been given back?"""
    counts = (limits._requests, limits._bytes, limits._answers, limits._working, limits._pixels)
    return counts == (0, 0, 0, 0, 0) and not limits._waiting


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Worker:
    """A photo whose work goes on until the test ends it."""

    def __init__(self, limits: Admission, pixels: int = MP, begun: list["Worker"] | None = None):
        self.at_work, self.end, self.pixels = asyncio.Event(), asyncio.Event(), pixels
        self._limits, self._begun = limits, begun if begun is not None else []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._limits.work(self.pixels):
            self._begun.append(self)
            self.at_work.set()
            await self.end.wait()

    async def finish(self) -> None:
        self.end.set()
        await self.task


# --- who is worked on -------------------------------------------------------------------------------------------
async def test_photos_are_worked_on_in_the_order_of_arrival():
    limits, begun = admission(max_concurrency=1), []
    workers = [Worker(limits, begun=begun) for _ in range(5)]
    for worker in workers:
        await worker.at_work.wait()
        await worker.finish()
    assert begun == workers
    assert is_empty(limits)


async def test_no_more_are_worked_on_than_the_limit_says():
    limits, begun = admission(max_concurrency=2), []
    workers = [Worker(limits, begun=begun) for _ in range(4)]
    await settle()
    assert begun == workers[:2]
    await workers[1].finish()
    await settle()
    assert begun == workers[:3]
    for worker in workers:
        await worker.finish()
    assert is_empty(limits)


async def test_large_photo_is_not_overtaken_by_small_ones_that_would_fit():
    limits, begun = admission(max_concurrency=8), []
    first = Worker(limits, 6 * MP, begun)
    large = Worker(limits, 8 * MP, begun)
    small = [Worker(limits, 1 * MP, begun) for _ in range(3)]
    await settle()
    assert begun == [first]
    await first.finish()
    await settle()
    assert begun == [first, large, *small[:2]]  # 8 + 1 + 1 of 10
    await large.finish()
    await settle()
    assert begun == [first, large, *small]
    for worker in small:
        await worker.finish()
    assert is_empty(limits)


async def test_large_photo_does_not_keep_small_ones_from_the_room_beside_it():
    limits, begun = admission(max_concurrency=8), []
    workers = [Worker(limits, pixels, begun) for pixels in (7 * MP, 2 * MP, 1 * MP)]
    await settle()
    assert begun == workers
    for worker in workers:
        await worker.finish()


async def test_photo_larger_than_all_room_is_worked_on_alone():
    limits, begun = admission(max_concurrency=8), []
    small, huge, after = Worker(limits, 1, begun), Worker(limits, 99 * MP, begun), Worker(limits, 1, begun)
    await settle()
    assert begun == [small]
    await small.finish()
    await settle()
    assert begun == [small, huge]
    await huge.finish()
    await after.at_work.wait()
    await after.finish()
    assert is_empty(limits)


# --- who is turned away -----------------------------------------------------------------------------------------
def test_full_queue_turns_away_and_says_when_to_come_again():
    limits = admission(max_concurrency=1, max_queue=1)
    with limits.hold(10), limits.hold(10):
        with pytest.raises(Overloaded, match="try again in") as refused, limits.hold(10):
            pass
        assert 1 <= refused.value.retry_after_s <= LONGEST_RETRY_S
    assert is_empty(limits)


def test_bytes_held_are_bounded_and_returned():
    limits = admission(max_held_bytes=100)
    with limits.hold(60):
        with pytest.raises(Overloaded), limits.hold(41):
            pass
        with limits.hold(40):
            assert limits._bytes == 100
    assert is_empty(limits)


def test_request_larger_than_all_room_is_let_in_alone():
    limits = admission(max_held_bytes=100)
    with limits.hold(500), pytest.raises(Overloaded), limits.hold(1):
        pass
    assert is_empty(limits)


async def test_who_waits_too_long_is_turned_away_and_leaves_the_queue():
    limits = admission(max_concurrency=1, queue_timeout_s=0.02)
    first = Worker(limits)
    await first.at_work.wait()
    with pytest.raises(Overloaded) as refused:
        await Worker(limits).task
    assert refused.value.retry_after_s >= 1
    await first.finish()
    assert is_empty(limits)


async def test_busier_service_asks_for_more_patience():
    limits = admission(max_concurrency=1, max_queue=64)
    limits._usual_s = 2.0
    idle = limits._refusal("requests").retry_after_s
    workers = [Worker(limits) for _ in range(6)]
    await settle()
    assert idle < limits._refusal("requests").retry_after_s == pytest.approx(12)
    for worker in workers:
        worker.task.cancel()
    await asyncio.gather(*(worker.task for worker in workers), return_exceptions=True)
    assert is_empty(limits)


# --- who goes away ----------------------------------------------------------------------------------------------
async def test_who_goes_away_while_waiting_makes_room_for_the_next():
    """The one behind would fit, and must not wait for the next photo to end."""
    limits, begun = admission(max_concurrency=8), []
    first, large, small = Worker(limits, 6 * MP, begun), Worker(limits, 8 * MP, begun), Worker(limits, MP, begun)
    await settle()
    large.task.cancel()
    await settle()
    assert begun == [first, small]
    await first.finish()
    await small.finish()
    assert is_empty(limits)


async def test_who_goes_away_while_worked_on_gives_the_turn_back():
    limits, begun = admission(max_concurrency=1), []
    first, second = Worker(limits, begun=begun), Worker(limits, begun=begun)
    await settle()
    first.task.cancel()
    await second.at_work.wait()
    await second.finish()
    assert is_empty(limits)


async def test_turn_that_comes_as_its_request_goes_away_is_given_back():
    limits, begun = admission(max_concurrency=1), []
    async with limits.work(MP):
        first, second = Worker(limits, begun=begun), Worker(limits, begun=begun)
        await settle()
    first.task.cancel()  # the turn is granted to it, and it has not run yet
    await second.at_work.wait()
    assert begun == [second]
    await second.finish()
    assert is_empty(limits)


async def test_turn_is_given_back_only_when_its_thread_has_ended():
    limits, go, begun = admission(max_concurrency=1), threading.Event(), []

    async def cut_short() -> None:
        async with limits.work(MP):
            await in_thread(go.wait, 10)

    first = asyncio.create_task(cut_short())
    await asyncio.sleep(0.01)
    second = Worker(limits, begun=begun)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await asyncio.sleep(0.01)
    assert not begun
    assert limits._working == 1
    go.set()
    async with asyncio.timeout(10):
        await second.at_work.wait()
    await second.finish()
    assert is_empty(limits)


async def test_failing_work_gives_its_turn_back_and_says_nothing_of_the_usual_time():
    limits = admission(max_concurrency=1)
    usual = limits._usual_s
    for _ in range(3):
        with pytest.raises(ValueError, match="of the photo"):
            async with limits.work(MP):
                raise ValueError("of the photo")
    assert is_empty(limits)
    assert limits._usual_s == usual


# --- answers that are not read ----------------------------------------------------------------------------------
async def test_unread_answers_stop_the_work_that_would_make_more():
    limits, begun = admission(max_held_bytes=100), []
    with limits.hold(10):
        limits.keep(200)
        other = asyncio.create_task(_work(limits, begun), context=Context())  # another request's
        await settle()
        assert not begun
    await other
    assert begun == [True]
    assert is_empty(limits)


async def test_batch_is_not_stopped_by_its_own_answers():
    limits = admission(max_held_bytes=100)
    with limits.hold(10):
        limits.keep(200)
        async with limits.work(MP):
            pass
        limits.let_go(200)
        assert limits._bytes == 10
    assert is_empty(limits)


async def _work(limits: Admission, begun: list[bool]) -> None:
    async with limits.work(MP):
        begun.append(True)


# --- nothing leaks ----------------------------------------------------------------------------------------------
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 14), st.booleans()),
        st.tuples(st.sampled_from(["end", "cancel", "fail", "thread ends"]), st.integers(0, 30), st.booleans()),
    ),
    max_size=40,
)


@given(steps=STEPS, concurrency=st.integers(1, 4))
def test_nothing_leaks_and_no_limit_is_passed_whatever_the_order_of_events(steps, concurrency):
    asyncio.run(_play(steps, concurrency))


async def _play(steps: list[tuple], concurrency: int) -> None:
    """Requests come, end, fail, are cancelled, and leave threads, with or without a pause between."""
    limits = admission(max_concurrency=concurrency, max_queue=50)
    tasks: list[asyncio.Task] = []
    ends: list[asyncio.Future] = []
    threads: list[threading.Event] = []
    at_work: list[int] = []

    def check() -> None:
        assert limits._working <= concurrency
        assert limits._pixels <= 10 * MP or limits._working == 1

    async def photo(pixels: int, with_thread: bool) -> None:
        end, go = asyncio.get_running_loop().create_future(), threading.Event()
        ends.append(end)
        with limits.hold(pixels):
            async with limits.work(pixels * MP):
                at_work.append(pixels)
                check()
                if with_thread:
                    threads.append(go)
                    await in_thread(go.wait, 10)
                await end
            limits.keep(pixels)

    def one(things: list, number: int) -> object | None:
        return things[number % len(things)] if things else None

    actions: dict[str, Callable] = {
        "end": lambda i: (f := one(ends, i)) and (f.done() or f.set_result(None)),
        "fail": lambda i: (f := one(ends, i)) and (f.done() or f.set_exception(ValueError())),
        "cancel": lambda i: (t := one(tasks, i)) and t.cancel(),
        "thread ends": lambda i: (e := one(threads, i)) and e.set(),
    }
    for what, number, pause in steps:
        if what == "come":
            tasks.append(asyncio.create_task(photo(number, pause)))
        else:
            actions[what](number)
        if pause:
            await asyncio.sleep(0)
            check()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for event in threads:
        event.set()
    for future in ends:
        future.cancel() if not future.done() else future.exception() if not future.cancelled() else None
    async with asyncio.timeout(10):
        while not is_empty(limits):  # noqa: ASYNC110 - threads end by themselves
            await asyncio.sleep(0.001)

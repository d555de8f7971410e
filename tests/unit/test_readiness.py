"""Readiness: proved by the check alone, asked again after every doubt, never by two at a time."""

import asyncio

import pytest

from services.anonymizer.readiness import Readiness
from services.errors import IndexRefused


class Check:
    """Counts how often it is asked; fails while `broken`."""

    def __init__(self) -> None:
        self.asked, self.broken = 0, False

    async def __call__(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise IndexRefused("other models")


@pytest.fixture
def check() -> Check:
    return Check()


async def test_success_is_remembered(check):
    readiness = Readiness(check, ttl_s=1000)
    await readiness.require()
    await readiness.require()
    assert check.asked == 1


async def test_failure_is_asked_about_again(check):
    readiness = Readiness(check, ttl_s=1000)
    check.broken = True
    for _ in range(2):
        with pytest.raises(IndexRefused):
            await readiness.require()
    check.broken = False
    await readiness.require()
    assert check.asked == 3


async def test_many_askers_run_one_check(check):
    readiness = Readiness(check, ttl_s=1000)
    await asyncio.gather(*(readiness.require() for _ in range(20)))
    assert check.asked == 1


async def test_first_request_waits_for_the_check(check):
    readiness = Readiness(check, ttl_s=1000)
    await readiness.admit()
    assert check.asked == 1


async def test_request_is_refused_while_the_models_are_not_those_of_the_index(check):
    readiness = Readiness(check, ttl_s=0)
    await readiness.require()
    check.broken = True
    with pytest.raises(IndexRefused):
        await readiness.require()
    with pytest.raises(IndexRefused):
        await readiness.admit()


async def test_doubt_makes_the_next_request_ask(check):
    readiness = Readiness(check, ttl_s=1000)
    await readiness.require()
    readiness.doubted()
    await readiness.admit()
    assert check.asked == 2


async def test_request_does_not_ask_merely_because_time_has_passed(check):
    readiness = Readiness(check, ttl_s=0)
    await readiness.require()
    await readiness.admit()
    assert check.asked == 1

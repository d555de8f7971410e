"""A surrogate is rendered once for all who ask, and one caller's trouble is not another's."""

import asyncio
import gc

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.anonymizer.align import FFHQ_LANDMARKS
from services.anonymizer.models import Generator
from services.anonymizer.synthesise import Surrogates
from services.errors import ModelServerUnavailable
from services.population.index import Crowds

TINY = Generator(name="tiny", model="tiny-model", latent_shape=(2,), image_size=(4, 4))
PLENTY_BYTES = 1 << 24
CROWDS = 60


class HeldTriton:
    """Answers as Triton does, once `open` is set: each picture is filled with its crowd's number."""

    def __init__(self, max_batch: int = 64):
        self.max_batch = max_batch
        self.batches: list[list[int]] = []
        self.open, self.asked = asyncio.Event(), asyncio.Event()
        self.failure: Exception | None = None

    async def infer(self, model, inputs, *outputs):
        assert (model, outputs) == (TINY.model, ("image",))
        batch = inputs["w"][:, 0].astype(int).tolist()
        self.batches.append(batch)
        self.asked.set()
        await self.open.wait()
        if self.failure:
            raise self.failure
        return [np.stack([np.full((4, 4, 3), crowd, np.uint8) for crowd in batch])]


@pytest.fixture
def triton() -> HeldTriton:
    held = HeldTriton()
    held.open.set()
    return held


def surrogates(triton: HeldTriton, capacity: int = PLENTY_BYTES) -> Surrogates:
    numbers = np.arange(CROWDS, dtype=np.float32)
    landmarks = np.tile(FFHQ_LANDMARKS.astype(np.float32), (CROWDS, 1, 1))
    crowds = Crowds(np.full(CROWDS, 3), numbers[:, None], np.column_stack([numbers, numbers]), landmarks, numbers)
    return Surrogates(crowds, triton, TINY, capacity)


async def test_fifty_requests_for_one_crowd_render_it_once(triton):
    kept = surrogates(triton)
    answers = await asyncio.gather(*(kept.get([7]) for _ in range(50)))
    assert triton.batches == [[7]]
    assert {int(s.image[0, 0, 0]) for (s,) in answers} == {7}


async def test_misses_of_concurrent_requests_go_as_one_batch(triton):
    kept = surrogates(triton)
    await asyncio.gather(*(kept.get([crowd]) for crowd in range(10)))
    assert triton.batches == [list(range(10))]


async def test_misses_that_come_while_others_render_wait_for_the_next_batch(triton):
    triton.open.clear()
    kept = surrogates(triton)
    first = asyncio.create_task(kept.get([0]))
    await triton.asked.wait()
    later = [asyncio.create_task(kept.get([crowd])) for crowd in (1, 2, 0)]
    await asyncio.sleep(0)
    triton.open.set()
    await asyncio.gather(first, *later)
    assert triton.batches == [[0], [1, 2]]


async def test_batches_stay_within_what_the_server_takes():
    triton = HeldTriton(max_batch=4)
    triton.open.set()
    await surrogates(triton).get(range(10))
    assert [len(batch) for batch in triton.batches] == [4, 4, 2]


async def test_surrogates_keep_the_order_asked_for(triton):
    found = await surrogates(triton).get([5, 2, 5, 9])
    assert [s.crowd for s in found] == [5, 2, 5, 9]
    assert [int(s.image[0, 0, 0]) for s in found] == [5, 2, 5, 9]


async def test_landmarks_are_in_pixels_of_the_picture(triton):
    (found,) = await surrogates(triton).get([3])
    np.testing.assert_allclose(found.landmarks, FFHQ_LANDMARKS * TINY.image_size[0], rtol=1e-6)


async def test_kept_surrogate_is_not_rendered_again(triton):
    kept = surrogates(triton)
    await kept.get([3])
    await kept.get([3])
    assert triton.batches == [[3]]


async def test_cache_bound_evicts_the_least_recently_used(triton):
    (one,) = await surrogates(triton).get([0])
    kept = surrogates(triton, capacity=2 * one.nbytes + one.nbytes // 2)  # room for two, not for three
    for crowd in (0, 1, 0, 2):  # 0 is used again, so 1 has to go
        await kept.get([crowd])
    triton.batches.clear()
    for crowd in (0, 2, 1):
        await kept.get([crowd])
    assert triton.batches == [[1]]


async def test_bytes_of_all_caches_are_in_the_metric_until_they_go(triton):
    def bytes_kept() -> float:
        return REGISTRY.get_sample_value("anonfaces_surrogate_cache_bytes") or 0

    before = bytes_kept()
    first, second = surrogates(triton), surrogates(triton)
    (one,) = await first.get([0])
    await second.get([1, 2])
    second.adopt(first, np.ones(CROWDS, bool))
    assert bytes_kept() - before == 4 * one.nbytes
    del first, second
    gc.collect()
    assert bytes_kept() == before


async def test_surrogate_cannot_be_written_to(triton):
    (found,) = await surrogates(triton).get([1])
    with pytest.raises(ValueError, match="read-only"):
        found.image[0, 0, 0] = 1


async def test_failure_reaches_every_waiter(triton):
    triton.failure = ModelServerUnavailable("down")
    kept = surrogates(triton)
    answers = await asyncio.gather(*(kept.get([c]) for c in (0, 0, 1, 2)), return_exceptions=True)
    assert [type(a) for a in answers] == [ModelServerUnavailable] * 4


async def test_call_after_a_failure_tries_again(triton):
    kept = surrogates(triton)
    triton.failure = ModelServerUnavailable("down")
    with pytest.raises(ModelServerUnavailable):
        await kept.get([4])
    triton.failure = None
    (found,) = await kept.get([4])
    assert int(found.image[0, 0, 0]) == 4


async def test_caller_who_gives_up_does_not_take_the_surrogate_from_another(triton):
    triton.open.clear()
    kept = surrogates(triton)
    impatient, patient = asyncio.create_task(kept.get([4])), asyncio.create_task(kept.get([4]))
    await triton.asked.wait()
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    triton.open.set()
    (found,) = await patient
    assert int(found.image[0, 0, 0]) == 4
    assert triton.batches == [[4]]


async def test_surrogate_nobody_waits_for_any_more_is_still_kept(triton):
    triton.open.clear()
    kept = surrogates(triton)
    alone = asyncio.create_task(kept.get([4]))
    await triton.asked.wait()
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    triton.open.set()
    await kept.get([4])
    assert triton.batches == [[4]]


async def test_answer_with_too_few_pictures_leaves_nobody_waiting(triton):
    """The wait is a guard for a failing run only: a waiter that nobody answers would hang for ever."""

    async def short_answer(model, inputs, *outputs):
        return [np.zeros((len(inputs["w"]) - 1, 4, 4, 3), np.uint8)]

    triton.infer = short_answer
    asked = asyncio.create_task(surrogates(triton).get([0, 1]))
    done, _ = await asyncio.wait([asked], timeout=1)
    asked.cancel()
    assert done
    assert isinstance(asked.exception(), Exception)

"""crowd -> surrogate: rendered once, kept, and shared. A surrogate is a function of its crowd alone."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from services import metrics
from services.anonymizer.mask import below_fringe
from services.anonymizer.models import Generator
from services.anonymizer.triton import Triton
from services.population.index import Crowds


@dataclass(frozen=True)
class Surrogate:
    """The synthetic face of a crowd."""

    crowd: int
    image: np.ndarray  # uint8 [S, S, 3] RGB, read-only
    landmarks: np.ndarray  # float64 [5, 2], pixels of the image
    shown: np.ndarray | None = None  # uint8 [256, 256] in FFHQ's alignment, 255 where it may be shown; None: everywhere


async def render(w: np.ndarray, triton: Triton, generator: Generator) -> np.ndarray:
    """`w float32 [n, w_dims]` -> pictures uint8 [n, S, S, 3] RGB."""
    (images,) = await triton.infer(generator.model, {"w": w.astype(np.float32)}, "image")
    return images


class Surrogates:
    """Surrogates by crowd, bounded in bytes. Misses that come while others render go to Triton as one batch."""

    def __init__(self, crowds: Crowds, triton: Triton, generator: Generator, capacity_bytes: int):
        self._crowds, self._triton, self._generator = crowds, triton, generator
        self._capacity = max(1, capacity_bytes // (generator.image_px**2 * 3))
        self._kept: OrderedDict[int, Surrogate] = OrderedDict()
        self._wanted: dict[int, asyncio.Future[Surrogate]] = {}  # queued or rendering
        self._queue: list[int] = []
        self._renderer: asyncio.Task[None] | None = None

    async def get(self, crowds: Iterable[int]) -> list[Surrogate]:
        """The surrogates of some crowds, in their order; rendered if they are not kept.

        Raises:
            ModelServerUnavailable, DeadlineExceeded: Triton's failures; a later call tries again.
        """
        return list(await asyncio.gather(*(self._one(crowd) for crowd in crowds)))

    async def _one(self, crowd: int) -> Surrogate:
        if crowd in self._kept:
            metrics.SURROGATE_LOOKUPS.labels("hit").inc()
            self._kept.move_to_end(crowd)
            return self._kept[crowd]
        if crowd not in self._wanted:
            metrics.SURROGATE_LOOKUPS.labels("miss").inc()
            self._wanted[crowd] = asyncio.get_running_loop().create_future()
            self._queue.append(crowd)
        else:
            metrics.SURROGATE_LOOKUPS.labels("joined").inc()
        future = self._wanted[crowd]
        if self._renderer is None or self._renderer.done():
            self._renderer = asyncio.create_task(self._render_queue())
        return await asyncio.shield(future)  # a caller that gives up does not take the others' surrogate away

    async def _render_queue(self) -> None:
        while self._queue:
            await asyncio.sleep(0)  # lets every request that is ready add its misses
            batch = self._queue[: self._triton.max_batch]
            del self._queue[: len(batch)]
            try:
                images = await render(self._crowds.surrogate_w[batch], self._triton, self._generator)
                surrogates = [self._keep(crowd, image) for crowd, image in zip(batch, images, strict=True)]
            except BaseException as failed:
                for crowd in batch:
                    self._settle(crowd, failed)
                if not isinstance(failed, Exception):
                    raise
            else:
                for surrogate in surrogates:
                    self._settle(surrogate.crowd, surrogate)

    def _keep(self, crowd: int, image: np.ndarray) -> Surrogate:
        image = np.array(image)
        image.flags.writeable = False
        landmarks = self._crowds.surrogate_landmarks[crowd].astype(np.float64) * image.shape[0]
        surrogate = Surrogate(crowd, image, landmarks, below_fringe(image, landmarks))
        self._kept[crowd] = surrogate
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        metrics.SURROGATE_BYTES.set(sum(kept.image.nbytes for kept in self._kept.values()))
        return surrogate

    def _settle(self, crowd: int, result: Surrogate | BaseException) -> None:
        future = self._wanted.pop(crowd)
        if future.done():
            return
        if isinstance(result, Surrogate):
            future.set_result(result)
        else:
            future.set_exception(result)
            future.exception()  # every waiter may have given up; that is no error of its own

"""crowd -> surrogate: rendered once, kept, and shared. A surrogate is a function of its crowd alone."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services import metrics
from services.anonymizer.align import halves_of
from services.anonymizer.latents import check_chosen, inputs_of
from services.anonymizer.mask import face_alone
from services.anonymizer.models import Generator
from services.anonymizer.triton import Triton
from services.population.index import Crowds


@dataclass(frozen=True)
class Surrogate:
    """The synthetic face of a crowd."""

    crowd: int
    image: np.ndarray  # uint8 [H, W, 3] RGB, read-only
    landmarks: np.ndarray  # float64 [5, 2], pixels of the image
    shown: np.ndarray | None = None  # uint8 [256, 256] in FFHQ's alignment, 255 where it may be shown; None: everywhere
    smaller: tuple[np.ndarray, ...] = ()  # the image's half, quarter and so on: most faces are smaller than it

    @property
    def levels(self) -> tuple[np.ndarray, ...]:
        """The image and its smaller forms."""
        return (self.image, *self.smaller)

    @property
    def nbytes(self) -> int:
        """What it takes to keep."""
        shown = 0 if self.shown is None else self.shown.nbytes
        return sum(level.nbytes for level in self.levels) + self.landmarks.nbytes + shown


Key = tuple[int, tuple[tuple[str, str], ...]]  # crowd, and what the request chose of the generator's inputs


async def render(
    latents: np.ndarray, triton: Triton, generator: Generator, chosen: Mapping[str, str] | None = None
) -> np.ndarray:
    """Latents float32 [n, *latent_shape], or flat, -> pictures uint8 [n, H, W, 3] RGB.

    Raises:
        BadRequest: the generator has not what was chosen.
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    (images,) = await triton.infer(generator.model, inputs_of(latents, generator, chosen or {}), "image")
    return images


class Surrogates:
    """Surrogates by crowd (and choice), bounded in bytes; the latest is always kept.

    Misses that come while others render become one batch.
    """

    def __init__(self, crowds: Crowds, triton: Triton, generator: Generator, capacity_bytes: int):
        self._crowds, self._triton, self._generator = crowds, triton, generator
        self._capacity, self._bytes = capacity_bytes, 0
        self._kept: OrderedDict[Key, Surrogate] = OrderedDict()
        self._wanted: dict[Key, asyncio.Future[Surrogate]] = {}  # queued or rendering
        self._queue: list[Key] = []
        self._renderer: asyncio.Task[None] | None = None

    async def get(self, crowds: Iterable[int], chosen: Sequence[Mapping[str, str]] | None = None) -> list[Surrogate]:
        """The surrogates of some crowds, in their order; rendered if they are not kept.

        Args:
            chosen: values of the generator's inputs, for each of the crowds; see `inputs_of`. None: the defaults.

        Raises:
            BadRequest: the generator has not what was chosen.
            ModelServerUnavailable, DeadlineExceeded: Triton's failures; a later call tries again.
        """
        crowds = list(crowds)
        choices = [{}] * len(crowds) if chosen is None else [dict(how) for how in chosen]
        for choice in choices:
            check_chosen(self._generator, choice)
        keys = [(crowd, tuple(sorted(choice.items()))) for crowd, choice in zip(crowds, choices, strict=True)]
        return list(await asyncio.gather(*map(self._one, keys)))

    def adopt(self, other: "Surrogates", unchanged: np.ndarray) -> None:
        """Takes over what another cache keeps of crowds that are the same here, so that they are not rendered again.

        Args:
            other: of the same generator.
            unchanged: bool [at most m], by crowd number.
        """
        for key, surrogate in other._kept.items():
            fits = self._bytes + surrogate.nbytes <= self._capacity
            if key[0] < len(unchanged) and unchanged[key[0]] and key not in self._kept and fits:
                self._kept[key] = surrogate
                self._count(surrogate.nbytes)

    def __del__(self) -> None:
        metrics.SURROGATE_BYTES.dec(self._bytes)  # there are several of these: by generator, and while an index changes

    async def _one(self, key: Key) -> Surrogate:
        if key in self._kept:
            metrics.SURROGATE_LOOKUPS.labels("hit").inc()
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._wanted:
            metrics.SURROGATE_LOOKUPS.labels("miss").inc()
            self._wanted[key] = asyncio.get_running_loop().create_future()
            self._queue.append(key)
        else:
            metrics.SURROGATE_LOOKUPS.labels("joined").inc()
        future = self._wanted[key]
        if self._renderer is None or self._renderer.done():
            self._renderer = asyncio.create_task(self._render_queue())
        return await asyncio.shield(future)  # a caller that gives up does not take the others' surrogate away

    async def _render_queue(self) -> None:
        while self._queue:
            await asyncio.sleep(0)  # lets every request that is ready add its misses
            choice = self._queue[0][1]  # one choice a batch
            batch = [key for key in self._queue if key[1] == choice][: self._triton.max_batch]
            self._queue = [key for key in self._queue if key not in batch]
            try:
                latents = self._crowds.surrogate_latents[[crowd for crowd, _ in batch]]
                images = await render(latents, self._triton, self._generator, dict(choice))
                surrogates = [self._keep(key, image) for key, image in zip(batch, images, strict=True)]
            except BaseException as failed:
                for key in batch:
                    self._settle(key, failed)
                if not isinstance(failed, Exception):
                    raise
            else:
                for key, surrogate in zip(batch, surrogates, strict=True):
                    self._settle(key, surrogate)

    def _keep(self, key: Key, image: np.ndarray) -> Surrogate:
        image = np.array(image)
        image.flags.writeable = False
        # An index knows a surrogate's landmarks as it is by default; another expression moves them little.
        sides = np.array([image.shape[1], image.shape[0]], np.float64)
        landmarks = self._crowds.surrogate_landmarks[key[0]].astype(np.float64) * sides
        _, *smaller = halves_of(image)
        surrogate = Surrogate(key[0], image, landmarks, face_alone(image, landmarks), tuple(smaller))
        self._kept[key] = surrogate
        self._count(surrogate.nbytes)
        while self._bytes > self._capacity and len(self._kept) > 1:
            self._count(-self._kept.popitem(last=False)[1].nbytes)
        return surrogate

    def _count(self, size: int) -> None:
        self._bytes += size
        metrics.SURROGATE_BYTES.inc(size)

    def _settle(self, key: Key, result: Surrogate | BaseException) -> None:
        future = self._wanted.pop(key)
        if future.done():
            return
        if isinstance(result, Surrogate):
            future.set_result(result)
        else:
            future.set_exception(result)
            future.exception()  # every waiter may have given up; that is no error of its own

"""Is the pipeline able to serve? Answered by real inferences through every model, not by the server's own health."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Models
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import IndexRefused
from services.population.index import ClusterIndex

# How far a surrogate may be from what the index holds of it, as a share of the index's own threshold between people
# (0.35 for dlib and the demo's): a slightly changed aligner gave 0.11 there. Not tried across kinds of hardware.
SAME_MODELS = 0.28


async def check_models(index: ClusterIndex, models: Models, triton: Triton) -> None:
    """Renders one surrogate, finds its face, embeds it, and compares with what the index holds of it.

    So one pass proves three things: every model answers, in the order a request uses them; the index was made with
    these very models and this aligner; and the chain as a whole gives the numbers it gave when the index was built.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: a model does not answer.
        IndexRefused: the models are not those of the index.
    """
    image = (await render(index.crowds.surrogate_latents[:1], triton, models.generator))[0]
    faces = await detect(image, triton, models.detector, min_score=0.5, min_px=64)
    distance = np.inf
    if faces:
        largest = max(faces, key=lambda face: face.side)
        embedding = await embed(image, largest.landmarks[None], triton, models.embedder)
        distance = float(np.linalg.norm(embedding[0] - index.crowds.surrogate_embeddings[0]))
    if distance > SAME_MODELS * index.identity_threshold:
        raise IndexRefused(
            f"the served models do not give the surrogates of index version {index.version} (distance {distance:.2f}); "
            "serve the models it was built with, or build the index again"
        )


class Readiness:
    """Remembers a success for `ttl_s`. Nothing but the check itself proves readiness: a request may use a part only."""

    def __init__(self, check: Callable[[], Awaitable[None]], ttl_s: float):
        self._check, self._ttl_s = check, ttl_s
        self._proved = -np.inf
        self._one_at_a_time = asyncio.Lock()

    def doubted(self) -> None:
        """A request has just failed in the models: another server may be there now, with other models."""
        self._proved = -np.inf

    async def require(self) -> None:
        """Returns if the check passed within `ttl_s`, else runs it. Raises what the check raises."""
        async with self._one_at_a_time:
            if time.monotonic() - self._proved > self._ttl_s:
                self._proved = -np.inf
                await self._check()
                self._proved = time.monotonic()

    async def admit(self) -> None:
        """Lets a request pass if the check has passed since the last failure, however long ago; else runs it."""
        if self._proved == -np.inf:
            await self.require()

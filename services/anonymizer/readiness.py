"""Is the pipeline able to serve? Answered by real inferences through every model, not by the server's own health."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from services.anonymizer.detect import Face, detect
from services.anonymizer.embed import embed
from services.anonymizer.models import Models
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import IndexRefused
from services.population.index import ClusterIndex

# How far a surrogate's embedding may be from that of the index, cut out at the very same place, as a share of the
# index's threshold between people (0.35 for dlib and the demo's): a slightly changed aligner gave 0.11 there.
SAME_MODELS = 0.15
SAME_PLACE = 0.06  # of a face's side: how far its landmarks may be found from where the index has them (RMS)


async def check_models(index: ClusterIndex, models: Models, triton: Triton) -> None:
    """Renders one surrogate, finds its face, embeds it, and compares with what the index holds of it.

    So one pass proves three things: every model answers, in the order a request uses them; the index was made with
    these very models and this aligner; and the chain as a whole gives the numbers it gave when the index was built.

    Landmarks and embedding are compared one by one. Any detector puts landmarks a little elsewhere in a photo that is
    moved by a pixel, and embeddings follow them, so that the two together would show gross differences only.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: a model does not answer.
        IndexRefused: the models are not those of the index.
    """
    crowds = index.crowds
    image = (await render(crowds.surrogate_latents[:1], triton, models.generator))[0]
    place = crowds.surrogate_landmarks[0] * (image.shape[1], image.shape[0])
    faces = await detect(image, triton, models.detector, min_score=0.5, min_px=64)
    off = min((_distance(face, place) for face in faces), default=np.inf)
    (embedding,) = await embed(image, place[None], triton, models.embedder)
    distance = float(np.linalg.norm(embedding - crowds.surrogate_embeddings[0]))
    if off > SAME_PLACE or distance > SAME_MODELS * index.identity_threshold:
        raise IndexRefused(
            f"the served models do not give the surrogates of index version {index.version} (landmarks {off:.2f} of a "
            f"face away, embedding {distance:.2f}); serve the models it was built with, or build the index again"
        )


def _distance(face: Face, landmarks: np.ndarray) -> float:
    """How far a face's landmarks are from some, root mean square, as a share of its side."""
    return float(np.sqrt(((face.landmarks - landmarks) ** 2).sum(axis=1).mean())) / max(face.side, 1.0)


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

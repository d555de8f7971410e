"""chips -> embeddings."""

import numpy as np

from services.anonymizer.align import cut_chips
from services.anonymizer.models import Embedder
from services.anonymizer.threads import in_thread
from services.anonymizer.triton import Triton
from services.errors import ModelServerUnavailable


async def embed(pixels: np.ndarray, landmarks: np.ndarray, triton: Triton, embedder: Embedder) -> np.ndarray:
    """Cuts the faces at `landmarks float [n, 5, 2]` out of `pixels uint8 [H, W, 3]` and embeds them.

    Returns:
        float32 [n, dims]. Personal data: never logged, stored or sent on.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures; or values that are not numbers, which are near
            to nobody and must not become somebody's crowd.
    """
    if len(landmarks) == 0:
        return np.empty((0, embedder.dims), np.float32)
    chips = await in_thread(cut_chips, pixels, landmarks, embedder.aligner, embedder.chip_px)
    (embeddings,) = await triton.infer(embedder.model, {"chips": chips}, "embedding")
    if not np.isfinite(embeddings).all():
        raise ModelServerUnavailable(f"model {embedder.model} answered with values that are not finite numbers")
    return embeddings

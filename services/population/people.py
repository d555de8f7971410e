"""A population: the identities an operator protects, one vector each. What statistics, partition and build take."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Population:
    """n identities, in the order of their names. k counts these, not photos."""

    name: str
    made_with: dict[str, Any]  # names of detector, embedder, aligner, generator and inverter, and models_sha256
    identities: np.ndarray  # str [n], sorted, distinct
    embeddings: np.ndarray  # float32 [n, d], the mean over an identity's photos
    latents: np.ndarray | None  # float32 [n, l], flat; None: no latents are known
    photos: np.ndarray  # int64 [n], photos behind each vector
    attributes: dict[str, np.ndarray]  # name -> str [n]; "" where it is not known

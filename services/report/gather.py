"""What was seen, photo by photo -> a `Version`: columns over all faces."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.report.faces import Version
from services.report.look import Sight


class Gathering:
    """The columns of one version of n faces, filled in any order. Rows that never come show nothing."""

    def __init__(self, name: str, about: str, n: int):
        self.name, self.about, self._n = name, about, n
        self._shown, self._found = np.zeros(n, bool), np.zeros(n, bool)
        self._landmarks = np.full((n, 5, 2), np.nan, np.float32)
        self._embeddings: dict[str, np.ndarray] = {}
        self._attributes: dict[str, np.ndarray] = {}
        self._quality: dict[str, np.ndarray] = {}

    def put(self, rows: Sequence[int], sight: Sight, quality: Mapping[str, np.ndarray] | None = None) -> None:
        """What was seen of some rows.

        Args:
            quality: float [rows] of each measure.
        """
        at = np.asarray(rows, np.int64)
        self._shown[at] = True
        self._found[at] = sight.found
        self._landmarks[at] = sight.landmarks
        for name, vectors in sight.embeddings.items():
            whole = self._embeddings.setdefault(name, np.full((self._n, vectors.shape[1]), np.nan, np.float32))
            whole[at] = vectors
        for name, words in sight.attributes.items():
            self._attributes.setdefault(name, np.full(self._n, "", "U32"))[at] = words
        for name, values in (quality or {}).items():
            self._quality.setdefault(name, np.full(self._n, np.nan))[at] = values

    def version(self) -> Version:
        """All of it."""
        columns = (self._embeddings, self._attributes, self._quality)
        return Version(self.name, self.about, self._shown, self._found, self._landmarks, *columns)

"""Weights as the catalogue has them, for models that are rebuilt here and compared with other runtimes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conversion.catalogue import Catalogue
from services.errors import WeightsError
from services.settings import settings


@pytest.fixture(scope="session")
def weights() -> Callable[[str], dict[str, Path]]:
    """The verified files of a row of the catalogue; skips where they were not pulled."""

    def of(name: str) -> dict[str, Path]:
        try:
            return Catalogue(settings().weights_dir).verified(name)
        except WeightsError as missing:
            pytest.skip(f"needs weights: {missing}")

    return of


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photo with one face, uint8 [512, 512, 3] RGB; the face lies about x 170..280, y 60..190."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's astronaut (the extra `demo`)")
    return data.astronaut()


@pytest.fixture(scope="session")
def photo(astronaut) -> Callable[[int], np.ndarray]:
    """The astronaut as a square of a given size."""
    return lambda size: cv2.resize(astronaut, (size, size), interpolation=cv2.INTER_AREA)

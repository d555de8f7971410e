"""An embedder that fails in silence fails the request: its face must not become somebody's."""

import numpy as np
import pytest

from services.anonymizer.embed import embed
from services.errors import ModelServerUnavailable
from tests.unit.conftest import MODELS

LANDMARKS = np.array([[(20, 20), (44, 20), (32, 32), (24, 44), (40, 44)]], np.float64)


class Answers:
    """A model server whose embedder answers with one value."""

    def __init__(self, value: float):
        self.value = value

    async def infer(self, model: str, inputs: dict, *outputs: str) -> list[np.ndarray]:
        return [np.full((len(inputs["chips"]), 8), self.value, np.float32)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_values_that_are_not_numbers_are_a_failure_of_the_model(value):
    with pytest.raises(ModelServerUnavailable, match="not finite"):
        await embed(np.zeros((64, 64, 3), np.uint8), LANDMARKS, Answers(value), MODELS.embedder)


async def test_numbers_are_passed_on():
    found = await embed(np.zeros((64, 64, 3), np.uint8), LANDMARKS, Answers(0.5), MODELS.embedder)
    np.testing.assert_array_equal(found, np.full((1, 8), 0.5, np.float32))

"""What the tests of the StyleGAN converter share: the official file, and refusals that leave nothing behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conversion.registry import Options
from conversion.repository import convert_file
from services.errors import ConversionError
from services.settings import ROOT

OFFICIAL = ROOT.parent / "shared" / "fixtures" / "stylegan" / "stylegan-128-tiny.pkl"


@pytest.fixture(scope="session")
def official() -> Path:
    """A small file as the official code wrote it, random weights; 128 is where fused scaling begins."""
    if not OFFICIAL.is_file():
        pytest.skip(
            f"needs {OFFICIAL.name}, a file written by StyleGAN's official code, which is not part of the project"
        )
    return OFFICIAL


@pytest.fixture(scope="session")
def answers(official) -> dict[str, np.ndarray]:
    """What the official network, run by its own code, answered on that file.

    z float32 [3, 64]; w float32 [3, 12, 64] of its mapping; synthesis float32 [3, 3, 128, 128] of that w, fixed noise;
    uint8_psi07 [3, 128, 128, 3] of w truncated with psi 0.7 in the first eight layers.
    """
    with np.load(official.with_suffix(".npz")) as stored:
        return dict(stored)


@pytest.fixture
def refused(tmp_path) -> Callable[..., None]:
    """Converts bytes as a StyleGAN file, which must fail, say why in one line, and leave nothing but the file.

    A trap in a file makes another one beside it.
    """

    def check(data: bytes, says: str, options: Options | None = None) -> None:
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        with pytest.raises(ConversionError, match=says) as caught:
            convert_file("stylegan", path, "net", tmp_path / "repo", options or Options())
        assert str(caught.value).isprintable()
        assert [found for found in tmp_path.rglob("*") if found not in (path, tmp_path / "repo")] == []

    return check

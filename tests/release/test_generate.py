"""`population generate` with the real models: photos of one person are of that person, and seeds hold."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_inverter
from services.population.generate.cli import generate
from services.population.generate.variety import Look, landmarks_of
from services.population.sample import sampler_for
from services.settings import Settings
from tests.release.conftest import below

APP = typer.Typer()
APP.command()(generate)


@pytest.fixture(scope="module")
def url(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = choose(settings)
    sampler, inverter = (
        sampler_for(models.generator, settings.model_repository),
        find_inverter(models, settings.model_repository),
    )
    served = {*models.detector.served, models.embedder.model, *sampler.models, inverter.model}
    for name in served:
        if not (settings.model_repository / name / "1" / "model.onnx").is_file():
            pytest.skip(f"needs {name}; run `make models`")
    with LocalTriton(settings.model_repository, served, tmp_path_factory.mktemp("run")) as running:
        yield running.url


def made(folder: Path, url: str, people: int, photos: int) -> dict:
    arguments = [folder, "--people", people, "--photos", photos, "--triton", url, "--json", "-"]
    done = CliRunner().invoke(APP, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_photos_of_a_person_are_alike_to_the_embedder_and_differ_to_the_eye(url, tmp_path):
    told = made(tmp_path / "a", url, people=2, photos=2)
    assert (told["photos"], told["faceless"]) == (4, 0)
    assert told["figures"]["same"]["pairs"] == 2
    assert told["figures"]["same"]["within_0.6"] == 1
    assert told["figures"]["different"]["within_0.5"] == 0
    first, second = (np.asarray(Image.open(tmp_path / "a" / "person-00001" / f"000{n}.jpg"), np.int16) for n in (1, 2))
    assert np.abs(first - second).mean() > 10

    made(tmp_path / "b", url, people=1, photos=2)
    one = below(tmp_path / "a" / "person-00000")
    assert one == below(tmp_path / "b" / "person-00000"), "a person's photos depend on how many people there are"


def test_folder_of_other_photos_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.jpg").touch()
    done = CliRunner().invoke(APP, [str(tmp_path)])
    assert "is not empty" in str(done.exception)


def test_head_turns_as_it_is_told():
    """The nose, which stands out, moves with the turn; a smile widens the mouth."""
    straight, right, up, smiling = (
        landmarks_of(look) for look in (Look(), Look(yaw=20), Look(pitch=10), Look(smile=1))
    )
    assert right[2, 0] - straight[2, 0] > 0.03
    assert up[2, 1] - straight[2, 1] < -0.01
    assert np.ptp(smiling[3:, 0]) > np.ptp(straight[3:, 0]) + 0.03

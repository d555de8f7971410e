"""Recognisers that have no part in the crowds, in a model repository of their own: other tests must not find them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.settings import Settings

MEASURING = ("mobileface", "faceres", "age-gender", "emotion")


def anonfaces(*arguments: object, check: bool = True, **environment: object) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-c", "from services.cli import app; app()", *map(str, arguments)]
    told = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    done = subprocess.run(command, capture_output=True, text=True, env=told)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def measuring_repository(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model repository with the recognisers and the estimator that only measure, fetched and converted."""
    if not (settings.model_repository / "mobile-stylegan-512" / "1").is_dir():
        pytest.skip("needs the models; run `make setup`")
    repository = tmp_path_factory.mktemp("measuring") / "models"
    shutil.copytree(settings.model_repository, repository)
    anonfaces("models", "pull", *MEASURING)
    for name in MEASURING:
        anonfaces("models", "convert", name, "--repository", repository)
    return repository

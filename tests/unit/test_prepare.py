"""A volume that is empty, stale or damaged becomes the repository of this version; what is the operator's stays."""

import shutil
from pathlib import Path

import pytest

from conversion.catalogue import Catalogue
from conversion.prepare import prepare
from conversion.registry import RECIPES
from conversion.repository import is_current
from services.errors import ConfigurationError, PopulationBusy
from services.files import locked
from services.provenance import check_model
from services.settings import ROOT


@pytest.fixture(scope="module")
def carried() -> Path:
    """The repository of this checkout, as the image carries it that has the models inside."""
    if not (ROOT / "model_repository" / "dlib-resnet" / "1" / "model.onnx").is_file():
        pytest.skip("needs the converted models; run `make models`")
    return ROOT / "model_repository"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Catalogue:
    """No weights are here, so nothing can be converted: what is made must be what was carried."""
    return Catalogue(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def prepared(carried, catalogue, tmp_path_factory) -> Path:
    volume = tmp_path_factory.mktemp("volume") / "repository"
    prepare(catalogue, carried, volume, lambda line: None)
    return volume


@pytest.fixture
def told(carried, catalogue, prepared):
    def again() -> list[str]:
        lines: list[str] = []
        prepare(catalogue, carried, prepared, lines.append)
        return lines

    return again


def test_empty_volume_gets_every_model_of_the_catalogue_and_the_configurations(prepared, catalogue, carried):
    assert all(is_current(row, catalogue, prepared) for row in RECIPES if not catalogue.left_out(row))
    for config in carried.glob("*/**/*.pbtxt"):
        assert (prepared / config.relative_to(carried)).read_bytes() == config.read_bytes()
    assert not [path for path in prepared.rglob(".*") if path.name != ".lock"]


def test_second_time_nothing_is_written(prepared, told):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert "dlib-resnet: whole and current" in told()
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_damaged_model_is_replaced(prepared, told):
    model = prepared / "dlib-resnet" / "1" / "model.onnx"
    with model.open("r+b") as stream:
        stream.write(b"broken")
    told()
    check_model(prepared, "dlib-resnet")


def test_configuration_of_another_version_is_replaced(prepared, carried, told):
    config = prepared / "dlib-resnet" / "config.pbtxt"
    config.write_text("name: 'old'")
    told()
    assert config.read_bytes() == (carried / "dlib-resnet" / "config.pbtxt").read_bytes()


def test_model_of_the_operator_stays(prepared, told):
    shutil.copytree(prepared / "dlib-resnet", prepared / "mine")
    (prepared / "mine" / "config.pbtxt").write_text("mine")
    told()
    assert (prepared / "mine" / "config.pbtxt").read_text() == "mine"


def test_two_at_once_do_not_write_to_one_volume(prepared, told):
    with locked(prepared / ".lock", "the volume"), pytest.raises(PopulationBusy, match="wait"):
        told()


def test_folder_without_configurations_is_refused(catalogue, tmp_path):
    with pytest.raises(ConfigurationError, match=r"config\.pbtxt"):
        prepare(catalogue, tmp_path, tmp_path / "repository", lambda line: None)
    assert not (tmp_path / "repository").exists()

"""A user's models are published all or none, under names that are theirs, from files that are files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from conversion import repository as repository_module
from conversion.catalogue import CATALOGUE, Catalogue
from conversion.converted import Converted
from conversion.graph import FLOAT, Graph
from conversion.inversion.fit import Inversion
from conversion.inversion.model import Fitted, save
from conversion.mobile_stylegan import convert as mobile_stylegan
from conversion.parity import Parity
from conversion.registry import Options
from conversion.repository import convert_file, publish
from conversion.table import names_of
from conversion.triton_config import parse
from services.anonymizer.models import Generator, find_generator, find_inverter
from services.errors import ConfigurationError, ConversionError
from services.files import replacing_directories, require_parent
from services.provenance import check_model, weights_of
from services.settings import ROOT, settings
from tests.unit.conftest import MODELS

SHIPPED = ROOT / "model_repository"


@pytest.fixture
def file(tmp_path) -> Path:
    """A small file that converts in no time: a fitted inversion."""
    ones = np.ones(11, np.float32)
    card = {"embedder": "dlib-resnet", "mapping": "mobile-stylegan-mapping"}
    fitted = Inversion(ones, ones, np.ones((11, 3), np.float32), np.zeros(3, np.float32), 1.0)
    save(Fitted(fitted, card), tmp_path / "inversion.npz")
    return tmp_path / "inversion.npz"


@pytest.fixture
def repository(tmp_path) -> Path:
    return tmp_path / "models"


def converted(file: Path, name: str, repository: Path) -> None:
    convert_file("inversion", file, name, repository, Options())


def tiny(name: str, serves: Generator | None = None) -> Converted:
    graph = Graph()
    graph.name(graph.op("Mul", "x", graph.const(2)), "y")
    model = graph.model("tiny", [("x", FLOAT, [3])], [("y", FLOAT, [3])])
    return Converted(name, model, Parity("itself", "nothing", 0.0, 0.0, 1), serves=serves)


def origin(kind: str, group: str) -> dict:
    return {"group": group, "source": {"kind": kind, "files": []}, "licence": "none", "restricted": True}


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- what is a file -----------------------------------------------------------------------------------------------


def test_pipe_is_refused_and_not_waited_for(tmp_path, repository):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConversionError, match="is not a file"):
        convert_file("stylegan", tmp_path / "pipe", "net", repository, Options())


@pytest.mark.parametrize("path", [Path("/dev/zero"), Path("/dev"), Path("nowhere"), Path("x" * 300)])
def test_what_is_no_file_is_refused(path, repository):
    with pytest.raises(ConversionError, match=r"is not a file|does not exist|cannot be read"):
        convert_file("cnn", path, "net", repository, Options())
    assert not repository.exists()


def test_file_that_changes_while_it_is_read_is_refused(file, repository, monkeypatch):
    hashes = iter(["before", "after"])
    monkeypatch.setattr(repository_module, "sha256_of", lambda path: next(hashes))
    with pytest.raises(ConversionError, match="was changed while it was read"):
        converted(file, "mine", repository)
    assert not repository.exists()


# --- where it goes ------------------------------------------------------------------------------------------------


def test_repository_below_a_file_is_refused_before_anything_is_converted(file):
    with pytest.raises(ConversionError, match="cannot write to"):
        converted(file, "mine", file / "models")


def test_full_disk_leaves_nothing_and_says_so(file, repository, monkeypatch):
    def full(path: Path, data: bytes, mode: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repository_module, "write_durably", full)
    with pytest.raises(ConversionError, match=r"cannot write to .*No space left on device; nothing was published"):
        converted(file, "mine", repository)
    assert everything(repository) == []


def test_second_model_that_cannot_be_placed_takes_the_first_back(repository, monkeypatch):
    publish([tiny("net-a"), tiny("net-b")], origin("cnn", "net"), repository)
    before = check_model(repository, "net-a")
    rename, calls = Path.rename, []

    def fail_late(self: Path, target: Path) -> Path:
        calls.append(target)
        if Path(target) == repository / "net-b" and len(calls) < 5:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_late)
    with pytest.raises(ConversionError, match="Input/output error"):
        publish([tiny("net-a"), tiny("net-b")], origin("cnn", "another"), repository)
    monkeypatch.undo()
    assert check_model(repository, "net-a") == before
    assert check_model(repository, "net-b")["group"] == "net"
    assert sorted(path.name for path in repository.iterdir()) == ["net-a", "net-b"]


def test_folders_that_were_not_there_are_gone_again_after_a_failure(tmp_path, monkeypatch):
    rename = Path.rename

    def fail_for_b(self: Path, target: Path) -> Path:
        if Path(target).name == "b":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_b)
    with pytest.raises(OSError, match="Input/output"), replacing_directories([tmp_path / "a", tmp_path / "b"]):
        pass
    assert everything(tmp_path) == []


# --- names --------------------------------------------------------------------------------------------------------


def test_conversion_under_its_own_name_replaces_itself(file, repository):
    converted(file, "mine", repository)
    converted(file, "mine", repository)
    assert check_model(repository, "mine")["group"] == "mine"


def test_part_of_another_generator_is_not_replaced(file, repository):
    publish([tiny("d-mapping"), tiny("d-synthesis")], origin("stylegan", "d"), repository)
    with pytest.raises(ConversionError, match=r"d-mapping is there already and is something else"):
        converted(file, "d-mapping", repository)


def test_name_of_a_generator_is_not_given_twice(repository):
    row = Generator(name="d", model="d-synthesis", latent_shape=(3,), image_size=(8, 8))
    publish([tiny("d-synthesis", row)], origin("stylegan", "d"), repository)
    again = tiny("d", row.model_copy(update={"model": "d"}))
    with pytest.raises(ConversionError, match=r"d-synthesis is the generator d already"):
        repository_module.require_free(again, "cnn", "d", repository)


def test_folder_of_somebody_else_and_links_are_left_alone(file, repository, tmp_path):
    (repository / "theirs").mkdir(parents=True)
    (repository / "linked").symlink_to(tmp_path / "nowhere")
    for name in ("theirs", "linked"):
        with pytest.raises(ConversionError, match="something else"):
            converted(file, name, repository)
    assert (repository / "linked").is_symlink()


def test_name_of_a_shipped_model_is_refused(file, repository):
    with pytest.raises(ConversionError, match="name of a model that ships"):
        converted(file, "mobile-stylegan-mapping", repository)


def test_scratch_of_a_killed_conversion_is_no_model(repository):
    publish([tiny("net")], origin("cnn", "net"), repository)
    (repository / "net").rename(repository / ".net-x1")
    with pytest.raises(ConversionError, match="no converted models"):
        names_of(repository)
    with pytest.raises(ConfigurationError, match="no generator named"):
        find_generator("net", repository)


# --- the right one is used ----------------------------------------------------------------------------------------


def test_inversion_of_ones_own_comes_before_the_shipped_one(file, repository):
    assert find_inverter(MODELS, repository).name == "inversion-mobile-stylegan"
    converted(file, "mine", repository)
    assert find_inverter(MODELS, repository).name == "mine"


def test_weights_are_told_apart_and_not_their_conversions(repository):
    for name, sha in (("a", "1"), ("b", "1"), ("c", "2")):
        publish([tiny(name)], {**origin("cnn", name), "source_sha256": {"f": sha}}, repository)
    assert weights_of("a", repository) == weights_of("b", repository) != weights_of("c", repository)


def test_engine_of_an_earlier_fit_is_not_taken_for_the_shipped_one():
    config = parse((SHIPPED / "inversion-mobile-stylegan" / "config.pbtxt").read_text())
    (file,) = Catalogue(ROOT, CATALOGUE)["inversion-mobile-stylegan"].files.values()
    assert config.parameters["gpu_engine_key"].string_value == file.sha256[:12]


def test_damaged_constant_of_mobile_stylegan_is_refused(tmp_path):
    weights = settings().weights_dir / "mobile-stylegan"
    if not (weights / "SynthesisNetwork.bin").is_file():
        pytest.skip("needs weights; run `make models`")
    for path in weights.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "SynthesisNetwork.bin").read_bytes())
    data[4_000_000:4_000_004] = np.float32(np.nan).tobytes()
    (tmp_path / "SynthesisNetwork.bin").write_bytes(data)
    with pytest.raises(ConversionError, match="not finite"):
        mobile_stylegan.convert(tmp_path, "net", Options())


def test_file_without_a_folder_to_be_in_is_refused_early(tmp_path):
    require_parent(tmp_path / "out.npz")
    require_parent(None)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        require_parent(tmp_path / "no" / "out.npz")


def test_provenance_holds_no_path_of_the_machine(file, repository):
    converted(file, "mine", repository)
    told = (repository / "mine" / "1" / "provenance.json").read_text()
    assert str(file.parent) not in told
    assert json.loads(told)["source"] == {"kind": "inversion", "files": ["inversion.npz"]}

"""A conversion that went wrong publishes nothing, and says so with our own error."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from conversion import centerface
from conversion.catalogue import Catalogue
from conversion.converted import Converted
from conversion.graph import FLOAT, Graph
from conversion.mobile_stylegan import convert as mobile_stylegan
from conversion.mobile_stylegan import ir as mobile_stylegan_ir
from conversion.parity import Parity, run_onnx
from conversion.registry import KINDS, RECIPES, Kind, Recipe, recipe
from conversion.repository import convert, is_current
from services.errors import ConversionError, WeightsError
from services.provenance import check_model

WEIGHTS = b"the weights of a tiny network"
CONFIG = "config.pbtxt"


def parity(value: float, tolerance: float = 1e-4) -> Parity:
    return Parity("a reference", "largest difference", value, tolerance, samples=3)


def doubling() -> onnx.ModelProto:
    graph = Graph()
    graph.name(graph.op("Mul", "x", graph.const(2)), "y")
    return graph.model("doubling", [("x", FLOAT, [3])], [("y", FLOAT, [3])])


# --- one comparison ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.01e-4, np.nan, np.inf])
def test_parity_above_its_tolerance_is_refused(value):
    with pytest.raises(ConversionError, match=r"tiny: largest difference is .*a reference"):
        parity(value).require("tiny")


@pytest.mark.parametrize("value", [0.0, 1e-4])
def test_parity_up_to_its_tolerance_is_accepted(value):
    assert parity(value).require("tiny").value == value


# --- files that are not what they should be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"not a network", bytes(200), doubling().SerializeToString()],
    ids=["empty", "text", "zeros", "another network"],
)
def test_file_that_is_not_centerface_is_refused(tmp_path, data):
    (tmp_path / "centerface.onnx").write_bytes(data)
    with pytest.raises(ConversionError, match=r"centerface\.onnx is not"):
        centerface.build(tmp_path / "centerface.onnx", 192)


@pytest.mark.parametrize("read", [mobile_stylegan_ir.read_synthesis, mobile_stylegan.build_mapping])
@pytest.mark.parametrize("data", [b"", b"not a network", b"<net/>"], ids=["empty", "text", "no layers"])
def test_file_that_is_not_mobile_stylegan_is_refused(tmp_path, read, data):
    (tmp_path / "network.xml").write_bytes(data)
    with pytest.raises(ConversionError):
        read(tmp_path / "network.xml")


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ConversionError, match="nothing known converts 'vgg'; there are mobile-stylegan"):
        recipe("vgg")


# --- publishing -------------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    """A catalogue of one weight, already pulled."""
    (tmp_path / "brought.bin").write_bytes(WEIGHTS)
    (tmp_path / "weights.toml").write_text(
        f'[[weights]]\nname = "tiny"\npurpose = "tests"\nlicence = "CC0-1.0"\nrestricted = true\nterms = "none"\n'
        f'source = {{ kind = "path", path = "{tmp_path / "brought.bin"}" }}\n'
        f'files = {{ "tiny.bin" = {{ sha256 = "{hashlib.sha256(WEIGHTS).hexdigest()}" }} }}\n'
    )
    found = Catalogue(tmp_path / "weights", tmp_path / "weights.toml")
    found.pull("tiny")
    return found


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository that Triton would serve both models from, once they are there."""
    for name in ("tiny-a", "tiny-b"):
        (tmp_path / "repository" / name).mkdir(parents=True)
        (tmp_path / "repository" / name / CONFIG).write_text(f'name: "{name}"')
    return tmp_path / "repository"


@pytest.fixture
def registered(monkeypatch) -> Callable[..., None]:
    """Registers a recipe that gives two models, the second with a parity of the test's choice."""

    def register(second: float = 0.0) -> None:
        def convert_tiny(files: dict[str, Path]) -> list[Converted]:
            assert files["tiny.bin"].read_bytes() == WEIGHTS
            return [
                Converted("tiny-a", doubling(), parity(0.0), {"w_mean": [1]}),
                Converted("tiny-b", doubling(), parity(second)),
            ]

        module = SimpleNamespace(convert=lambda path, name, options: convert_tiny({"tiny.bin": path}))
        monkeypatch.setitem(sys.modules, "tiny_converter", module)
        monkeypatch.setitem(KINDS, "tiny", Kind("tiny", "tiny_converter", "a kind of these tests"))
        monkeypatch.setitem(RECIPES, "tiny", Recipe("tiny", "tiny", ("tiny-a", "tiny-b")))

    return register


def published(repository: Path) -> list[str]:
    return sorted(str(p.relative_to(repository)) for p in repository.rglob("*") if p.is_file() and p.name != CONFIG)


def test_good_conversion_publishes_every_model(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    assert published(repository) == [f"tiny-{x}/1/{f}" for x in "ab" for f in ("model.onnx", "provenance.json")]


def test_published_model_computes_what_was_converted(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    model = onnx.load(repository / "tiny-a" / "1" / "model.onnx")
    assert run_onnx(model, x=np.array([[1, 2, 3]], np.float32))[0].tolist() == [[2, 4, 6]]


def test_provenance_names_weights_licence_and_parity(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    told = check_model(repository, "tiny-a")
    assert told["source_sha256"] == {"tiny.bin": hashlib.sha256(WEIGHTS).hexdigest()}
    assert (told["licence"], told["restricted"], told["card"]) == ("CC0-1.0", True, {"w_mean": [1]})
    assert told["parity"]["tolerance"] == 1e-4


def test_failed_parity_of_one_model_publishes_none(catalogue, repository, registered):
    registered(second=1.0)
    with pytest.raises(ConversionError, match="tiny-b"):
        convert("tiny", catalogue, repository)
    assert published(repository) == []


def test_failed_parity_keeps_the_models_published_before(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    registered(second=np.nan)
    with pytest.raises(ConversionError):
        convert("tiny", catalogue, repository)
    assert is_current("tiny", catalogue, repository)


def test_model_without_a_configuration_publishes_none(catalogue, repository, registered):
    registered()
    (repository / "tiny-b" / CONFIG).unlink()
    with pytest.raises(ConversionError, match=r"tiny-b has no config\.pbtxt"):
        convert("tiny", catalogue, repository)
    assert published(repository) == []


def test_changed_weights_are_not_converted(catalogue, repository, registered):
    registered()
    catalogue.path("tiny", "tiny.bin").write_bytes(b"other weights")
    with pytest.raises(WeightsError):
        convert("tiny", catalogue, repository)
    assert published(repository) == []


# --- is it still the one that was published? --------------------------------------------------------------------


def test_fresh_conversion_is_current(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    assert is_current("tiny", catalogue, repository)


def test_unconverted_model_is_not_current(catalogue, repository, registered):
    registered()
    assert not is_current("tiny", catalogue, repository)


def test_changed_byte_of_a_model_makes_it_stale(catalogue, repository, registered):
    registered()
    convert("tiny", catalogue, repository)
    model = repository / "tiny-b" / "1" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert not is_current("tiny", catalogue, repository)


@pytest.mark.parametrize("key", ["source_sha256", "converter_version"])
@pytest.mark.parametrize("value", ["another", None])
def test_model_of_other_weights_or_converter_is_stale(catalogue, repository, registered, key, value):
    registered()
    convert("tiny", catalogue, repository)
    path = repository / "tiny-a" / "1" / "provenance.json"
    told = {**json.loads(path.read_text()), key: value}
    path.write_text(json.dumps({k: v for k, v in told.items() if v is not None}))
    assert not is_current("tiny", catalogue, repository)

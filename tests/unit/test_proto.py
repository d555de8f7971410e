"""The gRPC interface cannot drift: from the models that HTTP has, and its generated code from the definition."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.anonymizer.api import answers
from services.anonymizer.api.answers import Finished, Inspection
from services.anonymizer.api.grpc_server import METHODS, SERVICE
from services.anonymizer.api.messages import chosen, inspection_message, message_of
from services.anonymizer.options import Options, SurrogateOptions
from services.errors import BadRequest
from services.proto import anonfaces_v1_pb2 as pb
from services.settings import ROOT

MODELS: list[type[BaseModel]] = [
    SurrogateOptions,
    Options,
    answers.Served,
    answers.Finished,
    answers.Error,
    answers.FaceSeen,
    answers.Inspection,
    answers.ModelNames,
    answers.IndexAnswer,
]


@pytest.mark.parametrize("model", MODELS)
def test_message_has_the_fields_of_its_model_and_no_others(model: type[BaseModel]):
    message = getattr(pb, model.__name__).DESCRIPTOR
    assert set(message.fields_by_name) == set(model.model_fields)


@pytest.mark.parametrize("model", MODELS)
def test_field_that_may_be_null_may_be_absent(model: type[BaseModel]):
    for field in getattr(pb, model.__name__).DESCRIPTOR.fields:
        nullable = type(None) in getattr(model.model_fields[field.name].annotation, "__args__", ())
        repeated = field.is_repeated
        assert (field.has_presence and field.message_type is None) == (nullable and not repeated), field.name


def test_every_model_that_is_answered_is_a_message_but_those_of_the_batch():
    public = {name for name, kind in vars(answers).items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    ours = {name for name in public if not name.startswith("_") and name != "BaseModel"}
    assert ours - {model.__name__ for model in MODELS} == {"Batch", "BatchItem"}


def test_every_method_is_served():
    assert set(METHODS) == {method.name for method in SERVICE.methods}


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """What `make proto` writes."""
    place = Path("services/proto/anonfaces_v1.proto")
    (tmp_path / place.parent).mkdir(parents=True)
    shutil.copy(ROOT / place, tmp_path / place)
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    # In a process of its own: its protobuf library ends one that has loaded TensorFlow's.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", *outputs, f"{tmp_path / place}"]
    subprocess.run(command, check=True)
    return tmp_path / place.parent


@pytest.mark.parametrize("name", ["anonfaces_v1_pb2.py", "anonfaces_v1_pb2.pyi", "anonfaces_v1_pb2_grpc.py"])
def test_committed_code_is_what_the_definition_gives(generated: Path, name: str):
    assert (generated / name).read_text() == (ROOT / "services/proto" / name).read_text(), "run `make proto`"


def test_options_are_the_same_by_message_as_by_query():
    told = {"k": 5, "format": "webp", "stranger": "mask", "identity": ("ada", "grace")}
    assert chosen(Options, pb.Options(**told)) == Options.of(told)
    assert chosen(Options, pb.Options()) == Options()
    with pytest.raises(BadRequest, match="k: "):
        chosen(Options, pb.Options(k=0))


def test_value_that_is_null_is_not_set():
    told = Finished(
        index_version="v1", resolution="nearest-only", k=None, media_type="image/png", faces=0, enrolled=0,
        strangers=0, masked=0,
    )  # fmt: skip
    message = message_of(told, pb.Finished)
    assert not message.HasField("k")
    assert (message.index_version, message.faces) == ("v1", 0)


def test_inspection_has_the_numbers_of_the_model():
    face = {
        "box": (1.5, 2.0, 3.0, 4.0), "landmarks": [(0.1, 0.2), (0.3, 0.4)], "score": 0.9, "masked": None,
        "crowd": 0, "crowd_size": 10, "distance": 0.25, "enrolled": False,
    }  # fmt: skip
    seen = Inspection.model_validate(
        {"index_version": "v1", "resolution": "enrolled-first", "k": 3, "width": 8, "height": 9, "faces": [face]}
    )
    (message,) = inspection_message(seen).faces
    assert list(message.box) == [1.5, 2.0, 3.0, 4.0]
    assert [(point.x, point.y) for point in message.landmarks] == [(0.1, 0.2), (0.3, 0.4)]
    assert (message.HasField("crowd"), message.crowd, message.enrolled, message.HasField("masked")) == (
        True, 0, False, False,
    )  # fmt: skip

"""Every folder Triton would load: a configuration it can read, and one that agrees with the model beside it."""

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from services.anonymizer.models import DETECTORS, EMBEDDERS, GENERATORS
from services.settings import ROOT

REPOSITORY = ROOT / "model_repository"
FOLDERS = sorted(path.parent for path in REPOSITORY.glob("*/config.pbtxt"))
TYPES = {"TYPE_FP32": onnx.TensorProto.FLOAT, "TYPE_UINT8": onnx.TensorProto.UINT8}

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def config_of(folder: Path) -> triton.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), triton.ModelConfig())


def test_every_model_of_the_registry_has_a_folder():
    needed = {model for d in DETECTORS.values() for model in d.models.values()}
    needed |= {e.model for e in EMBEDDERS.values()}
    needed |= {model for g in GENERATORS.values() for model in (g.model, g.mapping)}
    assert needed == {folder.name for folder in FOLDERS}


@each_folder
def test_name_is_that_of_the_folder(folder):
    assert config_of(folder).name == folder.name


@each_folder
def test_backend_is_the_one_that_is_served_everywhere(folder):
    assert config_of(folder).backend == "onnxruntime"


@each_folder
def test_instances_take_a_gpu_where_there_is_one(folder):
    assert [group.kind for group in config_of(folder).instance_group] == [triton.ModelInstanceGroup.KIND_AUTO]


@each_folder
def test_requests_are_batched(folder):
    config = config_of(folder)
    assert config.HasField("dynamic_batching")
    assert config.max_batch_size >= 8  # services.anonymizer.triton sends up to 8 rows a request


@each_folder
def test_queue_is_bounded_in_length_and_time(folder):
    policy = config_of(folder).dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0
    assert policy.timeout_action == triton.ModelQueuePolicy.REJECT


@each_folder
def test_every_input_is_warmed_up_at_its_shape_and_type(folder):
    config = config_of(folder)
    wanted = {value.name: (value.data_type, list(value.dims)) for value in config.input}
    assert config.model_warmup
    for sample in config.model_warmup:
        assert {name: (value.data_type, list(value.dims)) for name, value in sample.inputs.items()} == wanted


@each_folder
def test_inputs_and_outputs_are_those_of_the_model(folder):
    file = folder / "1" / "model.onnx"
    if not file.is_file():
        pytest.skip(f"{folder.name} is not converted; run `anonfaces models convert --all`")
    graph, config = onnx.load(file).graph, config_of(folder)
    for declared, found in ((config.input, graph.input), (config.output, graph.output)):
        told = {v.name: (TYPES[triton.DataType.Name(v.data_type)], list(v.dims)) for v in declared}
        have = {
            v.name: (v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim][1:])
            for v in found
        }
        assert told == have


@each_folder
def test_batch_axis_of_the_model_is_free(folder):
    file = folder / "1" / "model.onnx"
    if not file.is_file():
        pytest.skip(f"{folder.name} is not converted; run `anonfaces models convert --all`")
    graph = onnx.load(file).graph
    assert all(v.type.tensor_type.shape.dim[0].dim_param for v in [*graph.input, *graph.output])

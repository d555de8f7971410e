"""Every folder Triton would load: configurations it can read, and ones that agree with the model beside them."""

from pathlib import Path

import onnx
import pytest
from tritonclient.grpc import model_config_pb2 as triton

from conversion.triton_config import FREE_PX, GPU_CONFIG, gpu_config_of, parse
from services.anonymizer.models import DETECTORS, EMBEDDERS, ESTIMATORS, GENERATORS
from services.settings import ROOT

REPOSITORY = ROOT / "model_repository"
SHIPPED = {model for d in DETECTORS.values() for model in (d.look, *d.first_looks.values())}
SHIPPED |= {e.model for e in EMBEDDERS.values()}
SHIPPED |= {e.model for e in ESTIMATORS.values()}
SHIPPED |= {model for g in GENERATORS.values() for model in (g.model, g.mapping) if model}
# a user's own models may lie beside the committed ones
FOLDERS = sorted(path.parent for path in REPOSITORY.glob("[!.]*/config.pbtxt") if path.parent.name in SHIPPED)
TYPES = {"TYPE_FP32": onnx.TensorProto.FLOAT, "TYPE_UINT8": onnx.TensorProto.UINT8}

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
KEEPS_ITS_TYPES = {"centerface-any-int8"}  # TensorRT takes no activations in uint8
BUILT = [folder for folder in FOLDERS if folder.name not in KEEPS_ITS_TYPES]
each_built = pytest.mark.parametrize("folder", BUILT, ids=lambda folder: folder.name)


def config_of(folder: Path) -> triton.ModelConfig:
    return parse((folder / "config.pbtxt").read_text())


def gpu_of(folder: Path) -> triton.ModelConfig:
    return parse((folder / GPU_CONFIG).read_text())


def sides(value: triton.ModelInput, free: int) -> list[int]:
    """Those of a tensor, with a length for the free ones."""
    return [free if side == -1 else side for side in value.dims]


def tensorrt_of(folder: Path) -> dict[str, str]:
    """What the GPU variant asks of TensorRT."""
    (accelerator,) = gpu_of(folder).optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    return dict(accelerator.parameters)


def graph_of(folder: Path) -> onnx.GraphProto:
    file = folder / "1" / "model.onnx"
    if not file.is_file():
        pytest.skip(f"{folder.name} is not converted; run `anonfaces models convert`")
    return onnx.load(file).graph


def test_every_model_of_the_registry_has_a_folder():
    assert {folder.name for folder in FOLDERS} == SHIPPED


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
@pytest.mark.parametrize("read", [config_of, gpu_of])
def test_no_queue_policy_makes_requests_wait_for_half_a_second(folder, read):
    """As one does in core 2.51 whenever a request comes while another one runs."""
    batching = read(folder).dynamic_batching
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_queue_policy


@each_folder
@pytest.mark.parametrize("read", [config_of, gpu_of])
def test_every_input_is_warmed_up_at_its_shape_and_type(folder, read):
    config = read(folder)
    wanted = {value.name: (value.data_type, sides(value, FREE_PX[1])) for value in config.input}
    assert config.model_warmup
    for sample in config.model_warmup:
        assert {name: (value.data_type, list(value.dims)) for name, value in sample.inputs.items()} == wanted


@each_folder
def test_inputs_and_outputs_are_those_of_the_model(folder):
    graph, config = graph_of(folder), config_of(folder)
    for declared, found in ((config.input, graph.input), (config.output, graph.output)):
        told = {v.name: (TYPES[triton.DataType.Name(v.data_type)], sides(v, 0)) for v in declared}
        have = {
            v.name: (v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim][1:])
            for v in found
        }
        assert told == have


@each_folder
def test_batch_axis_of_the_model_is_free(folder):
    graph = graph_of(folder)
    assert all(v.type.tensor_type.shape.dim[0].dim_param for v in [*graph.input, *graph.output])


# --- the variant for a GPU --------------------------------------------------------------------------------------


@each_folder
def test_gpu_variant_is_what_the_code_writes(folder):
    want = gpu_config_of((folder / "config.pbtxt").read_text())
    assert (folder / GPU_CONFIG).read_text() == want, "run `anonfaces models configs`"


@each_folder
def test_gpu_variant_is_the_same_model_to_its_clients(folder):
    config, gpu = config_of(folder), gpu_of(folder)
    assert (gpu.name, gpu.backend) == (config.name, config.backend)
    assert list(gpu.input) == list(config.input)
    assert list(gpu.output) == list(config.output)
    assert gpu.dynamic_batching.default_queue_policy == config.dynamic_batching.default_queue_policy


@each_folder
def test_gpu_variant_takes_every_batch_the_other_takes(folder):
    assert gpu_of(folder).max_batch_size >= max(32, config_of(folder).max_batch_size)


@each_folder
def test_gpu_variant_runs_on_gpus_alone(folder):
    gpu = gpu_of(folder)
    assert {group.kind for group in gpu.instance_group} == {triton.ModelInstanceGroup.KIND_GPU}
    assert dict(gpu.parameters) == {}  # those of config.pbtxt concern a CPU


def test_models_of_large_pictures_get_one_instance_and_the_others_two():
    counts = {folder.name: [group.count for group in gpu_of(folder).instance_group] for folder in FOLDERS}
    assert {name for name, count in counts.items() if count == [1]} == {
        "centerface-any",
        "centerface-any-int8",
        "mobile-stylegan-1024",
    }
    assert all(count in ([1], [2]) for count in counts.values())


@each_built
def test_profile_spans_every_batch_at_the_shapes_of_the_inputs(folder):
    gpu, told = gpu_of(folder), tensorrt_of(folder)
    shortest, longest = FREE_PX
    for kind, rows, free in (("min", 1, shortest), ("opt", 8, longest), ("max", gpu.max_batch_size, longest)):
        shapes = dict(shape.split(":") for shape in told[f"trt_profile_{kind}_shapes"].split(","))
        assert {name: [int(side) for side in shape.split("x")] for name, shape in shapes.items()} == {
            value.name: [rows, *sides(value, free)] for value in gpu.input
        }


@each_folder
def test_preferred_and_warmed_up_batches_lie_in_the_profile(folder):
    gpu = gpu_of(folder)
    sizes = [*gpu.dynamic_batching.preferred_batch_size, *(sample.batch_size for sample in gpu.model_warmup)]
    assert sizes == [8, 32, 1, 8]
    assert max(sizes) <= gpu.max_batch_size


# onnxruntime_backend, src/onnxruntime.cc: any other name is an error when the model is loaded
ACCEPTED = {
    "precision_mode",
    "max_workspace_size_bytes",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_profile_max_shapes",
}


@each_built
def test_tensorrt_is_asked_for_what_the_backend_accepts(folder):
    told = tensorrt_of(folder)
    assert set(told) <= ACCEPTED
    asked = config_of(folder).parameters["gpu_precision"].string_value
    assert told["precision_mode"] == (asked or "fp16").upper()
    assert told["trt_engine_cache_enable"] == "1"


def test_a_model_of_whole_numbers_is_not_given_to_tensorrt():
    assert {folder.name for folder in FOLDERS if not gpu_of(folder).HasField("optimization")} == KEEPS_ITS_TYPES


def test_no_two_models_share_a_folder_of_engines():
    folders = [tensorrt_of(folder)["trt_engine_cache_path"] for folder in BUILT]
    assert len(set(folders)) == len(BUILT)
    assert len({Path(folder).parent for folder in folders}) == 1  # onnxruntime makes the last folder only

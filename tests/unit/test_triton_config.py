"""Configurations from a model's inputs and outputs, and what a GPU may do with its graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tritonclient.grpc import model_config_pb2 as triton

from conversion.graph import FLOAT, HEIGHT, INT64, UINT8, WIDTH, Graph
from conversion.triton_config import (
    CONFIG,
    ENGINE_CACHE,
    GPU_CONFIG,
    LARGE_SUM,
    config_of,
    gpu_config_of,
    gpu_configs,
    parse,
    plan_config_of,
    precision_of,
    stale_gpu_configs,
    write_gpu_configs,
)
from services.errors import ConfigurationError, ConversionError

GPU = triton.ModelInstanceGroup.KIND_GPU


def network(inputs: list, output: tuple, factor: float = 1.0) -> onnx.ModelProto:
    """A network that multiplies a learned tensor by the mean of its first input, as a generator may begin."""
    name, kind, sides = output
    graph = Graph()
    source = graph.op("Cast", inputs[0][0], to=FLOAT)
    mean = graph.op("ReduceMean", graph.op("Flatten", source, axis=1), graph.ints(1), keepdims=1)
    shaped = graph.op("Reshape", mean, graph.ints(-1, *[1] * len(sides)))
    grown = graph.op("Mul", shaped, graph.const(np.full((1, *sides), factor)))
    graph.name(graph.op("Cast", grown, to=kind), name)
    return graph.model("network", inputs, [(name, kind, sides)])


def embedder(**options) -> onnx.ModelProto:
    return network([("chips", UINT8, [32, 32, 3])], ("embedding", FLOAT, [8]), **options)


def generator(side: int = 512) -> onnx.ModelProto:
    return network([("w", FLOAT, [512])], ("image", UINT8, [side, side, 3]))


def detector(side: int) -> onnx.ModelProto:
    return network([("image", UINT8, [side, side, 3])], ("boxes", FLOAT, [4, 4]))


def normalising(kind: str) -> onnx.ModelProto:
    """A network of two planes, 8 x 8, that are normalised or summed."""
    graph = Graph()
    scales = [graph.const([1.0, 1.0]), graph.const([0.0, 0.0])] if kind == "InstanceNormalization" else []
    axes = [graph.ints(2, 3)] if kind.startswith("Reduce") else []
    graph.name(graph.op(kind, "x", *scales, *axes), "y")
    sides = [2, 8, 8] if scales else [2, 1, 1]
    return graph.model("normalising", [("x", FLOAT, [2, 8, 8])], [("y", FLOAT, sides)])


def summing(values: int) -> onnx.ModelProto:
    graph = Graph()
    graph.name(graph.op("ReduceMean", graph.op("Mul", "x", "x"), graph.ints(1), keepdims=1), "y")
    return graph.model("summing", [("x", FLOAT, [values])], [("y", FLOAT, [1])])


def projecting(values: int) -> onnx.ModelProto:
    graph = Graph()
    graph.name(graph.op("MatMul", "x", graph.const(np.ones((values, 2)))), "y")
    return graph.model("projecting", [("x", FLOAT, [values])], [("y", FLOAT, [2])])


def tensorrt_of(config: triton.ModelConfig) -> dict[str, str]:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return dict(accelerator.parameters)


# --- config.pbtxt -----------------------------------------------------------------------------------------------


def test_inputs_and_outputs_keep_names_types_and_sizes():
    config = parse(config_of("ours", network([("a", UINT8, [4, 5, 3]), ("b", FLOAT, [7])], ("c", FLOAT, [2, 3]))))
    told = [(v.name, triton.DataType.Name(v.data_type), list(v.dims)) for v in [*config.input, *config.output]]
    assert told == [("a", "TYPE_UINT8", [4, 5, 3]), ("b", "TYPE_FP32", [7]), ("c", "TYPE_FP32", [2, 3])]
    assert (config.name, config.backend) == ("ours", "onnxruntime")


def test_every_input_is_warmed_up():
    config = parse(config_of("ours", network([("a", UINT8, [4, 5, 3]), ("b", FLOAT, [7])], ("c", FLOAT, [2]))))
    (sample,) = config.model_warmup
    told = {name: (list(value.dims), value.zero_data) for name, value in sample.inputs.items()}
    assert told == {"a": ([4, 5, 3], True), "b": ([7], True)}


@pytest.mark.parametrize("model", [generator(), detector(512)], ids=["rendered", "looked at"])
def test_batches_of_pictures_run_row_by_row_on_a_cpu(model):
    config = parse(config_of("ours", model))
    assert config.parameters["cpu_rows_per_run"].string_value == "1"


@pytest.mark.parametrize("model", [embedder(), detector(192)], ids=["embedder", "thumbnail"])
def test_batches_of_vectors_and_thumbnails_run_at_once(model):
    config = parse(config_of("ours", model))
    assert "cpu_rows_per_run" not in config.parameters
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize("value", [("ids", INT64, [3]), ("x", FLOAT, []), ("x", FLOAT, ["length"])])
def test_other_types_and_free_sizes_are_refused(value):
    name, _, sides = value
    graph = Graph()
    graph.name(graph.op("Cast", name, to=FLOAT), "y")
    model = graph.model("odd", [value], [("y", FLOAT, sides)])
    with pytest.raises(ConversionError, match="fixed sizes"):
        config_of("odd", model)


# --- precision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [embedder(), generator(), summing(512), projecting(512)])
def test_plain_networks_may_be_calculated_in_float16(model):
    assert precision_of(model) == "fp16"


@pytest.mark.parametrize("model", [normalising("InstanceNormalization"), summing(LARGE_SUM), projecting(LARGE_SUM)])
def test_normalisation_and_large_sums_stay_in_float32(model):
    assert precision_of(model) == "fp32"


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceL2", "GlobalAveragePool"])
def test_small_means_over_a_plane_may_be_calculated_in_float16(kind):
    assert precision_of(normalising(kind)) == "fp16"


def test_float16_in_the_graph_is_kept_as_it_is():
    graph = Graph()
    half = graph.op("Cast", graph.op("Add", graph.op("Cast", "x", to=onnx.TensorProto.FLOAT16), "h"), to=FLOAT)
    graph.constants.append(onnx.numpy_helper.from_array(np.ones(1, np.float16), "h"))
    graph.name(half, "y")
    model = graph.model("half", [("x", FLOAT, [3])], [("y", FLOAT, [3])])
    assert precision_of(model) == "graph"
    gpu = parse(gpu_config_of(config_of("half", model)))
    assert not gpu.HasField("optimization")  # TensorRT 10 would not keep the types
    assert [group.kind for group in gpu.instance_group] == [GPU]


@pytest.mark.parametrize(("model", "precision"), [(embedder(), "FP16"), (summing(LARGE_SUM), "FP32")])
def test_gpu_variant_has_the_precision_of_the_graph(model, precision):
    assert tensorrt_of(parse(gpu_config_of(config_of("ours", model))))["precision_mode"] == precision


def test_unknown_precision_is_refused():
    config = config_of("ours", embedder()).replace('"fp16"', '"int4"')
    with pytest.raises(ConfigurationError, match="ours: gpu_precision is 'int4'"):
        gpu_config_of(config)


# --- configs/gpu.pbtxt ------------------------------------------------------------------------------------------


def test_profile_covers_one_to_32_rows_of_every_input():
    model = network([("a", UINT8, [4, 5, 3]), ("b", FLOAT, [7])], ("c", FLOAT, [2]))
    told = tensorrt_of(parse(gpu_config_of(config_of("ours", model))))
    shapes = [told[f"trt_profile_{kind}_shapes"] for kind in ("min", "opt", "max")]
    assert shapes == ["a:1x4x5x3,b:1x7", "a:8x4x5x3,b:8x7", "a:32x4x5x3,b:32x7"]


def test_profile_spans_the_free_sides_of_a_picture():
    model = network([("image", UINT8, [HEIGHT, WIDTH, 3])], ("y", FLOAT, [4]))
    config = config_of("ours", model)
    told = tensorrt_of(parse(gpu_config_of(config)))
    shapes = [told[f"trt_profile_{kind}_shapes"] for kind in ("min", "opt", "max")]
    assert shapes == ["image:1x64x64x3", "image:8x1024x1024x3", "image:32x1024x1024x3"]
    assert list(parse(config).input[0].dims) == [-1, -1, 3]
    assert list(parse(config).model_warmup[0].inputs["image"].dims) == [1024, 1024, 3]


def test_gpu_takes_the_batches_that_the_cpu_takes():
    config = config_of("ours", embedder()).replace("max_batch_size: 8", "max_batch_size: 256")
    gpu = parse(gpu_config_of(config))
    assert gpu.max_batch_size == 256
    assert tensorrt_of(gpu)["trt_profile_max_shapes"] == "chips:256x32x32x3"


@pytest.mark.parametrize(("model", "count"), [(embedder(), 2), (generator(512), 2), (generator(1024), 1)])
def test_a_network_that_fills_the_gpu_gets_one_instance(model, count):
    assert [group.count for group in parse(gpu_config_of(config_of("ours", model))).instance_group] == [count]


def test_nothing_for_a_cpu_is_left():
    assert dict(parse(gpu_config_of(config_of("ours", generator()))).parameters) == {}


def test_other_weights_under_the_same_name_get_other_engines():
    # onnxruntime finds an engine by names alone, and would run the old weights
    texts = [gpu_config_of(config_of("ours", embedder(factor=factor))) for factor in (1.0, 2.0, 1.0)]
    folders = [tensorrt_of(parse(text))["trt_engine_cache_path"] for text in texts]
    assert folders[0] == folders[2] != folders[1]
    assert all(Path(folder).parent == Path(ENGINE_CACHE) for folder in folders)


def test_plan_is_served_by_the_tensorrt_backend_up_to_its_own_batch():
    plan = parse(plan_config_of(config_of("ours", embedder()), max_batch=16))
    assert (plan.backend, plan.max_batch_size) == ("tensorrt", 16)
    assert list(plan.dynamic_batching.preferred_batch_size) == [8]
    assert [sample.batch_size for sample in plan.model_warmup] == [1, 8]
    assert not plan.HasField("optimization")


# --- the files of a repository ----------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG).write_text(config_of(name, embedder()))
    return tmp_path


def test_writing_makes_every_file_current(repository):
    paths = [repository / name / GPU_CONFIG for name in ("one", "two")]
    assert stale_gpu_configs(repository) == paths
    assert write_gpu_configs(repository) == paths
    assert stale_gpu_configs(repository) == write_gpu_configs(repository) == []
    assert sorted(path.name for path in (repository / "one" / "configs").iterdir()) == ["gpu.pbtxt"]


@pytest.mark.parametrize("change", ["edited", "removed", "source changed"])
def test_stale_file_is_named_and_the_others_are_not(repository, change):
    write_gpu_configs(repository)
    path = repository / "two" / GPU_CONFIG
    if change == "edited":
        path.write_text(path.read_text() + "# mine\n")
    elif change == "removed":
        path.unlink()
    else:
        (repository / "two" / CONFIG).write_text(config_of("two", generator()))
    assert stale_gpu_configs(repository) == [path]


def test_configurations_of_others_are_left_alone(repository):
    mine = repository / "one" / "configs" / "h100.pbtxt"
    mine.parent.mkdir()
    mine.write_text("mine")
    write_gpu_configs(repository)
    assert mine.read_text() == "mine"


def test_unreadable_configuration_is_named(repository):
    (repository / "two" / CONFIG).write_text("name = two")
    with pytest.raises(ConfigurationError, match=r"two/config\.pbtxt is no model configuration"):
        gpu_configs(repository)


def test_folder_without_models_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="no model in"):
        gpu_configs(tmp_path)

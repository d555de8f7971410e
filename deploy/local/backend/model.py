"""Triton backend `onnxruntime`, in Python, for machines without NVIDIA's container.

The server is the real one; only this folder differs from a GPU cluster, where the C++ backend of the same name serves
the same repository. Timings taken here are not those of that backend. Runs inside Triton's Python stub, so it can import
nothing of the project.
"""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

_LEVELS = {
    "-1": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "1": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "2": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def _parameter(config, name, default):
    return config.get("parameters", {}).get(name, {}).get("string_value", default)


def _session_options(config):
    options = onnxruntime.SessionOptions()
    for field in ("intra_op_thread_count", "inter_op_thread_count"):
        setattr(options, field.replace("thread_count", "num_threads"), int(_parameter(config, field, "0")))
    options.enable_mem_pattern = _parameter(config, "enable_mem_pattern", "1") == "1"
    level = str(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = _LEVELS.get(level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    # Idle threads must sleep: on a small machine they would take the cores from the models that work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(config, kind, device):
    providers = []
    available = onnxruntime.get_available_providers()
    if kind == "GPU":
        accelerators = config.get("optimization", {}).get("execution_accelerators", {})
        wanted = {a["name"] for a in accelerators.get("gpu_execution_accelerator", [])}
        if "tensorrt" in wanted and "TensorrtExecutionProvider" in available:
            providers.append(("TensorrtExecutionProvider", {"device_id": device}))
        if "CUDAExecutionProvider" in available:
            providers.append(("CUDAExecutionProvider", {"device_id": device}))
    return [*providers, "CPUExecutionProvider"]


class TritonPythonModel:
    """One instance of one model: a session, and batches run through it."""

    def initialize(self, args):
        if int(np.__version__.split(".")[0]) >= 2:
            # The stub of core 2.51 reads arrays of numpy 2 at the wrong offset: right shapes, no bytes, no error.
            raise pb_utils.TritonModelException(f"numpy {np.__version__} in the stub's environment; numpy < 2 needed")
        config = json.loads(args["model_config"])
        folder = os.path.join(args["model_repository"], args["model_version"])
        path = os.path.join(folder, config.get("default_model_filename") or "model.onnx")
        providers = _providers(config, args["model_instance_kind"], int(args["model_instance_device_id"]))
        try:
            self.session = onnxruntime.InferenceSession(path, _session_options(config), providers=providers)
        except Exception as refused:
            raise pb_utils.TritonModelException(f"onnxruntime cannot load {path}: {refused}") from refused
        on_cpu = args["model_instance_kind"] != "GPU"
        self.rows_per_run = int(_parameter(config, "cpu_rows_per_run", "0")) if on_cpu else 0
        self.outputs = [output.name for output in self.session.get_outputs()]
        pb_utils.Logger.log_info(
            f"{args['model_name']}: onnxruntime {onnxruntime.__version__}, {self.session.get_providers()}, "
            f"{self.session.get_session_options().intra_op_num_threads} threads, stub pid {os.getpid()}"
        )

    def execute(self, requests):
        """Joins the requests of a batch, runs them once, and gives each its part."""
        feeds = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        counts = [len(next(iter(feed.values()))) for feed in feeds]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        try:
            results = self._run(joined if len(feeds) > 1 else feeds[0], sum(counts))
        except Exception as failed:
            error = pb_utils.TritonError(f"onnxruntime: {failed}")
            return [pb_utils.InferenceResponse(error=error) for _ in requests]
        responses = []
        ends = np.cumsum(counts)
        for request, start, end in zip(requests, ends - counts, ends, strict=True):
            wanted = request.requested_output_names()
            tensors = [
                pb_utils.Tensor(name, np.ascontiguousarray(value[start:end]))
                for name, value in zip(self.outputs, results, strict=True)
                if name in wanted
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses

    def _run(self, feed, rows):
        step = self.rows_per_run or rows
        if rows <= step:
            return self.session.run(self.outputs, feed)
        parts = [
            self.session.run(self.outputs, {name: value[i : i + step] for name, value in feed.items()})
            for i in range(0, rows, step)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def finalize(self):
        self.session = None

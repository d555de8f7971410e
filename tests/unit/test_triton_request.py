"""What goes over the wire to Triton is what tritonclient's own messages would say."""

import numpy as np
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from tritonclient.grpc.service_pb2 import ModelInferRequest

from services.anonymizer.triton import _varint, request_of

PHOTO = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": PHOTO},
        {"image": PHOTO[:1, :7, :5]},  # a part of an array, which is not contiguous
        {"image": PHOTO[:, :1, :1]},
        {"latents": np.arange(6, dtype=np.float32).reshape(1, 6), "identity": np.array([[3]], np.int64)},
        {"chips": np.zeros((1, 0), np.float32)},
    ],
)
def test_request_is_that_of_protobuf(inputs):
    wanted = ModelInferRequest(model_name="m")
    for name, value in inputs.items():
        kind = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}[value.dtype.name]
        wanted.inputs.add(name=name, datatype=kind, shape=value.shape)
        wanted.raw_input_contents.append(value.tobytes())
    for name in ("boxes", "scores"):
        wanted.outputs.add(name=name)
    assert ModelInferRequest.FromString(request_of("m", inputs, ("boxes", "scores"))) == wanted


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_383, 16_384, 3 * 1024**2, 2**28 - 1, 2**28, 2**31, 2**40])
def test_length_is_written_as_protobuf_writes_it(value):
    assert _varint(value) == _VarintBytes(value)

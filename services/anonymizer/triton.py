"""The only module that talks to Triton: by the KServe v2 protocol's gRPC, with tritonclient's messages.

Its client would copy a photo's pixels three times on their way into a request; here they are copied once.
"""

import asyncio
from collections.abc import Mapping

import grpc
import numpy as np
from tritonclient.grpc import InferResult
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.utils import np_to_triton_dtype

from services import metrics, tracing
from services.errors import DeadlineExceeded, ModelServerUnavailable

# Tritons behind one name are asked in turn, and a name is looked up again soon after one has gone.
CHANNEL = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),  # a restarted server is found again within a second
]
INFER = "/inference.GRPCInferenceService/ModelInfer"
# Why a request failed, for the metrics: not reachable; not loaded; the model itself failed.
CAUSES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "too_late",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.NOT_FOUND: "not_loaded",
    grpc.StatusCode.INTERNAL: "failed",
    grpc.StatusCode.INVALID_ARGUMENT: "refused",
}
DELIMITED = 2  # protobuf's wire type of bytes


class Triton:
    """A connection to one Triton server. Open it in the event loop that uses it; close it before the server."""

    def __init__(self, url: str, timeout_s: float, max_batch: int = 8):
        self.url, self.timeout_s, self.max_batch = url, timeout_s, max_batch
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL)
        self._infer = self._channel.unary_unary(INFER, response_deserializer=ModelInferResponse.FromString)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "Triton":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray], *outputs: str) -> list[np.ndarray]:
        """Runs a batch through a model; batches beyond `max_batch` rows go as several requests at the same time.

        Args:
            model: name in the model repository.
            inputs: arrays with a common first axis, by input name.
            outputs: names of the outputs wanted.

        Returns:
            The outputs in the order asked for, the first axis that of the inputs.

        Raises:
            ModelServerUnavailable: Triton cannot be reached, refused, or failed.
            DeadlineExceeded: no answer within `timeout_s`.
        """
        rows = len(next(iter(inputs.values())))
        starts = range(0, rows, self.max_batch)
        parts = [{name: value[i : i + self.max_batch] for name, value in inputs.items()} for i in starts]
        tasks = [asyncio.ensure_future(self._request(model, part, outputs)) for part in parts]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # the first failure, or a caller that gives up, ends the other parts
                task.cancel()
        return [np.concatenate(column) if len(column) > 1 else column[0] for column in zip(*answers, strict=True)]

    async def _request(
        self, model: str, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
    ) -> list[np.ndarray]:
        rows = len(next(iter(inputs.values())))
        with metrics.INFERENCE_SECONDS.labels(model).time(), tracing.span("inference", model=model, rows=rows):
            try:
                answer = InferResult(
                    await self._infer(
                        request_of(model, inputs, outputs),
                        timeout=self.timeout_s,
                        metadata=tuple((tracing.headers() or {}).items()),
                    )
                )
            except grpc.RpcError as refused:
                metrics.TRITON_ERRORS.labels(model, CAUSES.get(refused.code(), "other")).inc()
                if refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise DeadlineExceeded(
                        f"the model server did not answer within {self.timeout_s:g} s; try again later"
                    ) from refused
                raise ModelServerUnavailable(
                    "the model server is not available; try again later (operators: see the log of Triton)"
                ) from refused
        values = [answer.as_numpy(name) for name in outputs]
        if any(value is None for value in values):
            metrics.TRITON_ERRORS.labels(model, "incomplete").inc()
            raise ModelServerUnavailable(f"model {model} answered without {', '.join(outputs)}; check its version")
        if any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in values):
            metrics.TRITON_ERRORS.labels(model, "not_finite").inc()
            raise ModelServerUnavailable(
                f"model {model} answered with values that are not numbers; check its conversion"
            )
        metrics.INFERENCE_ROWS.labels(model).inc(len(values[0]))
        metrics.BATCH_ROWS.labels(model).observe(len(values[0]))
        return values


def request_of(model: str, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> bytes:
    """A ModelInferRequest as it goes over the wire, the tensors' bytes copied once.

    A message of protobuf is its fields one after the other: the tensors, its last ones, are added to what protobuf
    wrote of the others.
    """
    request = ModelInferRequest(model_name=model)
    tensors: list[bytes | memoryview] = []
    for name, value in inputs.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(value.dtype), shape=value.shape)
        tag = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | DELIMITED
        tensors += [bytes([tag]), _varint(value.nbytes), np.ascontiguousarray(value).reshape(-1).view(np.uint8).data]
    for name in outputs:
        request.outputs.add(name=name)
    return b"".join([request.SerializeToString(), *tensors])


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that there are more."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])

"""The only module that talks to Triton."""

import asyncio
from collections.abc import Mapping

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

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
TOO_LATE = ("StatusCode.DEADLINE_EXCEEDED",)
# Why a request failed, for the metrics: not reachable; not loaded; the model itself failed.
CAUSES = {
    "StatusCode.DEADLINE_EXCEEDED": "too_late",
    "StatusCode.UNAVAILABLE": "unavailable",
    "StatusCode.NOT_FOUND": "not_loaded",
    "StatusCode.INTERNAL": "failed",
    "StatusCode.INVALID_ARGUMENT": "refused",
}


class Triton:
    """A connection to one Triton server. Open it in the event loop that uses it; close it before the server."""

    def __init__(self, url: str, timeout_s: float, max_batch: int = 8):
        self.url, self.timeout_s, self.max_batch = url, timeout_s, max_batch
        self._client = InferenceServerClient(url, channel_args=CHANNEL)

    async def close(self) -> None:
        await self._client.close()

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
        tensors = []
        for name, value in inputs.items():
            tensors.append(InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
            tensors[-1].set_data_from_numpy(np.ascontiguousarray(value))
        wanted = [InferRequestedOutput(name) for name in outputs]
        rows = len(next(iter(inputs.values())))
        with metrics.INFERENCE_SECONDS.labels(model).time(), tracing.span("inference", model=model, rows=rows):
            try:
                answer = await self._client.infer(
                    model, tensors, outputs=wanted, client_timeout=self.timeout_s, headers=tracing.headers()
                )
            except InferenceServerException as refused:
                metrics.TRITON_ERRORS.labels(model, CAUSES.get(str(refused.status()), "other")).inc()
                if refused.status() in TOO_LATE:
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

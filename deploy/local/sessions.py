"""The models of a repository in this process: what is left of the flow when Triton is taken out of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from conversion.triton_config import CONFIG, parse
from services.anonymizer.triton import Triton
from services.provenance import VERSION_FOLDER, check_model


class Sessions(Triton):
    """Takes a connection's place: the same models with the same options, called where they are needed.

    Args:
        repository: Triton's model repository.
        models: names in it; each file is verified.
        threads: of one inference, whatever the models' configurations say; None: what they say.

    Raises:
        ConversionError: a model is not converted, or was changed since.
    """

    def __init__(self, repository: Path, models: Iterable[str], threads: int | None = 1, max_batch: int = 8):
        self.url, self.timeout_s, self.max_batch = "in this process", 0.0, max_batch
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._rows: dict[str, int] = {}
        for name in models:
            check_model(repository, name)
            parameters = {
                k: v.string_value for k, v in parse((repository / name / CONFIG).read_text()).parameters.items()
            }
            options = session_options(int(parameters.get("intra_op_thread_count", 0)) if threads is None else threads)
            options.enable_mem_pattern = parameters.get("enable_mem_pattern", "1") == "1"
            path = repository / name / VERSION_FOLDER / "model.onnx"
            self._sessions[name] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self._rows[name] = int(parameters.get("cpu_rows_per_run", 0))

    async def close(self) -> None:
        self._sessions.clear()

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray], *outputs: str) -> list[np.ndarray]:
        """As `Triton.infer`, in the caller's own thread."""
        session, rows = self._sessions[model], len(next(iter(inputs.values())))
        step = self._rows[model] or rows
        parts = [
            session.run(list(outputs), {name: value[i : i + step] for name, value in inputs.items()})
            for i in range(0, rows, step)
        ]
        return [np.concatenate(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True)]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """What the local backend of Triton chooses, for that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options

"""Where the parts of a long computation run: on this machine's threads, or on the workers of a Ray cluster."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar

from services.errors import ConfigurationError, WorkersLost

T = TypeVar("T")
R = TypeVar("R")
RETRIES = 5  # of a task whose worker dies
AHEAD = 2  # items under way, for each worker: so many are held in memory

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """Applies a function to items, side by side."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results, in the order of the items. An item's error is raised when its turn comes.

        Args:
            function: a module's own, or a `functools.partial` of one, so that it can be sent to another machine.

        Raises:
            WorkersLost: an item's workers died each time it was tried.
        """
        ...


class LocalEngine:
    """Threads: for functions that let go of Python's lock, as compiled ones do."""

    def __init__(self, workers: int | None = None):
        self.workers = workers or os.cpu_count() or 1

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Any] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(function, item))
                    if len(waiting) >= AHEAD * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


class RayEngine:
    """Tasks of a Ray cluster. A task whose worker dies is run again, and gives the same result."""

    def __init__(self, ray: Any, workers: int):
        self._ray, self.workers = ray, workers

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        task = self._ray.remote(max_retries=RETRIES)(function if hasattr(function, "__name__") else _call)
        leading = () if hasattr(function, "__name__") else (self._ray.put(function),)
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(*leading, item))
                if len(waiting) >= AHEAD * self.workers:
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for reference in waiting:
                self._ray.cancel(reference, force=False)

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as failed:
            raise failed.cause from failed
        except self._ray.exceptions.RayError as failed:
            raise WorkersLost(
                f"the Ray cluster could not do a piece of work, though it was tried {RETRIES + 1} times "
                f"({type(failed).__name__}); see its log for a worker that was killed, perhaps for memory, and run the "
                "same command again"
            ) from failed


def _call(function: Callable[[T], R], item: T) -> R:
    """Ray's tasks are named functions; a partial is sent once, and called by one."""
    return function(item)


@contextmanager
def engine_for(name: str, address: str | None = None, workers: int | None = None) -> Iterator[Engine]:
    """An engine for the length of the block.

    Args:
        name: local or ray.
        address: of a Ray cluster that is running; None: one of its own on this machine, which ends with the block.
        workers: threads, or workers of a Ray of its own; None: as many as there are processors.

    Raises:
        ConfigurationError: an unknown name, Ray is not installed, or no cluster answers at that address.
    """
    if name == "local":
        yield LocalEngine(workers)
        return
    if name != "ray":
        raise ConfigurationError(f"no engine named {name!r}; there are local, ray")
    for variable, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}.items():
        os.environ.setdefault(variable, value)  # no telemetry; and no warning about accelerators
    try:
        import ray
        import ray.exceptions
    except ImportError as missing:
        raise ConfigurationError("the engine ray needs the extra `ray`: pip install 'anonfaces[ray]'") from missing
    own: dict[str, Any] = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False, "log_to_driver": False}
    try:
        ray.init(**({"address": address} if address else own), logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as failed:
        raise ConfigurationError(f"no Ray cluster at {address or 'this machine'}: {failed}") from failed
    try:
        yield RayEngine(ray, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()

"""What became of a request: in the metrics, and as one line of the log. Nothing that the client sent is in either."""

import logging
from time import perf_counter
from typing import Literal

from services import metrics
from services.anonymizer.api.access import caller_name

log = logging.getLogger("anonfaces.access")


def record(protocol: Literal["http", "grpc"], endpoint: str, outcome: str, start: float) -> None:
    """Counts a request that ends now. To be called in its task.

    Args:
        endpoint: as in the metrics, never a path.
        outcome: `ok`, `cancelled`, or the code of an error.
        start: when it began, by `perf_counter`.
    """
    took = perf_counter() - start
    metrics.REQUESTS.labels(protocol, endpoint, outcome).inc()
    metrics.REQUEST_SECONDS.labels(protocol, endpoint).observe(took)
    log.info("%s %s %s key=%s %.1f ms", protocol, endpoint, outcome, caller_name() or "-", 1000 * took)

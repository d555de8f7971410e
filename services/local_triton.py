"""A Triton for one command: the one that was named, or one of its own."""

from collections.abc import Iterator, Set
from contextlib import contextmanager

from services.errors import ConfigurationError
from services.settings import Settings


@contextmanager
def serving(url: str | None, own: Settings, models: Set[str], what: str) -> Iterator[str]:
    """The address of a Triton with some models.

    Args:
        url: of one that runs; None or empty: one is started, and stopped at the end.
        what: names the folder of its logs.

    Raises:
        ConfigurationError: none was named, and this installation has none.
    """
    if url:
        yield url
        return
    try:
        from deploy.local.triton import LocalTriton  # here: where a cluster serves, it is not installed
    except ModuleNotFoundError as absent:
        raise ConfigurationError("this installation has no Triton of its own; name a running one, --triton") from absent
    with LocalTriton(own.model_repository, set(models), own.home / "run" / what) as server:
        yield server.url

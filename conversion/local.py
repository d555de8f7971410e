"""The local Triton, for fits that look at many pictures; in an extra of its own."""

from typing import TYPE_CHECKING

from services.errors import ConfigurationError

if TYPE_CHECKING:
    from deploy.local.triton import LocalTriton


def local_triton() -> type["LocalTriton"]:
    """The class. Raises ConfigurationError where the extra `local` is not installed."""
    try:
        from deploy.local.triton import LocalTriton
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] in ("conversion", "deploy", "services"):
            raise
        raise ConfigurationError(f"fitting needs the package {missing.name}; install the extra `local`") from missing
    return LocalTriton

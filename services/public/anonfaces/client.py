"""The Python client, under the name of the project; see services/client."""

from services.client import *  # noqa: F403
from services.client import __all__ as __all__

"""The service from the other side: a photo out, a photo back, errors as the classes the service raised.

By HTTP or gRPC, blocking or in an event loop, with the same methods:

    with Client("http://127.0.0.1:8080") as client:
        result = client.anonymize(photo, k=10, format="png")
"""

from services.client.blocking import Client
from services.client.calls import Choices, SurrogateChoices
from services.client.failures import ServiceUnreachable
from services.client.nonblocking import AsyncClient
from services.client.place import API_KEY, DEFAULT_URL
from services.client.results import NEAREST_ONLY, Item, Picture, Result
from services.client.retry import ATTEMPTS

__all__ = [
    "API_KEY",
    "ATTEMPTS",
    "DEFAULT_URL",
    "NEAREST_ONLY",
    "AsyncClient",
    "Choices",
    "Client",
    "Item",
    "Picture",
    "Result",
    "ServiceUnreachable",
    "SurrogateChoices",
]

"""The client with an API key and certificates: all four kinds of it, against a service that wants both."""

from typing import Any

import pytest

from services.client import ServiceUnreachable
from services.errors import Forbidden, Unauthenticated
from tests.client_kinds import KINDS, client_of


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, secured: Any) -> Any:
    """Makes clients that trust the service and show it a certificate, unless told otherwise; closes them."""
    made = []

    def client(**arguments: Any) -> Any:
        usual = {
            "ca": secured.authority.certificate,
            "certificate": secured.client.certificate,
            "key": secured.client.key,
            "first_pause_s": 0.001,
        }
        made.append(client_of(request.param, secured.service.url, secured.service.grpc_url, **{**usual, **arguments}))
        return made[-1]

    yield client
    for one in made:
        one.close()


def test_key_opens_what_it_is_for_and_nothing_else(make, secured, astronaut_jpeg):
    client = make(api_key=secured.keys["app"])
    client.require()
    assert client.anonymize(astronaut_jpeg).faces == 1
    assert client.anonymize_batch([("a", astronaut_jpeg)])[0].get().faces == 1
    with pytest.raises(Forbidden):
        client.inspect(astronaut_jpeg)


@pytest.mark.parametrize("key", ["", "anonfaces_of-nobody"])
def test_caller_without_a_key_that_is_known_is_told_so_before_a_photo_is_sent(make, key):
    with pytest.raises(Unauthenticated):
        make(api_key=key).require()


def test_service_wants_a_certificate(make, secured):
    client = make(api_key=secured.keys["app"], certificate=None, key=None)
    with pytest.raises(ServiceUnreachable):
        client.index()


def test_service_that_nobody_vouches_for_is_not_talked_to(make, secured):
    client = make(api_key=secured.keys["app"], ca=None)
    with pytest.raises(ServiceUnreachable):
        client.index()

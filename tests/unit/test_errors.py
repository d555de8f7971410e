"""Each error tells clients apart what happened, by HTTP status, gRPC status, and a code of its own."""

import grpc
import pytest

from services import errors
from services.errors import AnonFacesError


def family(root: type[AnonFacesError] = AnonFacesError) -> list[type[AnonFacesError]]:
    return [root, *(e for child in root.__subclasses__() if child.__module__ == errors.__name__ for e in family(child))]


def test_codes_are_distinct():
    codes = [error.code for error in family()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", family())
def test_code_is_made_for_machines(error):
    assert error.code.replace("_", "").isalpha()
    assert error.code.islower()


@pytest.mark.parametrize("error", family())
def test_http_status_is_an_error_status(error):
    assert 400 <= error.http_status <= 599


@pytest.mark.parametrize("error", family())
def test_grpc_status_is_an_error_status(error):
    assert isinstance(error.grpc_status, grpc.StatusCode)
    assert error.grpc_status is not grpc.StatusCode.OK


CLIENTS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.CANCELLED,
}


@pytest.mark.parametrize("error", family())
def test_both_statuses_blame_the_same_side(error):
    assert (error.http_status < 500) == (error.grpc_status in CLIENTS_FAULT)

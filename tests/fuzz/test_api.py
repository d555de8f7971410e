"""The API against its own description: whatever is sent, the answer is one that /v1/openapi.json tells of."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.fuzz.seeds import seeds

FEW = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
OPERATIONS = ("POST /anonymize", "POST /anonymize:batch", "POST /inspect", "GET /surrogates/{crowd}", "GET /index")
# Photos for where the description says only that some bytes are one; now and then other bytes.
for media in ("image/jpeg", "image/png", "image/webp"):
    schemathesis.openapi.media_type(media, st.sampled_from(list(seeds().values())) | st.binary(max_size=200))


@pytest.fixture(scope="module")
def description(stack) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{stack.url}/v1/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_one_that_is_described(description, operation, mode):
    """Valid requests and invalid ones. What is valid by the description may still be refused: by policy, for its k."""
    if (operation, mode) == ("GET /index", GenerationMode.NEGATIVE):
        pytest.skip("takes nothing that could be wrong")
    method, path = operation.split()

    @FEW
    @given(case=description[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(timeout=60, excluded_checks=[positive_data_acceptance])

    ask()


def test_every_operation_is_tried(description):
    assert {one.ok().label for one in description.get_all_operations()} == set(OPERATIONS)


def test_description_is_valid(description):
    description.validate()


def test_description_names_no_error_of_the_framework(http):
    """A request that cannot be read is a 400 with our own error, and never FastAPI's 422."""
    document = http.get("/v1/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    (content,) = answer["content"].values()
                    assert content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize("query", ["quality=0", "quality=x", "k=1", "format=bmp", "identity=", "unknown=1"])
def test_option_that_is_not_valid_is_a_400_that_names_it(http, query):
    answer = http.post(f"/v1/anonymize?{query}", content=b"x")
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    assert query.partition("=")[0] in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["/v1/surrogates/1%0A", "/v1/surrogates/%0A1", "/v1/surrogates/1/2", "/v1/surrogates/"]
)
def test_path_that_no_route_takes_gets_our_own_404(http, path):
    """A line's end in a path passed by the API and met the server's plain text (found by schemathesis)."""
    answer = http.get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_crowd_that_is_no_number_is_a_400(http: httpx.Client):
    answer = http.get("/v1/surrogates/none")
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")

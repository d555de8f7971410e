"""docs/api.md says what the code does: its tables are made of the models and the errors."""

from services.anonymizer.api.http import ERRORS, api
from services.api_doc import PAGE, answered, document


def test_tables_are_those_of_the_models_and_the_errors():
    assert PAGE.read_text() == document(PAGE.read_text()), "renew them: python -m services.api_doc"


def test_every_path_and_method_is_on_the_page():
    page = PAGE.read_text()
    for path, methods in api.openapi()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} /v1{path}`" in page


def test_openapi_knows_every_status_that_is_answered():
    assert {error.http_status for error in answered()} <= {*ERRORS, 404}

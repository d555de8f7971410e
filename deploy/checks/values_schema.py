"""The chart's values.schema.json, made of values.yaml and of the service's settings, so that a typo is refused.

`python -m deploy.checks.values_schema > deploy/helm/anonfaces/values.schema.json`; a test compares the two.
"""

import json
from typing import Any

import yaml

from deploy.checks.tools import CHART
from services.settings import Settings

# The chart sets these itself; see templates/_env.tpl.
OWNED = {
    "home", "model_repository", "index", "enrolment", "enrolment_maps", "enrolment_key", "host", "port", "grpc_port",
    "api_keys", "allow_anonymous", "open_metrics", "tls_certificate", "tls_key", "tls_client_ca", "otlp_endpoint",
    "triton_url",
}  # fmt: skip
MAPS = {"nodeSelector", "annotations", "labels"}  # of names that nobody here knows
RESOURCES = {"requests", "limits"}
# Objects in lists are Kubernetes' own, by the fields that they have.
PEER = ("namespaceSelector", "podSelector", "ipBlock")
ITEMS = {
    "imagePullSecrets": ("name",),
    "tolerations": ("key", "operator", "value", "effect", "tolerationSeconds"),
    "parents": ("group", "kind", "namespace", "name", "sectionName", "port"),
    **dict.fromkeys(("from", "prometheus", "dns", "collector", "modelSources", "kuberay"), PEER),
}
STRINGS = {"names", "models", "enroll", "build"}  # lists of them; other lists hold objects
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}
SECONDS = r"^[0-9]+(\.[0-9]+)?$"
ENUMS = {
    "pullPolicy": ["Always", "IfNotPresent", "Never"],
    "config": ["cpu", "gpu"],
}
PATTERNS = {
    "digest": r"^(sha256:[0-9a-f]{64})?$",
    "interval": r"^[0-9]+(ms|s|m)$",
    "queueSeconds": SECONDS,
    "tritonQueueSeconds": SECONDS,
    "folder": r"^[A-Za-z0-9._-]*$",
    "run": r"^[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?$",
    "version": r"^([0-9]{4}-[0-9a-f]{12})?$",
}


def document() -> str:
    """The schema as JSON text."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_of(values, "")}
    schema["properties"]["settings"] = _settings()
    schema["properties"]["global"] = {"type": "object"}  # helm's own
    return json.dumps(schema, indent=1) + "\n"


def _of(value: Any, name: str) -> dict[str, Any]:
    """What a value may be, by what it is by default."""
    if isinstance(value, dict):
        if name in MAPS:
            return {"type": "object", "additionalProperties": {"type": "string"}}
        if name in RESOURCES:
            known = dict.fromkeys(("cpu", "memory", "ephemeral-storage"), QUANTITY)
            return {"type": "object", "additionalProperties": False, "properties": known}
        properties = {key: _of(inner, key) for key, inner in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if isinstance(value, list):
        words = {"type": "string", "pattern": r"^[\w./:,=-]+$"}  # no quote, no blank: some are a shell's
        fields = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: {} for key in ITEMS.get(name, ())},
        }
        return {"type": "array", "items": words if name in STRINGS else fields}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0}
    if name in ENUMS:
        return {"enum": ENUMS[name]}
    if name in ("scratch", "size", "sharedMemory"):
        return QUANTITY
    return {"type": "string", **({"pattern": PATTERNS[name]} if name in PATTERNS else {})}


def _settings() -> dict[str, Any]:
    """The settings that an operator may choose, with the bounds that the service itself has."""
    schema = Settings.model_json_schema()
    chosen = {name: field for name, field in schema["properties"].items() if name not in OWNED}
    for field in chosen.values():
        field.pop("title", None)
        field.pop("default", None)
    return {"type": "object", "additionalProperties": False, "properties": chosen}


if __name__ == "__main__":
    print(document(), end="")

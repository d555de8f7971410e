"""Who may reach whom, computed from rendered NetworkPolicies as the specification says (networking.k8s.io/v1).

A pod that no policy selects for a direction is open in it; one that some select allows what any of them allows. A
connection needs both ends: egress of the one who asks, ingress of the one who is asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Labels = Mapping[str, str]
NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """A pod as policies see it; `ports` are those it names."""

    namespace: str
    labels: Labels = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def pods_of(objects: Iterable[Mapping[str, Any]], namespace: str) -> dict[str, Pod]:
    """The pods that rendered objects make, by the name of their Deployment or Pod."""
    found = {}
    for one in objects:
        template = one["spec"].get("template", one) if one["kind"] in ("Deployment", "Pod") else None
        if template is None:
            continue
        containers = template["spec"]["containers"]
        ports = {p["name"]: p["containerPort"] for c in containers for p in c.get("ports", [])}
        found[one["metadata"]["name"]] = Pod(namespace, template["metadata"]["labels"], ports)
    return found


def reaches(policies: Iterable[Mapping[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is allowed.

    Args:
        policies: NetworkPolicy objects, each with its namespace in `metadata` or in the pods' own.
    """
    policies = list(policies)
    out = _allows(policies, "Egress", source, target, target, port, protocol)
    return out and _allows(policies, "Ingress", target, source, target, port, protocol)


def _allows(
    policies: list[Mapping[str, Any]], direction: str, of: Pod, other: Pod, target: Pod, port: int, protocol: str
) -> bool:
    """Whether `of` may speak with `other` in a direction, at a port of `target`."""
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"].get("namespace", of.namespace) == of.namespace
        and direction in policy["spec"].get("policyTypes", ["Ingress"])
        and _matches(policy["spec"]["podSelector"], of.labels)
    ]
    if not selecting:
        return True
    peers = "to" if direction == "Egress" else "from"
    return any(
        _peer(rule.get(peers, []), of.namespace, other) and _port(rule.get("ports", []), target, port, protocol)
        for spec in selecting
        for rule in spec.get(direction.lower()) or []
    )


def _peer(peers: list[Mapping[str, Any]], own_namespace: str, other: Pod) -> bool:
    if not peers:  # a rule without peers is for everybody
        return True
    for peer in peers:
        namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
        if namespaces is None and pods is None:
            continue  # an ipBlock, which is for what is no pod
        here = (
            other.namespace == own_namespace
            if namespaces is None
            else _matches(namespaces, {NAMESPACE_NAME: other.namespace})
        )
        if here and _matches(pods or {}, other.labels):
            return True
    return False


def _port(ports: list[Mapping[str, Any]], target: Pod, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for allowed in ports:
        number = allowed.get("port", port)  # an entry without a port is for all of them
        number = target.ports.get(number) if isinstance(number, str) else number
        if allowed.get("protocol", "TCP") == protocol and number == port:
            return True
    return False


def _matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector selects; an empty one selects everything."""
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for one in selector.get("matchExpressions") or []:
        value, values = labels.get(one["key"]), one.get("values", [])
        kept = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": one["key"] in labels,
            "DoesNotExist": one["key"] not in labels,
        }[one["operator"]]
        if not kept:
            return False
    return True

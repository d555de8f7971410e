"""The rules of NetworkPolicies, as the specification states them, on small examples."""

import pytest

from deploy.checks.reachability import Pod, reaches

WEB, DATA, OTHER = (Pod("a", {"app": name}, {"http": 80}) for name in ("web", "data", "other"))
AWAY = Pod("b", {"app": "web"})


def policy(select: dict, **spec: object) -> dict:
    return {"metadata": {}, "spec": {"podSelector": select, **spec}}


def app(name: str) -> dict:
    return {"matchLabels": {"app": name}}


def test_without_policies_everybody_reaches_everybody():
    assert reaches([], WEB, DATA, 80)
    assert reaches([], AWAY, DATA, 1)


def test_policy_without_rules_lets_nobody_in_and_says_nothing_of_the_way_out():
    closed = [policy(app("data"), policyTypes=["Ingress"])]
    assert not reaches(closed, WEB, DATA, 80)
    assert reaches(closed, DATA, WEB, 80)


def test_rules_of_several_policies_add_up():
    one = policy(app("data"), policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": app("web")}]}])
    two = policy({}, policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": app("other")}]}])
    assert reaches([one, two], WEB, DATA, 80)
    assert reaches([one, two], OTHER, DATA, 80)
    assert not reaches([one, two], WEB, OTHER, 80)


def test_selector_of_pods_alone_means_the_same_namespace():
    rule = [policy(app("data"), policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": app("web")}]}])]
    assert reaches(rule, WEB, DATA, 80)
    assert not reaches(rule, AWAY, DATA, 80)


def test_both_selectors_in_one_peer_must_hold():
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}, "podSelector": app("web")}
    rule = [policy(app("data"), policyTypes=["Ingress"], ingress=[{"from": [peer]}])]
    assert reaches(rule, AWAY, DATA, 80)
    assert not reaches(rule, Pod("b", {"app": "x"}), DATA, 80)
    assert not reaches(rule, WEB, DATA, 80)


@pytest.mark.parametrize(("ports", "port", "allowed"), [
    ([{"port": 80}], 80, True),
    ([{"port": 81}], 80, False),
    ([{"port": "http"}], 80, True),
    ([{"port": "grpc"}], 80, False),
    ([{"port": 80, "protocol": "UDP"}], 80, False),
    ([{"protocol": "TCP"}], 80, True),
    ([], 80, True),
    ([{"port": 81}, {"port": 80}], 80, True),
])  # fmt: skip
def test_ports_by_number_name_and_protocol(ports, port, allowed):
    rule = [policy(app("data"), policyTypes=["Ingress"], ingress=[{"ports": ports}])]
    assert reaches(rule, WEB, DATA, port) is allowed


def test_way_out_must_be_open_as_well():
    rule = [policy(app("web"), policyTypes=["Egress"], egress=[{"to": [{"podSelector": app("other")}]}])]
    assert not reaches(rule, WEB, DATA, 80)
    assert reaches(rule, WEB, OTHER, 80)


def test_expressions():
    select = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}
    rule = [policy(app("data"), policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": select}]}])]
    assert not reaches(rule, WEB, DATA, 80)
    assert reaches(rule, OTHER, DATA, 80)

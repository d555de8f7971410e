"""The rendered chart before a policy checker that nobody here wrote."""

from pathlib import Path

import pytest

from deploy.checks.policy import SKIPPED, CheckerMissing, failures
from tests.deploy.conftest import EVERYTHING, GATEWAY, kinds


def checked(objects: list[dict], folder: Path) -> list[str]:
    try:
        return failures(objects, "faces", folder)
    except CheckerMissing as missing:
        pytest.skip(str(missing))


def test_checkov_finds_nothing_but_what_is_explained(render, tmp_path):
    everything, gateway = (render("gpu-large", more=(more,)) for more in (EVERYTHING, GATEWAY))
    assert checked([*everything, *gateway], tmp_path) == []


def test_checkov_sees_what_is_wrong(render, tmp_path):
    """So that silence means something: rights, an image and a probe that must not pass."""
    objects = render()
    for deployment in kinds(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        container["securityContext"]["privileged"] = True
        container["image"] = container["image"].split(":")[0] + ":latest"
    found = {line.split()[0] for line in checked(objects, tmp_path)}
    assert {"CKV_K8S_16", "CKV_K8S_14"} <= found
    assert not found & SKIPPED.keys()

"""The rendered chart before a policy checker that nobody here wrote."""

import copy
from pathlib import Path

import pytest

from deploy.checks.policy import SKIPPED, CheckerMissing, failures
from tests.deploy.conftest import EVERYTHING, GATEWAY, kinds


@pytest.fixture(scope="module")
def found(render, tmp_path_factory) -> list[str]:
    """What checkov finds in the chart, and in two Deployments beside it that are wrong on purpose."""
    objects = [one for more in (EVERYTHING, GATEWAY) for one in render("gpu-large", more=(more,))]
    wrong = copy.deepcopy(kinds(objects, "Deployment")[:2])
    for deployment in wrong:
        deployment["metadata"]["name"] = f"wrong-{deployment['metadata']['name']}"
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        container["securityContext"]["privileged"] = True
        container["image"] = container["image"].split(":")[0] + ":latest"
    work: Path = tmp_path_factory.mktemp("policy")
    try:
        return failures([*objects, *wrong], "faces", work)
    except CheckerMissing as missing:
        pytest.skip(str(missing))


def test_checkov_finds_nothing_but_what_is_explained(found):
    assert [line for line in found if ".wrong-" not in line] == []


def test_checkov_sees_what_is_wrong(found):
    """So that silence means something."""
    seen = {line.split()[0] for line in found if ".wrong-" in line}
    assert {"CKV_K8S_16", "CKV_K8S_14"} <= seen
    assert not seen & SKIPPED.keys()

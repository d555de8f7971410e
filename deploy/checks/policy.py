"""Checkov over the rendered chart: a policy checker that nobody here wrote."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from services.errors import AnonFacesError, ConfigurationError

CHECKOV = "checkov==3.3.30"
UV = Path(sys.executable).with_name("uv")
# What is not followed, and why. Whatever else checkov finds is a failure.
SKIPPED = {
    "CKV_K8S_8": "liveness of a pod that runs a test and ends",
    "CKV_K8S_9": "readiness of the same pod",
    "CKV_K8S_11": "a limit of CPU holds photos up on a node that has room; requests share the processors",
    "CKV_K8S_15": "tags are versions, which do not change: pulling again makes a start depend on the registry",
    "CKV_K8S_35": "`anonfaces check`, which `helm test` runs, takes its key from the environment",
    "CKV_K8S_43": "digests are the operator's to choose (image.digest), of images that are built elsewhere",
}


class CheckerMissing(AnonFacesError):
    """Checkov cannot be had here."""


def failures(objects: list[dict[str, Any]], namespace: str, work: Path) -> list[str]:
    """What checkov finds wrong in rendered objects, a line each, in checks that are not skipped.

    Args:
        namespace: where they are installed; helm leaves it out of what it renders.
        work: a folder for what checkov reads.

    Raises:
        CheckerMissing: it cannot be installed here.
        ConfigurationError: it did not read the objects.
    """
    placed = [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in objects]
    file = work / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(placed))
    told = _run("--file", str(file), "--skip-check", ",".join(SKIPPED))
    if told["summary"]["parsing_errors"] or not told["summary"]["resource_count"]:
        raise ConfigurationError(f"checkov read nothing: {told['summary']}")
    found = told["results"]["failed_checks"]
    return [f"{one['check_id']} {one['resource']}: {one['check_name']}" for one in found]


def _run(*arguments: str) -> dict[str, Any]:
    command = [str(UV), "tool", "run", "--quiet", "--from", CHECKOV, "checkov", "--framework=kubernetes"]
    command += ["--quiet", "--compact", "--skip-download", "--output=json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise CheckerMissing(f"{CHECKOV} does not run here: {done.stderr.strip()[-300:]}") from None
    return told

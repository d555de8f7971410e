"""docs/operations.md, followed word by word: its commands in their order, in one folder, without a cluster."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.checks import capacity, crds
from deploy.checks.tools import CHART, fetch
from services.api_keys import digest
from services.settings import ROOT, Settings
from tests.deploy.conftest import pod_templates
from tests.security.certificates import Authority

pytestmark = pytest.mark.usefixtures("helm_here")

DOCUMENT = ROOT / "docs" / "operations.md"
STAND_IN = Path(__file__).with_name("stand_in.py")
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOR_HELM = {"faces.yaml", "ingress.yaml", "gateway.yaml", "mtls.yaml", "people.yaml"}
# What an operator brings, and no command of the document makes.
BROUGHT = {"anonfaces-models", "anonfaces-engines", "anonfaces-photos", "anonfaces-populations"}


@dataclass(frozen=True)
class Followed:
    """What came of the document's commands."""

    folder: Path
    said: str
    status: int

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def objects(self, where: str) -> list[dict]:
        texts = [path.read_text() for path in sorted((self.folder / where).glob("*.yaml"))]
        return [one for text in texts for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="module")
def followed(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Follows the document in a folder like a checkout; what needs a cluster or a registry is written down."""
    folder = tmp_path_factory.mktemp("operations")
    for name in ("bin", "rendered", "made"):
        (folder / name).mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    for part in ("indexes/demo", "maps/demo", "keys"):
        shutil.copytree(settings.home / part, folder / ".anonfaces" / part, symlinks=True)
    programs = {"helm": fetch("helm"), "kubectl": fetch("kubectl"), "podman": "none", "make": "none"}
    for name, real in programs.items():
        command = shlex.join([sys.executable, str(STAND_IN), str(folder), name, str(real)])
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    authority = Authority(folder, "ca")
    for name, key in (("service", "service.key"), ("probe", "probe.key.pem")):
        pair = authority.sign(name)
        pair.key.rename(folder / key)
    script = ["set -euo pipefail"]
    for kind, text in BLOCK.findall(DOCUMENT.read_text()):
        if kind == "yaml":
            (folder / text.splitlines()[0].removeprefix("# ")).write_text(text)
        else:
            script.append(text)
    environment = {
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "ANONFACES_HOME": str(folder / ".anonfaces"),
        "KUBECONFIG": "/dev/null",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True
    )
    return Followed(folder, done.stdout + done.stderr, done.returncode)


def test_every_command_of_the_document_works(followed):
    assert followed.status == 0, followed.said[-2000:]
    assert followed.said.count("sound 0001-") == 2  # the index, as it was set up and as it was restored


def test_every_object_that_is_made_or_rendered_on_the_way_is_valid(followed):
    for one in [*followed.objects("made"), *followed.objects("rendered")]:
        try:
            kubernetes_validate.validate(one, crds.KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            crds.check(one)


def test_every_secret_that_a_pod_reads_was_made_before_with_the_keys_that_it_reads(followed):
    made = {
        one["metadata"]["name"]: set(one.get("data", {})) for one in followed.objects("made") if one["kind"] == "Secret"
    }
    read: dict[str, set[str]] = {}
    for spec in pod_templates(followed.objects("rendered")):
        secrets = {v["name"]: v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v}
        assert set(secrets.values()) <= made.keys()
        told = json.dumps(spec)
        for name, secret in secrets.items():
            read.setdefault(secret, set()).update(re.findall(rf"/secrets/{name}/([\w.-]+)", told))
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    read.setdefault(reference["name"], set()).add(reference["key"])
    assert read.keys() >= {"api-keys", "test-key", "map-key", "service-certificate", "probe-certificate", "service-ca"}
    assert all(keys <= made[secret] for secret, keys in read.items())


def test_every_volume_that_a_pod_mounts_is_made_or_is_said_to_be_brought(followed):
    made = {one["metadata"]["name"] for one in followed.objects("made") if one["kind"] == "PersistentVolumeClaim"}
    volumes = [v for spec in pod_templates(followed.objects("rendered")) for v in spec["volumes"]]
    used = {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}
    assert used == made | BROUGHT


def test_every_object_that_a_command_names_is_there(followed):
    there = {
        (one["kind"].lower(), one["metadata"]["name"]) for w in ("made", "rendered") for one in followed.objects(w)
    }
    named = {
        tuple(word.split("/")) for call in followed.calls for word in call if re.fullmatch(r"[a-z]+/[a-z0-9-]+", word)
    }
    named -= {("deploy", "helm")}
    assert named
    assert named <= there


def test_every_file_for_helm_is_one_that_a_command_takes(followed):
    taken = {word for call in followed.calls if call[0] == "helm" for word in call}
    assert FOR_HELM - {"gateway.yaml"} <= taken  # which stands for the ingress


@pytest.mark.parametrize("name", sorted(FOR_HELM))
def test_values_of_the_document_are_values_of_the_chart(followed, name):
    told = [str(fetch("helm")), "template", "town", str(CHART), "-f", "faces.yaml", "-f", name]
    done = subprocess.run(told, cwd=followed.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_sent_to_the_volume_is_the_index_and_its_map_and_no_key(followed):
    with tarfile.open(followed.folder / "sent.tar") as sent:
        names = sent.getnames()
    assert any(name.startswith("indexes/demo/") for name in names)
    assert any(name.endswith(".map") for name in names)
    assert not [name for name in names if name.endswith(".key")]


def test_keys_that_are_handed_out_are_let_in(followed):
    told = json.loads((followed.folder / "keys.json").read_text())
    assert {key["name"] for key in told["keys"]} >= {"app", "probe"}
    hashes = {key["name"]: key["sha256"] for key in told["keys"] if key["name"] == "probe"}
    assert hashes["probe"] == digest((followed.folder / "probe.key").read_text())  # to the letter: no line's end


def test_capacity_table_is_what_its_command_prints():
    assert capacity.markdown(Settings()) in DOCUMENT.read_text()


def test_links_of_the_document_lead_somewhere():
    text = DOCUMENT.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (DOCUMENT.parent / link).exists()] == []
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings

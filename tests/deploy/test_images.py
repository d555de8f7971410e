"""What the Containerfile, the bento and the bills of materials say. The images themselves: `make image-test`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.container import sbom
from deploy.container.images import CONTAINERFILE, TARGETS, main
from services.errors import ConfigurationError
from services.settings import ROOT

NOBODY = "65532:65532"
BASE = re.compile(r"python:3\.11\.\d+-slim-bookworm")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)")


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions, each on one line."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        if found:
            found[name].append((word, rest))
    return found


def lineage(name: str) -> list[tuple[str, str]]:
    """What an image is made by: the instructions of its stage, and before them those of the stages it is made from."""
    told = stages()
    parent = told[name][0][1].split(" AS ")[0]
    return [*(lineage(parent) if parent in told else []), *told[name]]


def pins(lock: str) -> dict[tuple[str, str], set[str]]:
    """Name and version -> hashes of each requirement of a lock's text."""
    lines = re.sub(r"^\s*#.*\n?", "", lock, flags=re.M).replace("\\\n", " ").splitlines()
    found: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        if pin := PINNED.match(line):
            hashes = re.findall(r"--hash=sha256:(\w{64})", line)
            found.setdefault((pin[1].lower(), pin[2]), set()).update(hashes)  # BentoML names itself a second time
    return found


# --- the Containerfile ----------------------------------------------------------------------------------------------


def test_every_image_is_made_upon_one_pinned_base():
    word, rest = instructions()[0]
    assert word == "ARG"
    assert BASE.fullmatch(rest.removeprefix("BASE="))
    told = stages()
    for name, (first, *_) in told.items():
        parent = first[1].split(" AS ")[0]
        assert parent == "${BASE}" or parent in told, name
    assert "latest" not in CONTAINERFILE.read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_as_nobody_and_is_made_of_copies(target):
    told = lineage(target)
    assert [rest for word, rest in told if word == "USER"][-1] == NOBODY
    runs = [rest for word, rest in told if word == "RUN"]
    assert not any(re.search(r"apt|\bpip\b(?!\*)|\buv\b|curl|wget", run) for run in runs), runs
    assert {word for word, _ in told} <= {"FROM", "RUN", "ENV", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert [json.loads(rest) for word, rest in told if word == "ENTRYPOINT"] == [["anonfaces"]]


@pytest.mark.parametrize("target", TARGETS)
def test_environment_of_an_image_holds_settings_and_no_secret(target):
    from services.settings import Settings

    names = {name for word, rest in lineage(target) if word == "ENV" for name in re.findall(r"(\w+)=", rest)}
    ours = {name.removeprefix("ANONFACES_").lower() for name in names if name.startswith("ANONFACES_")}
    assert ours <= Settings.model_fields.keys()
    assert not any(re.search("KEY|SECRET|TOKEN|PASSWORD|PROXY|INDEX_URL", name) for name in names)


def test_whatever_reaches_a_package_index_has_the_builders_secrets_and_hashes():
    script = CONTAINERFILE.with_name("install.sh").read_text()
    runs = [rest for word, rest in instructions() if word == "RUN"]
    reaching = [run for run in runs if re.search(r"install\.sh|pip install|models prepare", run)]
    assert len(reaching) == 8
    assert all("--mount=type=secret,id=certificates" in run for run in reaching)
    for line in [*reaching, *script.splitlines()]:
        if re.search(r"uv pip sync|uv build|pip install(?! --quiet --no-deps)", line):
            assert "--require-hashes" in line, line


def test_image_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="servcie"):
        main(["servcie"])


# --- the bento ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bento(tmp_path_factory) -> Path:
    """`bentoml build`, really run."""
    home = tmp_path_factory.mktemp("bentoml")
    env = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [str(Path(sys.executable).with_name("bentoml")), "build", "--output", "tag", str(ROOT)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, tag = re.search(r"__tag__:(\S+):(\S+)", done.stdout).groups()
    return home / "bentos" / name / tag


def test_bento_holds_the_services_and_nothing_else(bento):
    found = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    named = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "services"], cwd=ROOT, capture_output=True)
    python = {path for path in named.stdout.decode().split() if path.endswith(".py") and (ROOT / path).exists()}
    assert found == python | {"bentofile.yaml", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}


def test_bento_installs_what_is_locked(bento):
    installed = pins((bento / "env" / "python" / "requirements.txt").read_text())
    assert len(installed) > 80
    assert installed == pins((ROOT / "requirements.lock").read_text())


def test_bento_serves_what_the_image_serves(bento):
    from services.serve import SERVICE

    assert yaml.safe_load((bento / "bento.yaml").read_text())["service"] == SERVICE


# --- bills of materials ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _cyclonedx() -> None:
    try:
        sbom.cyclonedx("--version")
    except ConfigurationError as missing:
        pytest.skip(str(missing))


@pytest.mark.usefixtures("_cyclonedx")
def test_bill_names_every_locked_package_with_version_and_hashes(tmp_path):
    bill = json.loads(sbom.write("service", tmp_path).read_text())  # validated by CycloneDX's own tool
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "anonfaces")
    told = {
        (one["name"].lower(), one["version"]): {
            told["content"] for place in one["externalReferences"] for told in place.get("hashes", ())
        }
        for one in bill["components"]
    }
    assert told == pins((ROOT / "requirements.lock").read_text())


@pytest.mark.usefixtures("_cyclonedx")
def test_bill_that_is_not_valid_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sbom.LOCKS, "service", str(tmp_path / "missing.lock"))
    with pytest.raises(ConfigurationError, match="cyclonedx-bom"):
        sbom.write("service", tmp_path)


def test_every_image_has_a_bill_of_the_lock_that_it_installs():
    text = CONTAINERFILE.read_text()
    assert set(sbom.LOCKS.values()) == set(re.findall(r"install\.sh locked (\S+)", text))
    for target in TARGETS:
        (source,) = set(re.findall(r"--from=(\w+)-build", " ".join(rest for _, rest in lineage(target))))
        assert f"FROM tools AS {source}-build\nCOPY {sbom.LOCKS[source]} " in text

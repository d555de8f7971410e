"""The images as production runs them: as nobody, read-only, without a capability, against a real Triton.

Not collected by `make test`, since building takes minutes: `make image-test` builds and runs this file. It is a chain:
the image of models fills a volume, Triton serves it, the image of populations makes an index, the service serves that.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conversion.registry import RECIPES
from deploy.container import images
from deploy.container.podman import HARDENED, RUN, Container, config_of, files_of, podman
from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose
from services.client import Client
from services.errors import AnonFacesError
from services.population.compatibility import served_models
from services.population.index import open_index
from services.processes import free_port
from services.settings import ROOT, Settings

NOBODY = 65532
DEFAULT_ROWS = ("mobile-stylegan", "dlib-resnet", "inversion-mobile-stylegan", "centerface")  # none is optional
GRACE_S = 75  # above the longest request
REPORT = ROOT / "build" / "images.json"
COMPILERS = re.compile(
    r"^((x86_64-linux-gnu-)?(gcc|g\+\+|cc|c\+\+|cpp|ld|as|make)(-\d+)?|clang.*|rustc|cargo|go|nvcc)$"
)
WEIGHTS = {".onnx", ".pb", ".pkl", ".pt", ".pth", ".h5", ".dat", ".tflite", ".caffemodel", ".plan", ".npz"}
SECRETS = {"pip.conf", "uv.toml", ".netrc", ".npmrc", ".env", "keys.json"}
SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")
TRUSTED = "etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    """What images are made and run with."""
    images.require("podman", "runc")


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, object]]:
    """What was measured, for the report."""
    measured: dict[str, object] = {}
    yield measured
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"\n{REPORT.read_text()}")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Folders for volumes, which belong to nobody: as a cluster makes them."""
    folder = tmp_path_factory.mktemp("volumes")
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and "pytest" in parent.name:
            parent.chmod(0o755)
    for name in ("models", "carried", "home"):
        (folder / name).mkdir()
        os.chown(folder / name, NOBODY, NOBODY)
    return folder


def finished(container: Container) -> str:
    """What a container printed that should end well."""
    with container:
        status, said = container.wait(), container.logs()
    assert status == 0, said
    return said


# --- the model repository -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository(volumes, figures) -> Path:
    """The repository that the image of models makes on an empty volume."""
    trusted = Path(os.environ.get("SSL_CERT_FILE", f"/{TRUSTED}"))
    pip = {name: value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY")}
    start = time.monotonic()
    finished(
        Container(
            images.name_of("models"),
            volumes={volumes / "models": "/models", trusted: f"/{TRUSTED}:ro"},
            environment={**pip, "PIP_CERT": f"/{TRUSTED}"},
            network="host",
            scratch="1g",
        )
    )
    figures["models_fetch_and_convert_s"] = round(time.monotonic() - start, 1)
    return volumes / "models" / "repository"


def test_repository_that_is_whole_is_verified_without_a_network(volumes, repository, figures):
    start = time.monotonic()
    said = finished(Container(images.name_of("models"), volumes={volumes / "models": "/models"}))
    figures["models_verify_s"] = round(time.monotonic() - start, 1)
    assert said.count("whole and current") == len(DEFAULT_ROWS)
    assert "fetched" not in said


def test_damaged_model_is_not_served(volumes, repository):
    """Its weights are on the volume still, so it is converted again without a network; into the very same bytes."""
    model = repository / "dlib-resnet" / "1" / "model.onnx"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    with model.open("r+b") as stream:
        stream.write(b"damaged")
    said = finished(Container(images.name_of("models"), volumes={volumes / "models": "/models"}, scratch="1g"))
    assert "converted to dlib-resnet" in said
    assert hashlib.sha256(model.read_bytes()).hexdigest() == before


def test_image_that_carries_its_models_needs_no_network(volumes, repository, figures):
    start = time.monotonic()
    finished(Container(images.name_of("models-carried"), volumes={volumes / "carried": "/models"}))
    figures["models_carried_s"] = round(time.monotonic() - start, 1)
    hashes = [
        {
            path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (volumes / "carried" / "repository", repository)
    ]
    assert hashes[0] == hashes[1]


@pytest.fixture(scope="module")
def triton(repository, tmp_path_factory) -> Iterator[LocalTriton]:
    """A real Triton, serving what the image of models has made."""
    served = {*served_models(Settings(), choose(Settings())), "mobile-stylegan-mapping"}
    with LocalTriton(repository, served, tmp_path_factory.mktemp("triton")) as running:
        yield running


# --- a population ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(volumes, repository, figures) -> Path:
    """The home that the image of populations has made an index in, with a Triton of its own."""
    start = time.monotonic()
    finished(
        Container(
            images.name_of("population"),
            *("population", "demo", "--people", "12", "--k", "4"),
            volumes={volumes / "home": "/var/lib/anonfaces", repository: "/models/repository:ro"},
            scratch="1g",
        )
    )
    figures["population_of_12_s"] = round(time.monotonic() - start, 1)
    return volumes / "home"


def test_population_is_built_without_a_network(home):
    index = open_index(Settings(home=home))
    assert (index.k, int(index.crowds.sizes.sum())) == (4, 12)
    assert index.enrolled is not None


def test_ray_is_found_by_a_login_shell():
    """Such as KubeRay starts it with."""
    shell = ["--rm", "--network=none", "--entrypoint=/bin/bash", images.name_of("population")]
    found = podman(*RUN, *HARDENED, *shell, "-lc", "ray --version && command -v anonfaces")
    assert "ray, version 2." in found
    assert "/opt/anonfaces/bin/anonfaces" in found


# --- the service ----------------------------------------------------------------------------------------------------


def start_service(home: Path, triton_url: str, **more: str) -> tuple[Container, str, str]:
    """A container of the service and its addresses by HTTP and gRPC; ready when that answers."""
    port, grpc_port = free_port(), free_port()
    told = {"HOST": "127.0.0.1", "PORT": str(port), "GRPC_PORT": str(grpc_port), "TRITON_URL": triton_url, **more}
    container = Container(
        images.name_of("service"),
        volumes={home: "/var/lib/anonfaces:ro"},
        environment={f"ANONFACES_{name}": value for name, value in told.items()},
        network="host",
    )
    return container, f"http://127.0.0.1:{port}", f"grpc://127.0.0.1:{grpc_port}"


def wait_until_ready(container: Container, url: str, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    with Client(url) as client:
        while True:
            try:
                return client.require()
            except AnonFacesError:
                assert container.state()["Running"], container.logs()
                assert time.monotonic() < end, container.logs()
                time.sleep(0.1)


@pytest.fixture(scope="module")
def service(home, triton, figures) -> Iterator[tuple[Container, str, str]]:
    start = time.monotonic()
    container, url, grpc_url = start_service(home, triton.url, ENROLMENT="require")
    with container:
        wait_until_ready(container, url)
        figures["service_start_to_ready_s"] = round(time.monotonic() - start, 1)
        yield container, url, grpc_url


@pytest.mark.parametrize("by", ["http", "grpc"])
def test_photo_is_anonymised_by_the_container(service, astronaut_jpeg, by):
    _, url, grpc_url = service
    with Client(url if by == "http" else grpc_url) as client:
        result = client.anonymize(astronaut_jpeg)
    assert (result.faces, result.strangers, result.masked, result.k) == (1, 1, 0, 4)
    assert result.data[:3] == b"\xff\xd8\xff"
    assert result.data != astronaut_jpeg


def test_command_within_the_container_finds_that_it_works(service):
    container, url, _ = service
    said = container.run("anonfaces", "check", "--url", url)
    assert "works: 1 face replaced" in said
    assert "k = 4 for enrolled people" in said


def test_processes_are_nobodys_and_have_no_rights(service):
    container, *_ = service
    script = (
        "import pathlib\n"
        "for status in pathlib.Path('/proc').glob('[0-9]*/status'):\n"
        "    print(*(line.replace('\\t', ' ') for line in status.read_text().splitlines()"
        " if line.startswith(('Uid', 'Gid', 'CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp:'))), sep=';')\n"
    )
    told = container.run("python", "-c", script).strip().splitlines()
    assert len(told) >= 3  # the command, BentoML's supervisor, a worker
    ids = " ".join([str(NOBODY)] * 4)
    none = "0" * 16
    assert set(told) == {f"Uid: {ids};Gid: {ids};CapEff: {none};CapBnd: {none};NoNewPrivs: 1;Seccomp: 2"}


def test_nothing_can_be_written_but_memory(service):
    container, *_ = service
    script = (
        "import os, tempfile\n"
        "for folder, _, _ in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys')): continue\n"
        "    try: tempfile.TemporaryFile(dir=folder).close()\n"
        "    except OSError: continue\n"
        "    print(folder)\n"
    )
    writable = container.run("python", "-c", script).split()
    mounts = [line.split() for line in container.run("cat", "/proc/mounts").splitlines()]
    memory = {mount[1] for mount in mounts if mount[2] == "tmpfs"}
    assert "/tmp" in writable
    for folder in writable:
        assert any(folder == place or folder.startswith(f"{place}/") for place in memory), folder
    on_disk = {mount[1]: mount[3].split(",")[0] for mount in mounts if mount[2] not in ("proc", "sysfs", "tmpfs")}
    kernels = ("/proc", "/sys", "/dev")
    assert {place for place, how in on_disk.items() if how != "ro" and not place.startswith(kernels)} <= {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/run/.containerenv",
    }  # podman's own, which belong to root


def test_photos_leave_nothing_behind_in_the_container(service, astronaut_jpeg):
    container, url, _ = service
    tell = ("find", "/tmp", "-type", "f", "-size", "+16k", "-not", "-name", "*.db")
    with Client(url) as client:
        client.anonymize(astronaut_jpeg)
    assert container.run(*tell).split() == []


def test_log_of_all_this_has_no_traceback_and_no_warning(service):
    container, *_ = service
    assert not re.search(r"Traceback|\[(WARNING|ERROR|CRITICAL)\]", container.logs())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"INDEX": "nowhere"}, "no cluster index"),
        ({"HOST": "0.0.0.0"}, "anonfaces keys add"),
        ({"MAX_FACES": "many"}, "ANONFACES_MAX_FACES"),
    ],
)
def test_container_that_cannot_serve_ends_and_says_why(home, triton, wrong, says):
    container, *_ = start_service(home, triton.url, **wrong)
    with container:
        assert container.wait(60) == 1
        assert says in container.logs()


def test_container_told_to_stop_answers_what_it_has_and_ends_well(home, triton, astronaut_jpeg, figures):
    container, url, _ = start_service(home, triton.url)
    answers: list[object] = []

    def ask() -> None:
        with Client(url) as client:
            answers.append(client.anonymize(astronaut_jpeg))

    with container:
        wait_until_ready(container, url)
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)  # a photo takes longer
        start = time.monotonic()
        status = container.stop(GRACE_S)
        seconds = time.monotonic() - start
        asking.join()
        assert status == 0, container.logs()
    assert seconds < GRACE_S
    assert len(answers) == 1
    figures["service_stop_s"] = round(seconds, 1)


# --- what is in the images ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=images.TARGETS)
def target(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def root(target) -> Iterator[Path]:
    with files_of(images.name_of(target)) as mounted:
        yield mounted


def regular(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def test_image_runs_as_nobody(target, figures):
    config = config_of(images.name_of(target))
    assert config["User"] == f"{NOBODY}:{NOBODY}"
    figures[f"{target}_mb"] = round(config["Size"] / 1e6)


def test_no_file_changes_its_user_or_has_capabilities(root):
    for path in regular(root):
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert "security.capability" not in os.listxattr(path), path


def test_nothing_of_it_belongs_to_the_user_that_runs_it_but_empty_places_for_volumes(root):
    owned = [path for path in root.rglob("*") if path.lstat().st_uid == NOBODY]
    assert all(path.is_dir() and not any(path.iterdir()) for path in owned), owned
    writable = [p for p in root.rglob("*") if not p.is_symlink() and p.stat().st_mode & stat.S_IWOTH]
    assert {str(path.relative_to(root)) for path in writable} <= {"tmp", "var/tmp", "run/lock"}


def test_there_is_no_compiler(root):
    places = [root / folder for folder in ("usr/bin", "usr/local/bin", "bin", "opt/anonfaces/bin")]
    assert [p for place in places if place.is_dir() for p in place.iterdir() if COMPILERS.match(p.name)] == []


def test_there_are_no_weights_but_those_that_were_asked_for(target, root):
    found = {path for path in regular(root) if path.suffix in WEIGHTS and path.stat().st_size > 4096}
    found -= {path for path in found if {"scipy", "matplotlib"} & set(path.parts)}  # tables of numbers, sample plots
    models = {path.parts[-3] for path in found if path.is_relative_to(root / "usr/share/anonfaces/model_repository")}
    assert models == ({m for row in DEFAULT_ROWS for m in RECIPES[row].models} if target == "models-carried" else set())
    fitted = {path.name for path in found if "conversion" in path.parts}
    assert fitted == ({"inversion-mobile-stylegan.npz", "centerface-int8.npz"} if "models" in target else set())
    assert len(found) == len(models) + len(fitted)


def test_there_are_no_secrets_and_nothing_of_the_machine_that_built_it(target, root):
    for path in regular(root):
        assert path.name not in SECRETS, path
        if path.stat().st_size < 1 << 20:
            assert not SECRET.search(path.read_bytes()), path
    told = json.dumps(config_of(images.name_of(target))) + podman("history", "--no-trunc", images.name_of(target))
    assert str(ROOT) not in told
    assert not re.search(r"https?://", told.lower()), told


def test_who_is_trusted_comes_from_the_base_alone(root):
    with files_of(images.local_base()) as base:
        assert (root / TRUSTED).read_bytes() == (base / TRUSTED).read_bytes()


def test_nothing_of_tests_and_tools_is_in_it(target, root):
    packages = next((root / "opt/anonfaces/lib").glob("python3*/site-packages"))
    names = {path.name for path in packages.iterdir()}
    assert not names & {"tests", "pytest", "uv", "setuptools", "wheel", "tensorflow", "ruff", "mypy"}
    ours = {"service": {"services"}, "population": {"services", "deploy"}}.get(target, {"services", "conversion"})
    assert names & {"services", "conversion", "deploy"} == ours
    assert ("pip" in names) == target.startswith("models")
    assert not shutil.which("pip", path=str(root / "usr/local/bin"))

"""The chart's RayJob without a cluster: `make population-test` gives its entrypoint to the job server of a real Ray.

Ray's head and workers are one machine here, and `ray job submit` stands for the KubeRay operator. What the job is told
is what helm renders: entrypoint, environment, probes, models; only paths and addresses are this machine's.
"""

import asyncio
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from deploy.local.process import Server, wait_until
from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose
from services.anonymizer.synthesise import render as render_faces
from services.anonymizer.triton import Triton
from services.population.index import open_index, versions_of
from services.processes import child_environment, free_port
from services.settings import Settings
from tests.deploy.conftest import container, kinds

K, PEOPLE, NEWCOMERS = 4, 8, 4
CHOSEN = f"population.enabled=true,population.k={K},models.claim=m,index.maps.keySecret=map,triton.config=cpu"


@dataclass(frozen=True)
class Place:
    """A Ray, a Triton, and the folders that stand for the volumes."""

    job: dict
    environment: dict[str, str]
    dashboard: str
    triton: str
    folder: Path

    def settings(self) -> Settings:
        """Those of a service that reads the same volumes."""
        key = self.folder / "town.key"
        return Settings(home=self.folder / "home", index="town", enrolment="require", enrolment_key=key)

    def run(self) -> str:
        """Runs the job as it is written. Returns its log."""
        entrypoint = self.job["spec"]["entrypoint"]
        for there, here in (("/photos", str(self.folder / "photos")), ("town-triton:8001", self.triton)):
            assert there in entrypoint
            entrypoint = entrypoint.replace(there, here)
        command = ["ray", "job", "submit", "--address", self.dashboard, "--", *shlex.split(entrypoint)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def objects_here(render) -> list[dict]:
    return render(chosen=CHOSEN, more=(Path(__file__).with_name("values") / "plain.yaml",))


@pytest.fixture(scope="module")
def place(objects_here, tmp_path_factory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("population")
    (folder / "home").mkdir()
    (folder / "town.key").write_text(f"{secrets.token_hex(32)}\n")  # as docs/operations.md makes it
    (folder / "town.key").chmod(0o440)
    (job,) = kinds(objects_here, "RayJob")
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    told = {one["name"]: one["value"] for one in pod["env"]}
    told |= {
        "HOME": str(folder),
        "ANONFACES_HOME": str(folder / "home"),
        "ANONFACES_MODEL_REPOSITORY": str(Settings().model_repository),
        "ANONFACES_ENROLMENT_KEY": str(folder / "town.key"),
    }
    environment = {name: value for name, value in child_environment(**told).items() if "proxy" not in name.lower()}
    gcs, dashboard = free_port(), free_port()
    temporary = Path(f"/tmp/ray-{gcs}")  # the paths of Ray's sockets must be short
    command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += [
        f"--dashboard-port={dashboard}",
        "--dashboard-host=127.0.0.1",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    command += [f"--temp-dir={temporary}", "--disable-usage-stats"]
    models = {
        one.removeprefix("--load-model=") for one in container(objects_here, "triton")["args"] if "--load-model" in one
    }
    with LocalTriton(Settings().model_repository, models, folder / "triton") as triton:
        ray = Server("ray", command, folder / "ray.log", environment)
        try:
            wait_until(lambda: probe(pod["readinessProbe"], environment) == 0, ray, 90, "ready by the chart's probe")
            yield Place(job, environment, f"http://127.0.0.1:{dashboard}", triton.url, folder)
        finally:
            ray.stop()
            shutil.rmtree(temporary, ignore_errors=True)


def probe(told: dict, environment: dict[str, str]) -> int:
    python, *rest = told["exec"]["command"]
    assert python == "python"
    return subprocess.run([sys.executable, *rest], env=environment, capture_output=True).returncode


def add_people(place: Place, first: int, count: int) -> None:
    """Photos of people who do not exist: surrogates of the demo index, a folder each."""

    async def paint() -> None:
        crowds = open_index(Settings()).crowds
        generator = choose(Settings()).generator
        async with Triton(place.triton, timeout_s=120) as triton:
            for number in range(first, first + count):
                picture = (await render_faces(crowds.surrogate_latents[number : number + 1], triton, generator))[0]
                home = place.folder / "photos" / f"person-{number}"
                home.mkdir(parents=True)
                Image.fromarray(picture).save(home / "1.jpg")

    asyncio.run(paint())


def test_job_makes_an_index_that_a_service_opens_and_then_its_next_version(place):
    add_people(place, 0, PEOPLE)
    place.run()
    first = open_index(place.settings())
    assert len(first.enrolled.identities) == PEOPLE
    assert first.crowds.sizes.min() >= K
    place.run()
    assert open_index(place.settings()).version == first.version  # nobody came: nothing is made
    add_people(place, PEOPLE, NEWCOMERS)
    place.run()
    second = open_index(place.settings())
    assert len(second.enrolled.identities) == PEOPLE + NEWCOMERS
    assert [path.name for path in versions_of(place.settings().index_path)] == [first.version, second.version]
    assert not list((place.folder / "home").rglob("*.key"))  # the key stays where it was mounted

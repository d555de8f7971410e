"""From a folder of 300 photos of 120 people to a served index that grows: enrolment is killed twice on the way."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from deploy.local.process import wait_until
from deploy.local.sample_photos import FRESH, UNSEEN_SEED, framed, paste
from deploy.local.stack import LocalStack
from services.anonymizer.latents import PSI
from services.anonymizer.models import find_generator
from services.anonymizer.triton import Triton
from services.population.enroll.store import read_population
from services.population.index import EnrolmentStore, open_index
from services.population.sample import Sampler, sampler_for
from services.settings import Settings
from tests.conftest import as_bytes

PEOPLE, PHOTOS, NEWCOMERS, K = 120, 300, 6, 5
SIDE = 512
COMMAND = [sys.executable, "-c", "from services.cli import app; app()"]
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def home(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an operator with a home of their own; the models are those of the checkout."""
    folder = tmp_path_factory.mktemp("operator")
    return settings.model_copy(update={"home": folder, "index": "town", "index_poll_s": 0.5})


@pytest.fixture(scope="module")
def sampler(settings: Settings) -> Sampler:
    return sampler_for(find_generator("mobile-stylegan-512", settings.model_repository), settings.model_repository)


async def _pictures(people: range, takes: int, sampler: Sampler, url: str) -> np.ndarray:
    """Take number `takes` of some people: another expression, light and background each time. uint8 [n, S, S, 3]."""
    async with Triton(url, timeout_s=120) as triton:
        who = (await sampler.latents(people.stop, 5, triton))[people.start :]
        mood = await sampler.latents(len(who), UNSEEN_SEED + 10 + takes, triton)
        moved = who if takes == 0 else who + FRESH / PSI * (mood - sampler.mean)
        return np.concatenate([await sampler.pictures(moved[i : i + 4], triton) for i in range(0, len(moved), 4)])


def take(people: range, number: int, sampler: Sampler, url: str) -> list[tuple[str, np.ndarray]]:
    """(identity, photo) of each: the picture of a person, smaller and turned a little, on a wall."""
    rng = np.random.default_rng(number)
    photos = []
    for person, picture in zip(people, asyncio.run(_pictures(people, number, sampler, url)), strict=True):
        wall = np.full((SIDE, SIDE, 3), rng.integers(120, 200, 3), np.uint8)
        paste(wall, framed(picture), (SIDE / 2, SIDE / 2), SIDE * rng.uniform(0.75, 0.95), rng.uniform(-8, 8))
        photos.append((f"person {person:03d}", wall))
    return photos


def store(photos: list[tuple[str, np.ndarray]], number: int, folder: Path) -> None:
    for identity, pixels in photos:
        (folder / identity).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / identity / f"{number}.jpg", quality=92)


@pytest.fixture(scope="module")
def album(stack: LocalStack, sampler: Sampler, home: Settings) -> Path:
    folder = home.home / "album"
    for number, people in enumerate((range(PEOPLE), range(PEOPLE), range(PEOPLE // 2))):
        store(take(people, number, sampler, stack.triton.url), number, folder)
    assert len(list(folder.rglob("*.jpg"))) == PHOTOS
    (folder / "person 000" / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    return folder


def environment(home: Settings) -> dict[str, str]:
    told = {"ANONFACES_HOME": home.home, "ANONFACES_MODEL_REPOSITORY": home.model_repository}
    return {**os.environ, **{name: str(value) for name, value in told.items()}}


def run(home: Settings, *arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], env=environment(home), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def killed_after(shards: int, home: Settings, *arguments: str) -> None:
    """Starts a command and kills it, not asking, once it has written so many more shards."""
    folder = home.populations_dir / "town"

    def written() -> int:
        return len(list(folder.rglob("*.parquet")))

    before = written()
    with subprocess.Popen([*COMMAND, *arguments], env=environment(home), stdout=subprocess.DEVNULL) as process:
        while written() < before + shards:
            assert process.poll() is None, "the command was done before it could be killed"
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def enrolled(album: Path, home: Settings) -> dict:
    enroll = ("population", "enroll", str(album), "--name", "town")
    killed_after(1, home, *enroll)
    killed_after(2, home, *enroll)
    return json.loads(run(home, *enroll, "--json", "-"))


def test_killed_and_resumed_enrolment_has_every_photo_once(enrolled, home):
    population = read_population(home.populations_dir / "town")
    assert (len(population.identities), int(population.photos.sum())) == (PEOPLE, PHOTOS)
    assert population.identities.tolist() == [f"person {i:03d}" for i in range(PEOPLE)]
    assert population.photos.tolist() == [3] * (PEOPLE // 2) + [2] * (PEOPLE // 2)
    assert population.latents is not None


def test_statistics_are_a_page_and_json(enrolled, home):
    run(home, "population", "stats", "town")
    told = json.loads(run(home, "population", "stats", "town", "--json", "-"))
    page = (home.populations_dir / "town" / "stats.html").read_text()
    assert not re.search(r"person \d{3}", page + json.dumps(told))
    assert "<svg" in page


@pytest.fixture(scope="module")
def built(enrolled, home) -> dict:
    return json.loads(run(home, "population", "build", "town", "--k", str(K), "--json", "-"))


def test_index_has_crowds_of_k_and_holds_nothing_of_anybody(built, home):
    index = open_index(home)
    assert index.crowds.sizes.min() >= K
    assert index.crowds.sizes.sum() <= PEOPLE  # two who look alike count once
    files = [path for path in (home.home / "indexes").rglob("*") if path.is_file()]
    assert files
    vectors = read_population(home.populations_dir / "town").embeddings
    for path in files:
        data = path.read_bytes()
        assert not re.search(rb"person \d{3}", data)
        assert all(vector[:2].tobytes() not in data for vector in vectors)


@pytest.fixture(scope="module")
def served(built, home, tmp_path_factory):
    with LocalStack(home, work=tmp_path_factory.mktemp("run")) as running:
        yield running


def inspect(served: LocalStack, photo: np.ndarray) -> dict:
    answer = httpx.post(f"{served.url}/v1/inspect", content=as_bytes(photo, "PNG"), headers=PNG, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_new_photos_of_enrolled_people_get_their_crowd(served, home, sampler, stack):
    index = open_index(home)
    crowd = dict(zip(index.enrolled.identities.tolist(), index.enrolled.crowd.tolist(), strict=True))
    right = 0
    for identity, photo in take(range(8), 7, sampler, stack.triton.url):
        (face,) = inspect(served, photo)["faces"]
        right += bool(face["enrolled"]) and face["crowd"] == crowd[identity]
    assert right >= 6  # a fresh photo may be too far from the enrolled ones; it is then a stranger's


def test_index_grows_while_it_is_served(served, home, album, sampler, stack):
    """Newcomers are strangers until there are enough of them; then they have a crowd, without a restart."""
    before = open_index(home)
    people = range(PEOPLE, PEOPLE + NEWCOMERS)
    newcomers = take(people, 0, sampler, stack.triton.url)
    store(newcomers[:2], 0, album)
    run(home, "population", "enroll", str(album), "--name", "town", "--json", "-")
    told = json.loads(run(home, "population", "build", "town", "--k", str(K), "--json", "-"))
    assert told["waiting"] == 2
    assert open_index(home).version == before.version
    store(newcomers, 0, album)
    run(home, "population", "enroll", str(album), "--name", "town", "--json", "-")
    run(home, "population", "build", "town", "--k", str(K), "--json", "-")
    after = open_index(home)
    assert after.crowds.first(len(before.crowds)).same_as(before.crowds).all()
    assert len(after.crowds) == len(before.crowds) + 1
    server = served.service.server
    photo = newcomers[0][1]
    wait_until(lambda: inspect(served, photo)["index_version"] == after.version, server, 60, "serving the new version")
    (face,) = inspect(served, photo)["faces"]
    assert face["enrolled"]
    assert face["crowd"] == len(before.crowds)
    assert "Nobody is singled out" in run(home, "index", "diff", "town", "1")


def test_every_version_verifies_and_can_be_shown(served, home):
    assert run(home, "index", "verify", "town", "--all").count("sound") == len(
        list((home.home / "indexes" / "town").glob("0*"))
    )
    assert json.loads(run(home, "index", "show", "town", "--json", "-"))["k"] == K


def test_removed_person_is_nowhere_any_more(served, home):
    run(home, "population", "remove", "town", "person 003")
    run(home, "population", "build", "town", "--k", str(K), "--json", "-")
    index = open_index(home)
    assert "person 003" not in index.enrolled.identities
    assert len(index.enrolled.removed_tags) == 1
    maps = EnrolmentStore.of(home, "town")
    for path in maps.folder.glob("*.map"):
        assert "person 003" not in maps.read(path.stem).identities

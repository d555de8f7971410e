"""A new version of the index is taken up while the service works; a bad one changes nothing."""

import asyncio
import re
import secrets
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import typer
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from deploy.local.process import wait_until
from deploy.local.stack import Service
from services import metrics, serve
from services.anonymizer.detect import detect
from services.anonymizer.embed import embed
from services.anonymizer.models import choose
from services.anonymizer.options import Options
from services.anonymizer.reload import Reloader
from services.anonymizer.triton import Triton
from services.client import Client
from services.client_cli import anonymize
from services.errors import IndexRefused, StackError
from services.population.index import (
    CROWDS,
    ClusterIndex,
    Crowds,
    Enrolment,
    EnrolmentStore,
    building,
    publish,
)
from services.settings import Settings
from tests.conftest import as_bytes

PNG = {"Content-Type": "image/png"}
POLL_S = 0.2


@dataclass(frozen=True)
class Town:
    """A home of its own with a copy of the demo index, its map and its key."""

    settings: Settings
    first: ClusterIndex

    @property
    def folder(self) -> Path:
        return self.settings.index_path

    @property
    def store(self) -> EnrolmentStore:
        return EnrolmentStore.of(self.settings, self.first.name)

    def publish(self, crowds: Crowds, enrolment: Enrolment) -> ClusterIndex:
        """A version after the first."""
        with building(self.folder):
            told = self.first.manifest["provenance"]
            return publish(self.folder, crowds, enrolment, self.store, self.first.k, 0.5, told, self.first)

    def point(self, version: str) -> None:
        """Makes a version the current one."""
        link = self.folder / ".test-link"
        link.symlink_to(version)
        link.replace(self.folder / "current")

    def damaged(self) -> str:
        """Makes a version with a changed byte the current one."""
        name = f"0009-{secrets.token_hex(6)}"
        shutil.copytree(self.folder / self.first.version, self.folder / name)
        data = bytearray((self.folder / name / CROWDS).read_bytes())
        data[len(data) // 2] ^= 1
        (self.folder / name / CROWDS).write_bytes(data)
        self.point(name)
        return name

    def with_newcomer(self, embedding: np.ndarray) -> ClusterIndex:
        """Publishes a version with one crowd more: somebody, and others as far from each other as people are."""
        people = self.first.enrolled
        others = 2 * people.embeddings.mean(axis=0) - people.embeddings[: self.first.k - 1]
        vectors = np.vstack([embedding[None], others]).astype(np.float32)
        crowds = self.first.crowds
        new = replace(
            crowds.first(1), sizes=np.array([len(vectors)]), centroids=vectors.mean(axis=0, dtype=np.float32)[None]
        )
        number = np.arange(len(vectors)) + people.person.max() + 1
        grown = Enrolment(
            np.append(people.identities, [f"newcomer-{n}" for n in number]),
            np.vstack([people.embeddings, vectors]),
            np.append(people.crowd, np.full(len(vectors), len(crowds))),
            np.append(people.person, number),
        )
        return self.publish(crowds.followed_by(new), grown)


def copy_of(settings: Settings, index: ClusterIndex, home: Path, **changes: object) -> Town:
    """A home of its own, with a copy of the demo index."""
    store = EnrolmentStore.of(settings, index.name)
    if index.enrolment is None:
        pytest.skip("needs the demo index's enrolment map; run `make setup`")
    shutil.copytree(settings.index_path, home / "indexes" / index.name, symlinks=True)
    shutil.copytree(store.folder, home / "maps" / index.name)
    (home / "keys").mkdir()
    shutil.copy2(store.key_file, home / "keys")
    changed = {"home": home, "index": index.name, "index_poll_s": POLL_S, "enrolment_key": None, "enrolment_maps": None}
    return Town(settings.model_copy(update={**changed, **changes}), index)


@pytest.fixture
def town(settings, index, tmp_path) -> Town:
    return copy_of(settings, index, tmp_path / "home")


@pytest.fixture(scope="module")
def person(astronaut) -> np.ndarray:
    """A small photo of somebody who is not enrolled, uint8 [220, 220, 3]."""
    return astronaut[:220, 110:330]


@pytest.fixture(scope="module")
def embedding(person, stack, settings) -> np.ndarray:
    """The person's embedding as the service sees it."""

    async def seen() -> np.ndarray:
        models = choose(settings)
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            (face,) = await detect(person, triton, models.detector, settings.detect_score, settings.detect_min_px)
            return (await embed(person, face.landmarks[None], triton, models.embedder))[0]

    return asyncio.run(seen())


# --- over HTTP, in a service of its own -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    town: Town
    service: Service

    def post(self, path: str, photo: bytes) -> httpx.Response:
        return httpx.post(f"{self.service.url}/v1/{path}", content=photo, headers=PNG, timeout=60)

    def metric(self, series: str) -> float | None:
        found = re.search(rf"^{re.escape(series)} (\S+)$", httpx.get(f"{self.service.url}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else None

    def count(self, outcome: str) -> float:
        return self.metric(f'anonfaces_index_reloads_total{{outcome="{outcome}"}}') or 0.0

    def until(self, check: Callable[[], bool], what: str) -> None:
        wait_until(check, self.service.server, 30, what)

    def serves(self, version: str, resolution: str = "enrolled-first") -> bool:
        series = f'anonfaces_index_info{{resolution="{resolution}",version="{version}"}}'
        return self.metric(series) == 1


@pytest.fixture(scope="module")
def service(settings, index, stack, tmp_path_factory) -> Iterator[Running]:
    town = copy_of(settings, index, tmp_path_factory.mktemp("reload") / "home")
    running = Service(town.settings, stack.triton.url, tmp_path_factory.mktemp("reload-run"))
    running.start()
    yield Running(town, running)
    running.stop()


@pytest.fixture
def running(service) -> Iterator[Running]:
    """The service, at the demo's version before and after."""
    yield service
    service.town.point(service.town.first.version)
    service.until(lambda: service.serves(service.town.first.version), "back at the first version")


def test_new_version_is_served_without_a_failed_request(running, person, embedding):
    photo, first = as_bytes(person, "PNG"), running.town.first
    answers: list[list[tuple[int, str, str]]] = [[] for _ in range(4)]
    enough = threading.Event()

    def client(mine: list[tuple[int, str, str]]) -> None:
        with httpx.Client(timeout=60) as http:
            while not enough.is_set():
                told = http.post(f"{running.service.url}/v1/anonymize", content=photo, headers=PNG)
                headers = told.headers
                version, enrolled = (headers.get(f"x-anonfaces-{name}", "") for name in ("index-version", "enrolled"))
                mine.append((told.status_code, version, enrolled))

    def answered(version: str, times: int) -> bool:
        return all(sum(told[1] == version for told in mine) >= times for mine in answers)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    try:
        running.until(lambda: answered(first.version, 4), "answering from the first version")
        new = running.town.with_newcomer(embedding)
        running.until(lambda: answered(new.version, 4) and sum(map(len, answers)) >= 50, "answering from the new one")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    for mine in answers:
        assert {status for status, _, _ in mine} == {200}
        versions = [version for _, version, _ in mine]
        assert versions == sorted(versions)  # from the old one to the new one, and never back
        assert {(version, enrolled) for _, version, enrolled in mine} == {(first.version, "0"), (new.version, "1")}
    (face,) = running.post("inspect", photo).json()["faces"]
    assert (face["crowd"], face["enrolled"]) == (len(first.crowds), True)
    assert running.metric("anonfaces_index_crowds") == len(new.crowds)
    assert httpx.get(f"{running.service.url}/metrics").text.count("anonfaces_index_info{") == 1


def test_damaged_version_is_counted_and_named_once_and_the_old_one_serves_on(running, person):
    log = running.service.server.log
    refused = running.count("refused")
    name = running.town.damaged()
    running.until(lambda: running.count("refused") == refused + 1, "refusing")
    answer = running.post("anonymize", as_bytes(person, "PNG"))
    assert answer.status_code == 200
    assert answer.headers["x-anonfaces-index-version"] == running.town.first.version
    other = running.town.damaged()  # once this one is refused as well, the first one was looked at several times
    running.until(lambda: running.count("refused") == refused + 2, "refusing the other")
    for version in (name, other):
        assert log.read_text(errors="replace").count(f"index version {version} is refused") == 1


def anonymized_by_command(running: Running, photo: bytes, folder: Path) -> str:
    """What `anonfaces anonymize` says of a photo."""
    app = typer.Typer()
    app.command()(anonymize)
    (folder / "photo.png").write_bytes(photo)
    words = [str(folder / "photo.png"), "--out", str(folder / "out"), "--url", running.service.url]
    return " ".join(CliRunner().invoke(app, words).stdout.split())


def test_without_the_map_the_nearest_crowd_serves_and_no_k_is_claimed(running, person, tmp_path):
    photo, first = as_bytes(person, "PNG"), running.town.first
    map_ = running.town.store.path(first.version)
    hidden = map_.with_suffix(".hidden")
    before = running.post("anonymize", photo).headers
    assert (before["x-anonfaces-resolution"], before["x-anonfaces-k"]) == ("enrolled-first", str(first.k))
    map_.rename(hidden)
    try:
        running.until(lambda: running.serves(first.version, "nearest-only"), "without the map")
        assert running.metric("anonfaces_index_enrolment") == 0
        answer, seen = running.post("anonymize", photo), running.post("inspect", photo)
        assert answer.headers["x-anonfaces-resolution"] == seen.json()["resolution"] == "nearest-only"
        assert not {"x-anonfaces-k"} & (answer.headers.keys() | seen.headers.keys())
        assert (answer.headers["x-anonfaces-enrolled"], answer.headers["x-anonfaces-strangers"]) == ("0", "1")
        (face,) = seen.json()["faces"]
        assert (seen.json()["k"], face["enrolled"]) == (None, None)
        refused = running.post("anonymize?stranger=refuse", photo)
        assert (refused.status_code, refused.json()["error"]) == (422, "stranger_refused")
        assert running.post("anonymize?stranger=mask", photo).headers["x-anonfaces-masked"] == "1"
        with Client(running.service.url) as client:
            result = client.anonymize(photo)
        assert (result.k, result.resolution, result.strangers) == (None, "nearest-only", 1)
        assert "nobody was recognised, no k is claimed" in anonymized_by_command(running, photo, tmp_path)
    finally:
        hidden.rename(map_)
    running.until(lambda: running.serves(first.version, "enrolled-first"), "with the map again")
    assert running.post("anonymize", photo).headers["x-anonfaces-k"] == str(first.k)


def test_service_process_does_not_start_without_the_map_where_it_is_required(town, index, stack, tmp_path, monkeypatch):
    """The launcher's own check is passed by: what counts is that the service does."""
    town.store.path(index.version).unlink()
    required = town.settings.model_copy(update={"enrolment": "require"})
    monkeypatch.setattr(serve, "check", lambda settings: None)
    with pytest.raises(StackError, match="not starting: no enrolment map"):
        Service(required, stack.triton.url, tmp_path / "run").start(timeout_s=40)


def test_index_does_not_open_with_another_key(town):
    town.store.key_file.write_text(secrets.token_hex(32))
    for enrolment in ("auto", "require"):
        with pytest.raises(IndexRefused, match="does not open"):
            asyncio.run(Reloader.start(town.settings.model_copy(update={"enrolment": enrolment}), triton=None))


# --- step by step, against the models alone ---------------------------------------------------------------------------


@pytest.fixture
async def triton(stack) -> AsyncIterator[Triton]:
    async with Triton(stack.triton.url, timeout_s=60) as opened:
        yield opened


def reloads(outcome: str) -> float:
    return REGISTRY.get_sample_value("anonfaces_index_reloads_total", {"outcome": outcome}) or 0.0


async def test_nothing_is_loaded_while_nothing_changes(town, triton):
    reloader = await Reloader.start(town.settings, triton)
    pipeline, loaded = reloader.pipeline, reloads("loaded")
    await reloader.look()
    assert reloader.pipeline is pipeline
    assert reloads("loaded") == loaded


async def test_pictures_of_crowds_that_stay_are_not_rendered_again(town, triton, embedding):
    reloader = await Reloader.start(town.settings, triton)
    kept = await reloader.pipeline.surrogates.get([3, 1])
    new = town.with_newcomer(embedding)
    await reloader.look()
    assert reloader.pipeline.index.version == new.version
    served = await reloader.pipeline.surrogates.get([3, 1])
    assert [a is b for a, b in zip(served, kept, strict=True)] == [True, True]


async def test_picture_of_a_crowd_that_changed_is_rendered_again(town, triton):
    reloader = await Reloader.start(town.settings, triton)
    old = await reloader.pipeline.surrogates.get([2, 4])
    crowds = town.first.crowds
    latents = crowds.surrogate_latents.copy()
    latents[2] = latents[5]
    town.publish(replace(crowds, surrogate_latents=latents), town.first.enrolled)
    await reloader.look()
    changed, same = await reloader.pipeline.surrogates.get([2, 4])
    assert same is old[1]
    assert (changed.image != old[0].image).any()


async def test_photo_in_work_keeps_the_version_it_started_with_and_then_lets_go_of_it(town, triton, person, embedding):
    reloader = await Reloader.start(town.settings, triton)
    old, alive = reloader.pipeline, weakref.ref(reloader.pipeline)
    before = await old.anonymise(as_bytes(person, "PNG"), Options())
    town.with_newcomer(embedding)
    await reloader.look()
    assert reloader.pipeline is not old
    after = await old.anonymise(as_bytes(person, "PNG"), Options())
    assert (after.data, after.count("stranger")) == (before.data, 1)
    assert (await reloader.pipeline.anonymise(as_bytes(person, "PNG"), Options())).count("enrolled") == 1
    del old
    assert alive() is None  # at once: not when the collector happens to run


async def test_version_that_serves_no_more_is_not_in_the_metrics(town, triton, embedding):
    reloader = await Reloader.start(town.settings, triton)
    new = town.with_newcomer(embedding)
    await reloader.look()
    told = re.findall('^anonfaces_index_info.*version="([^"]*)".* 1.0$', metrics.exposition().decode(), re.MULTILINE)
    assert new.version in told  # beside versions of other tests, which serve on
    assert town.first.version not in metrics.exposition().decode()


async def test_refused_version_is_tried_again_only_when_something_changes_on_disk(town, triton, caplog):
    reloader = await Reloader.start(town.settings, triton)
    refused, loaded = reloads("refused"), reloads("loaded")
    name = town.damaged()
    for _ in range(3):
        await reloader.look()
    assert reloads("refused") == refused + 1
    assert sum(name in told.getMessage() for told in caplog.records) == 1
    data = (town.folder / town.first.version / CROWDS).read_bytes()
    (town.folder / name / CROWDS).write_bytes(data)  # mended, which makes it the very version that serves
    await reloader.look()
    assert reloads("loaded") == loaded + 1


async def test_going_back_to_the_version_that_serves_loads_nothing(town, triton):
    reloader = await Reloader.start(town.settings, triton)
    pipeline = reloader.pipeline
    town.damaged()
    await reloader.look()
    town.point(town.first.version)
    await reloader.look()
    assert reloader.pipeline is pipeline


async def test_version_whose_surrogates_the_models_do_not_give_is_refused(town, triton):
    reloader = await Reloader.start(town.settings, triton)
    refused, crowds = reloads("refused"), town.first.crowds
    town.publish(replace(crowds, surrogate_embeddings=crowds.surrogate_embeddings + 0.5), town.first.enrolled)
    await reloader.look()
    assert reloader.pipeline.index.version == town.first.version
    assert reloads("refused") == refused + 1


async def test_version_waits_for_the_map_that_is_required(town, triton, embedding):
    required = town.settings.model_copy(update={"enrolment": "require"})
    reloader = await Reloader.start(required, triton)
    new = town.with_newcomer(embedding)
    map_ = town.store.path(new.version)
    hidden = map_.rename(map_.with_suffix(".hidden"))
    for _ in range(2):
        await reloader.look()
        assert reloader.pipeline.index.version == town.first.version
    hidden.rename(map_)
    await reloader.look()
    assert reloader.pipeline.index.version == new.version
    assert reloader.pipeline.look_up.resolution == "enrolled-first"


async def test_models_that_do_not_answer_are_asked_again_and_counted_once(town, triton, embedding):
    reloader = await Reloader.start(town.settings.model_copy(update={"index_poll_s": 0.0}), triton)
    waiting = reloads("waiting")
    new = town.with_newcomer(embedding)
    async with Triton("127.0.0.1:1", timeout_s=5) as nobody:
        reloader.pipeline.triton = nobody
        for _ in range(2):
            await reloader.look()
        assert (reloader.pipeline.index.version, reloads("waiting")) == (town.first.version, waiting + 1)
    reloader.pipeline.triton = triton
    await reloader.look()
    assert reloader.pipeline.index.version == new.version


async def test_unexpected_failure_leaves_the_old_version_and_says_nothing_of_people(town, triton, caplog, monkeypatch):
    reloader = await Reloader.start(town.settings, triton)
    town.damaged()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("person-00007")

    monkeypatch.setattr("services.anonymizer.reload.open_index", broken)
    await reloader.look()
    assert reloader.pipeline.index.version == town.first.version
    assert "ZeroDivisionError" in caplog.text
    assert "person" not in caplog.text


async def test_links_in_a_circle_are_a_refusal_and_no_crash(town, triton):
    reloader = await Reloader.start(town.settings, triton)
    refused = reloads("refused")
    town.point("current")
    await reloader.look()
    assert reloader.pipeline.index.version == town.first.version
    assert reloads("refused") == refused + 1

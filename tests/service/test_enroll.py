"""`anonfaces population enroll` with the real models in a Triton of its own: photos of people who do not exist."""

import asyncio
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_estimators
from services.anonymizer.triton import Triton
from services.errors import EnrolmentError, ModelServerUnavailable
from services.population.enroll.chunk import Job, enroll_chunk
from services.population.enroll.cli import enroll, remove
from services.population.enroll.making import inverter_for, served_models
from services.population.enroll.shards import shard_files
from services.population.enroll.sources import list_photos
from services.population.enroll.store import read_photos, read_population
from services.population.latents_file import Latents, write_latents
from services.population.sample import sampler_for
from services.settings import ROOT, Settings
from services.settings import settings as process_settings
from tests.conftest import as_bytes

PEOPLE, PHOTOS = 5, 12
LIKE = 0.1  # of the way from a person to another, for each further photo of that person
APP = "from services.population.enroll.cli import enroll; import typer; typer.run(enroll)"

app = typer.Typer()
app.command()(enroll)
app.command()(remove)


@pytest.fixture(scope="module")
def job(settings: Settings) -> Job:
    models = choose(settings)
    for name in ("mobile-stylegan-512", "inversion-mobile-stylegan", "centerface-any-int8", models.embedder.model):
        if not (settings.model_repository / name / "1" / "model.onnx").is_file():
            pytest.skip(f"needs {name}; run `make models`")
    inverter, _ = inverter_for(models, settings.model_repository)
    return Job("", models, inverter, tuple(find_estimators(settings.model_repository)), "dominant", settings)


@pytest.fixture(scope="module")
def url(job: Job, tmp_path_factory) -> Iterator[str]:
    sampler = sampler_for(job.models.generator, job.settings.model_repository)
    served = served_models(job) | set(sampler.models)
    with LocalTriton(job.settings.model_repository, served, tmp_path_factory.mktemp("run")) as running:
        yield running.url


@pytest.fixture(scope="module")
def faces(job: Job, url: str) -> list[np.ndarray]:
    """Photos of five people in turn, uint8 [240, 240, 3]."""
    sampler = sampler_for(job.models.generator, job.settings.model_repository)

    async def draw() -> np.ndarray:
        async with Triton(url, timeout_s=120) as triton:
            people = await sampler.latents(PEOPLE, 31, triton)
            others = await sampler.latents(PHOTOS, 32, triton)
            latents = [people[i % PEOPLE] + LIKE * (others[i] - people[i % PEOPLE]) for i in range(PHOTOS)]
            return await sampler.pictures(np.array(latents, np.float32), triton)

    pictures = asyncio.run(draw())
    return [np.asarray(Image.fromarray(picture).resize((240, 240))) for picture in pictures]


@pytest.fixture(scope="module")
def photos(faces: list[np.ndarray], tmp_path_factory) -> Path:
    """The photos as identity/photo.jpg. Tests copy what they change."""
    folder = tmp_path_factory.mktemp("people") / "photos"
    for number, pixels in enumerate(faces):
        save(folder / f"p{number % PEOPLE}" / f"{number}.jpg", pixels)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv("ANONFACES_HOME", str(tmp_path / "home"))
    process_settings.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    process_settings.cache_clear()


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(pixels, "JPEG", quality=92))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def enrolled(*arguments: object) -> dict:
    done = run("enroll", *arguments, "--json", "-")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def state(folder: Path) -> list[dict]:
    """All that a population holds, in an order of its own."""
    columns = ("photo", "identity", "status", "reason", "bytes", "mtime_ns", "faces", "box", "score", "blur", "yaw")
    rows = read_photos(folder, (*columns, "embedding", "latent", "estimated", "given")).to_pylist()
    return sorted(rows, key=lambda row: row["photo"])


@pytest.fixture(scope="module")
def whole(photos, url, tmp_path_factory) -> tuple[Path, dict]:
    """The photos enrolled in one go, and what was told of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONFACES_HOME", str(tmp_path_factory.mktemp("home")))
        process_settings.cache_clear()
        told = enrolled(photos, "--name", "town", "--triton", url)
    process_settings.cache_clear()
    return Path(told["folder"]), told


# --- a folder -------------------------------------------------------------------------------------------------------


def test_folder_of_people_becomes_a_population(whole, job):
    folder, told = whole
    people = read_population(folder)
    assert people.identities.tolist() == [f"p{i}" for i in range(PEOPLE)]
    assert people.photos.tolist() == [3, 3, 2, 2, 2]
    assert people.embeddings.shape == (PEOPLE, job.models.embedder.dims)
    assert people.latents is not None
    assert people.latents.shape == (PEOPLE, job.models.generator.latent_dims)
    assert people.made_with["inverter"] == "inversion-mobile-stylegan"
    assert set(people.made_with["models_sha256"]) >= {"centerface-192", "dlib-resnet", "inversion-mobile-stylegan"}
    assert (told["statuses"]["enrolled"], told["identities"], told["read"]) == (PHOTOS, PEOPLE, PHOTOS)
    assert told["photos_per_second"] > 0


def test_rows_hold_quality_and_vectors_of_each_photo(whole):
    rows = state(whole[0])
    assert len(rows) == PHOTOS
    for row in rows:
        assert row["score"] > 0.5
        assert row["blur"] > 0
        assert abs(row["yaw"]) < 40
        x0, y0, x1, y1 = row["box"]
        assert 50 < max(x1 - x0, y1 - y0) < 240
        assert np.isfinite(row["embedding"]).all()
        assert np.isfinite(row["latent"]).all()


def test_attributes_are_estimated_where_a_model_is_there(whole, job):
    if not job.estimators:
        pytest.skip("needs an estimator of attributes; run `anonfaces models convert`")
    people = read_population(whole[0])
    assert set(people.attributes) == {name for row in job.estimators for name in row.attributes}
    assert (people.attributes["gender"] != "").any()


def test_same_command_again_reads_nothing_and_changes_nothing(photos, url):
    folder = Path(enrolled(photos, "--name", "town", "--triton", url)["folder"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = enrolled(photos, "--name", "town", "--triton", "127.0.0.1:1")  # nobody is asked
    assert (again["read"], again["kept"], again["statuses"]["enrolled"]) == (0, PHOTOS, PHOTOS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_new_and_changed_photos_are_read_and_others_are_not(faces, photos, url, whole, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    few = tmp_path / "photos"
    (few / "p4" / "9.jpg").unlink()
    first = enrolled(few, "--name", "town", "--triton", url)
    save(few / "p4" / "9.jpg", faces[9])
    save(few / "p0" / "0.jpg", faces[1])  # another face now
    second = enrolled(few, "--name", "town", "--triton", url)
    assert (first["read"], second["read"], second["kept"]) == (PHOTOS - 1, 2, PHOTOS - 2)
    rows = {row["photo"]: row for row in state(Path(second["folder"]))}
    assert len(rows) == PHOTOS
    of_one = {row["photo"]: row for row in state(whole[0])}["p1/1.jpg"]
    np.testing.assert_allclose(rows["p0/0.jpg"]["embedding"], of_one["embedding"], atol=1e-4)


def test_photo_that_was_moved_counts_where_it_is_and_one_that_is_gone_until_it_is_dropped(photos, url, tmp_path):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    enrolled(folder, "--name", "town", "--triton", url)
    (folder / "p0" / "0.jpg").rename(folder / "p1" / "0.jpg")
    (folder / "p2" / "2.jpg").unlink()
    kept = enrolled(folder, "--name", "town", "--triton", url)
    assert kept["gone"] == {"moved": 1, "kept": 1, "dropped": 0}
    assert read_population(Path(kept["folder"])).photos.tolist() == [2, 4, 2, 2, 2]
    dropped = enrolled(folder, "--name", "town", "--triton", url, "--gone", "drop")
    assert dropped["gone"] == {"moved": 0, "kept": 0, "dropped": 1}
    assert read_population(Path(dropped["folder"])).photos.tolist() == [2, 4, 1, 2, 2]
    again = enrolled(folder, "--name", "town", "--triton", url, "--gone", "drop")
    assert (again["read"], again["gone"]) == (0, {"moved": 0, "kept": 0, "dropped": 0})


def test_chunk_of_a_worker_gives_the_same_rows(photos, url, whole, job):
    """What runs on Ray: pickled, sent, and run with a connection of its own."""
    listing = list_photos(photos, None, False)
    work = Job(listing.source, job.models, job.inverter, job.estimators, job.several, job.settings, url)
    work, entries = pickle.loads(pickle.dumps((work, listing.entries[:3])))
    rows = enroll_chunk(work, entries).select(list(state(whole[0])[0])).to_pylist()
    for row, wanted in zip(rows, state(whole[0]), strict=False):
        assert_same(row, wanted)


def assert_same(row: dict, wanted: dict) -> None:
    """Equal in all, vectors up to what the order of a batch's sums can do."""
    for name in wanted:
        if name in ("embedding", "latent", "box", "score", "blur", "yaw"):
            np.testing.assert_allclose(row[name], wanted[name], rtol=1e-4, atol=1e-4, err_msg=name)
        else:
            assert row[name] == wanted[name], name


# --- kill -9 --------------------------------------------------------------------------------------------------------


def test_enrolment_killed_more_than_once_ends_as_one_that_was_not(photos, url, whole, home):
    folder = home / "populations" / "town"
    seen = 0
    for _ in range(2):
        command = [sys.executable, "-c", APP, str(photos), "--name", "town", "--triton", url, "--shard-photos", "2"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            deadline = time.monotonic() + 60
            while len(shard_files(folder)) <= seen and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert child.returncode == -signal.SIGKILL
        assert len(shard_files(folder)) > seen
        seen = len(shard_files(folder))
    with pytest.raises(EnrolmentError, match="did not come to its end"):
        read_population(folder)
    stored = len(read_photos(folder, ("photo",)))
    assert 2 <= stored < PHOTOS
    (folder / "photos" / ".000099.parquet.part").write_bytes(b"half of a shard")
    told = enrolled(photos, "--name", "town", "--triton", url)
    assert told["read"] == PHOTOS - stored
    rows, wanted = state(folder), state(whole[0])
    assert [row["photo"] for row in rows] == [row["photo"] for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        assert_same(row, other)
    people, others = read_population(folder), read_population(whole[0])
    assert people.identities.tolist() == others.identities.tolist()
    assert people.photos.tolist() == others.photos.tolist()
    np.testing.assert_allclose(people.embeddings, others.embeddings, atol=1e-5)
    assert not list(folder.rglob(".*.part"))


def test_triton_that_goes_away_is_an_error_and_what_was_read_stays(photos, home, monkeypatch):
    monkeypatch.setattr("services.population.enroll.chunk.WAITS_S", ())
    with pytest.raises(ModelServerUnavailable):
        run("enroll", photos, "--name", "town", "--triton", "127.0.0.1:1")
    assert not (home / "populations" / "town").exists()  # nothing was: so nothing pretends


# --- photos that cannot be used -------------------------------------------------------------------------------------


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def mixed(tmp_path, faces) -> Path:
    """One good photo among bad ones of every kind."""
    folder = tmp_path / "mixed"
    noise = np.random.default_rng(0).integers(0, 255, (240, 240, 3), np.uint8)
    save(folder / "ann" / "good.jpg", faces[0])
    save(folder / "ann" / "nobody.jpg", noise)
    save(folder / "bea" / "two.jpg", np.hstack([faces[1], faces[2]]))
    save(folder / "cid" / "behind.jpg", np.hstack([faces[3], np.pad(shrunk(faces[4]), ((0, 120), (0, 0), (0, 0)))]))
    save(folder / "loose.jpg", faces[0])
    bad = folder / "dee"
    bad.mkdir()
    (bad / "torn.jpg").write_bytes(as_bytes(faces[0], "JPEG")[:3000])
    (bad / "huge.png").write_bytes(png_that_claims(60_000, 60_000))
    (bad / "text.jpg").write_text("no photo")
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "gone.jpg").symlink_to(bad / "nowhere.jpg")
    (bad / "folder.jpg").mkdir()
    os.mkfifo(bad / "pipe.jpg")
    (bad / "tiny.png").write_bytes(as_bytes(faces[0][:4, :4], "PNG"))
    (bad / "\x1b[31mred\n.jpg").write_bytes(b"")
    save(folder / os.fsdecode(b"m\xfcller") / "1.jpg", faces[1])
    return folder


def shrunk(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((120, 120)))


def test_bad_photos_are_listed_with_reasons_and_stop_nobody(mixed, url, home):
    done = run("enroll", mixed, "--name", "town", "--triton", url)
    assert done.exit_code == 0, done.output
    folder = home / "populations" / "town"
    people = read_population(folder)
    assert people.identities.tolist() == ["ann", "cid", "m\\xfcller"]
    rows = {row["photo"]: row for row in state(folder)}
    statuses = {photo: row["status"] for photo, row in rows.items() if row["status"] != "enrolled"}
    bad = {photo for photo, status in statuses.items() if status == "bad"}
    assert statuses["ann/nobody.jpg"] in ("faceless", "unfit")
    assert statuses["bea/two.jpg"] == "ambiguous"
    assert statuses["loose.jpg"] == "no_identity"
    names = ("torn.jpg", "huge.png", "text.jpg", "empty.jpg", "gone.jpg", "folder.jpg", "pipe.jpg", "tiny.png")
    assert bad == {*(f"dee/{name}" for name in names), "dee/\x1b[31mred\n.jpg"}
    assert "pixels" in rows["dee/huge.png"]["reason"]
    assert "No such file" in rows["dee/gone.jpg"]["reason"]
    listed = (folder / "bad.csv").read_text()
    for name in names:
        assert f"dee/{name}" in listed
        assert f"dee/{name}" in done.output
    assert "\x1b" not in done.output
    assert all(row["reason"] for photo, row in rows.items() if photo in statuses)


def test_policy_says_what_becomes_of_several_faces(mixed, url):
    largest = enrolled(mixed, "--name", "a", "--triton", url, "--several", "largest")
    assert (largest["statuses"]["ambiguous"], largest["statuses"]["enrolled"]) == (0, 4)
    skip = enrolled(mixed, "--name", "a", "--triton", url, "--several", "skip")
    assert (skip["statuses"]["ambiguous"], skip["statuses"]["enrolled"]) == (2, 2)
    assert skip["identities_without_a_photo"] == 3  # bea, cid and dee


def test_folder_without_faces_is_an_error_and_leaves_no_population(tmp_path, url, home):
    save(tmp_path / "photos" / "ann" / "1.jpg", np.zeros((240, 240, 3), np.uint8))
    with pytest.raises(EnrolmentError, match=r"nobody was enrolled: no photo of .* has a face"):
        run("enroll", tmp_path / "photos", "--name", "town", "--triton", url)
    assert not (home / "populations" / "town").exists()


# --- whose photos they are ------------------------------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path, faces) -> Path:
    for number, pixels in enumerate(faces):
        save(tmp_path / "flat" / f"{number:02d}.jpg", pixels)
    return tmp_path / "flat"


def test_identities_and_attributes_come_from_a_file_and_can_change(flat, url, tmp_path):
    who = tmp_path / "who.csv"
    lines = [f"{i:02d}.jpg,p{i % PEOPLE},{'child' if i % PEOPLE == 0 else 'adult'}" for i in range(PHOTOS)]
    who.write_text("\n".join(["photo,identity,age_group", *lines]) + "\n")
    told = enrolled(flat, "--identities", who, "--name", "town", "--triton", url)
    people = read_population(Path(told["folder"]))
    assert people.photos.tolist() == [3, 3, 2, 2, 2]
    assert people.attributes["age_group"].tolist() == ["child", "adult", "adult", "adult", "adult"]
    who.write_text("photo,identity\n00.jpg,p9\n01.jpg,p1\n")
    told = enrolled(flat, "--identities", who, "--name", "town", "--triton", "127.0.0.1:1")
    people = read_population(Path(told["folder"]))
    assert people.identities.tolist() == ["p1", "p9"]  # photos that nobody names any more are nobody's
    assert told["statuses"]["no_identity"] == PHOTOS - 2
    rows = {row["photo"]: row for row in state(Path(told["folder"]))}
    assert np.isnan(rows["05.jpg"]["embedding"]).all()


def test_photos_are_grouped_by_face_and_doubt_is_stated(flat, url, whole, faces):
    told = enrolled(flat, "--group-by-face", "--name", "town", "--triton", url)
    folder = Path(told["folder"])
    rows = state(folder)
    groups = [{i for i, row in enumerate(rows) if row["identity"] == name} for name in {r["identity"] for r in rows}]
    assert sorted(map(sorted, groups)) == sorted([i for i in range(PHOTOS) if i % PEOPLE == p] for p in range(PEOPLE))
    assert (told["grouping"]["groups"], told["identities"]) == (PEOPLE, PEOPLE)
    assert set(told["grouping"]) == {"threshold", "groups", "pairs_near", "photos_near", "least_margin"}
    margins = read_photos(folder, ("group_margin",))["group_margin"].to_pylist()
    assert min(margins) == pytest.approx(told["grouping"]["least_margin"], abs=1e-6)
    save(flat / "12.jpg", faces[3])
    again = enrolled(flat, "--group-by-face", "--name", "town", "--triton", url)
    names = {row["photo"]: row["identity"] for row in rows}
    after = {row["photo"]: row["identity"] for row in state(folder)}
    assert {photo: after[photo] for photo in names} == names  # who was found keeps the name
    assert after["12.jpg"] == names["03.jpg"]
    assert again["read"] == 1
    shown = run("enroll", flat, "--group-by-face", "--name", "town", "--triton", url)
    assert "A person split in two counts twice" in " ".join(shown.output.split())


def test_person_who_was_found_by_face_is_the_same_one_in_a_renamed_photo(faces, url, tmp_path):
    """Else an index would take them for a newcomer, and put them into a second crowd."""
    for number in range(PEOPLE):
        save(tmp_path / "flat" / f"{number}.jpg", faces[number])
    arguments = (tmp_path / "flat", "--group-by-face", "--name", "town", "--triton", url)
    before = {row["photo"]: row["identity"] for row in state(Path(enrolled(*arguments)["folder"]))}
    (tmp_path / "flat" / "0.jpg").rename(tmp_path / "flat" / "renamed.jpg")
    told = enrolled(*arguments)
    after = {row["photo"]: row["identity"] for row in state(Path(told["folder"]))}
    assert told["gone"]["moved"] == 1
    assert after == {**{f"{i}.jpg": before[f"{i}.jpg"] for i in range(1, PEOPLE)}, "renamed.jpg": before["0.jpg"]}


def test_one_person_under_two_names_is_reported(photos, faces, url, home, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    save(tmp_path / "photos" / "again" / "1.jpg", faces[2])
    told = enrolled(tmp_path / "photos", "--name", "town", "--triton", url)
    assert [pair["identities"] for pair in told["duplicates"]["nearest"]] == [["again", "p2"]]
    listed = (home / "populations" / "town" / "duplicates.csv").read_text().splitlines()
    assert listed[0] == "identity,other,distance,photos,photos_of_other"
    assert listed[1].startswith("again,p2,")
    quiet = enrolled(tmp_path / "photos", "--name", "town", "--triton", url, "--duplicate-threshold", "0.0001")
    assert quiet["duplicates"]["pairs"] == 0


def test_removed_people_are_not_enrolled_again_unless_readmitted(photos, url):
    folder = Path(enrolled(photos, "--name", "town", "--triton", url)["folder"])
    assert run("remove", "town", "p1").exit_code == 0
    assert "p1" not in read_population(folder).identities
    refused = enrolled(photos, "--name", "town", "--triton", "127.0.0.1:1")
    assert (refused["refused"], refused["identities"]) == (1, PEOPLE - 1)
    back = enrolled(photos, "--name", "town", "--triton", url, "--readmit")
    assert (back["refused"], back["identities"], back["read"]) == (0, PEOPLE, 3)


def test_photos_of_other_models_are_refused(photos, url, whole, home):
    if not (ROOT / "model_repository" / "mobileface" / "1" / "model.onnx").is_file():
        pytest.skip("needs a second embedder; run `anonfaces models pull mobileface` and convert it")
    shutil.copytree(whole[0], home / "populations" / "town")
    with pytest.raises(EnrolmentError, match="embedder dlib-resnet, not mobileface"):
        run("enroll", photos, "--name", "town", "--triton", url, "--embedder", "mobileface")


def test_embedder_without_an_inversion_leaves_latents_unknown_and_says_so(photos, tmp_path, job):
    """Nothing finds latents of photos of another embedder; nothing else is asked, so no other model is served."""
    models = job.models.model_copy(update={"embedder": job.models.embedder.model_copy(update={"name": "theirs"})})
    inverter, reason = inverter_for(models, job.settings.model_repository)
    assert inverter is None
    assert "fit inversion" in reason


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_arrays_enrol_without_photos(whole, tmp_path):
    people = read_population(whole[0])
    np.savez(tmp_path / "e.npz", embedding=people.embeddings, identity=people.identities)
    latents = people.latents
    write_latents(Latents("mobile-stylegan-1024", people.identities.tolist(), latents), tmp_path / "l.npz")
    told = enrolled("--embeddings", tmp_path / "e.npz", "--latents", tmp_path / "l.npz", "--name", "arrays")
    found = read_population(Path(told["folder"]))
    assert found.identities.tolist() == people.identities.tolist()
    np.testing.assert_array_equal(found.embeddings, people.embeddings)
    np.testing.assert_array_equal(found.latents, latents)
    assert (found.made_with["embedder"], found.made_with["generator"]) == ("dlib-resnet", "mobile-stylegan-1024")
    again = enrolled("--embeddings", tmp_path / "e.npz", "--latents", tmp_path / "l.npz", "--name", "arrays")
    assert (again["read"], again["kept"]) == (0, PEOPLE)


def test_arrays_and_photos_do_not_mix(whole, photos, url, tmp_path):
    np.savez(tmp_path / "e.npz", embedding=read_population(whole[0]).embeddings)
    enrolled("--embeddings", tmp_path / "e.npz", "--name", "town")
    with pytest.raises(EnrolmentError, match="detector None, not centerface"):
        run("enroll", photos, "--name", "town", "--triton", url)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of them"),
        (("PHOTOS", "--embeddings", "FILE"), "one of them"),
        (("PHOTOS", "--latents", "FILE"), "--latents are of --embeddings"),
        (("PHOTOS", "--group-by-face", "--identities", "FILE"), "neither --identities nor arrays"),
        (("PHOTOS", "--engine", "ray", "--address", "ray://x"), "name it with --triton"),
    ],
)
def test_options_that_contradict_each_other_are_refused(photos, tmp_path, arguments, message):
    (tmp_path / "file").write_bytes(b"")
    named = {"PHOTOS": photos, "FILE": tmp_path / "file"}
    with pytest.raises(EnrolmentError, match=message):
        run("enroll", *(named.get(argument, argument) for argument in arguments), "--name", "town")


@pytest.mark.parametrize("option", ["--identities", "--embeddings", "--latents"])
def test_pipe_in_place_of_a_file_is_refused_and_not_waited_for(photos, tmp_path, option):
    """As a shell makes one: `--identities <(...)`. It can be read only once, and a named one may never end."""
    source, sink = os.pipe()
    os.write(sink, b"photo,identity\np0/0.jpg,ann\n")
    os.close(sink)
    np.save(tmp_path / "e.npy", np.eye(3, 128))
    of = {"--identities": [photos], "--latents": ["--embeddings", tmp_path / "e.npy"], "--embeddings": []}[option]
    with pytest.raises(EnrolmentError, match="no regular file"):
        run("enroll", *of, option, f"/dev/fd/{source}", "--name", "town")
    os.close(source)

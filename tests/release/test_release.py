"""`anonfaces release` with the real models: what is released, what never is, and what the proof sees."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from services.anonymizer import pipeline
from services.errors import KNotMet, ModelServerUnavailable, ReleaseError
from services.population.demo import person_name
from tests.release.conftest import COUNTED, NAMES, STRANGER, below, lines_of, pixels_of, private_of, rows_of, run, told


def test_collection_keeps_its_names_and_folders_and_every_face_is_replaced(whole, collection, index, portraits):
    out, _ = whole
    assert {name.removeprefix("photos/") for name in below(out)} - {"manifest.json", "manifest.parquet"} == NAMES
    header, rows = told(out), rows_of(out)
    assert header["photos"] == {"released": 3, "refused": 0}
    assert header["faces"] == {"all": 3, "enrolled": 2, "stranger": 1, "masked": 0}
    assert header["proof"]["faces"] == 3
    stored = dict(zip(index.enrolled.identities.tolist(), index.enrolled.crowd.tolist(), strict=True))
    for number in range(2):
        assert rows[f"{person_name(number)}/{number}.jpg"]["crowds"] == [stored[person_name(number)]]
    stranger = Image.open(out / "photos" / STRANGER)
    assert stranger.format == "PNG"
    assert Image.open(collection / STRANGER).getexif()
    assert not stranger.getexif()
    after = pixels_of(out / "photos" / STRANGER).astype(np.int16)
    assert (np.abs(after - portraits[-1]).max(axis=2) > 8).mean() > 0.05
    assert run("check", out).exit_code == 0


def test_manifest_tells_nothing_of_originals(whole):
    """Their hashes, exact sizes and distances stay in the journal, which is for its owner alone."""
    out, _ = whole
    originals, proofs = lines_of(out, "photo"), lines_of(out, "proof")
    assert len(originals) == len(proofs) == 3
    published = (out / "manifest.json").read_text() + json.dumps(list(rows_of(out).values()))
    for original in originals:
        assert original["sha256"] not in published
        assert str(original["bytes"]) not in published
    assert all(str(distance) not in published for proof in proofs for distance in proof["distances"])
    assert set(next(iter(rows_of(out).values()))) == {
        "path", "refused", "sha256", "bytes", "faces", "enrolled", "strangers", "masked", "crowds",
    }  # fmt: skip
    assert private_of(out).stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in private_of(out).iterdir())


def test_folders_that_are_called_like_enrolled_people_are_told_of(whole):
    assert "2 photos lie in folders that are called like people who are enrolled" in whole[1].stdout


def test_few_people_of_a_crowd_in_the_photos_are_told_of(whole):
    assert "have fewer than k of their people in these photos" in whole[1].stdout


def test_what_cannot_be_released_is_listed_and_absent(release, photos, portraits, tmp_path):
    outside = tmp_path / "outside.jpg"
    Image.fromarray(portraits[-1]).save(outside)
    (photos / "link.jpg").symlink_to(outside)
    (photos / "linked").symlink_to(tmp_path)
    os.mkfifo(photos / "pipe.jpg")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    (photos / "raw.heic").write_bytes(b"x")
    (photos / "names.csv").write_text("who")
    Image.new("RGB", (64, 64), "white").save(photos / "blank.png")
    Path(os.fsdecode(os.fsencode(photos) + b"/bad\xff.jpg")).write_bytes(outside.read_bytes())
    done = release(photos, "--no-verify")
    assert done.exit_code == 0, done.output
    assert told(tmp_path / "out")["proof"] is None
    rows = rows_of(tmp_path / "out")
    assert {path: row["refused"] for path, row in rows.items() if row["refused"]} == {
        "link.jpg": "link",
        "linked": "link",
        "pipe.jpg": "not_a_file",
        "broken.jpg": "unsupported_media_type",
        "raw.heic": "other_format",
        "blank.png": "no_face_found",
        "bad\\xff.jpg": "bad_name",
    }
    assert set(below(tmp_path / "out" / "photos")) == NAMES
    assert "names.csv" not in rows
    assert told(tmp_path / "out")["left_out"] == 1
    assert "blank.png: no_face_found" in done.output
    assert "left out, no photos: .csv 1" in done.output


def test_strangers_are_treated_by_policy(release, photos, tmp_path):
    assert release(photos, "--no-verify", "--stranger", "refuse").exit_code == 0
    assert rows_of(tmp_path / "out")[STRANGER]["refused"] == "stranger_refused"
    assert not (tmp_path / "out" / "photos" / "trip").exists()


def test_masked_face_is_proved_as_well(release, photos, tmp_path):
    done = release(photos, "--stranger", "mask")
    assert done.exit_code == 0, done.output
    assert rows_of(tmp_path / "out")[STRANGER]["masked"] == 1
    assert told(tmp_path / "out")["proof"]["faces"] == 3
    assert "left" not in told(tmp_path / "out")["proof"]["found"]


def test_named_person_gets_their_crowd_whatever_the_face_looks_like(release, photos, tmp_path, index):
    """The stranger's photo is said to be of an enrolled person: it gets that person's crowd, not the nearest."""
    table = tmp_path / "who.csv"
    table.write_text(f'photo,identity\n"{STRANGER}",{person_name(7)}\ngone.jpg,somebody\n')
    done = release(photos, "--no-verify", "--identities", table)
    assert done.exit_code == 0, done.output
    assert "names 1 photos that are not in the folder" in done.output
    stored = dict(zip(index.enrolled.identities.tolist(), index.enrolled.crowd.tolist(), strict=True))
    row = rows_of(tmp_path / "out")[STRANGER]
    assert (row["crowds"], row["enrolled"]) == ([stored[person_name(7)]], 1)


def test_proof_lists_every_face_that_was_left_and_the_release_is_not_whole(release, photos, tmp_path, monkeypatch):
    """Two that should have been replaced, and one that should have been masked."""
    monkeypatch.setattr(pipeline, "blend", lambda pixels, replaced, masked: pixels)
    done = release(photos, "--stranger", "mask")
    assert isinstance(done.exception, ReleaseError)
    assert done.exception.exit_status == 2
    assert done.output.count(": left at") == 3
    assert not (tmp_path / "out" / "manifest.json").exists()
    again = release(photos, "--stranger", "mask", "--withdraw")
    assert again.exit_code == 0, again.output
    assert below(tmp_path / "out" / "photos") == {}
    assert told(tmp_path / "out")["photos"] == {"released": 0, "refused": 3}


def test_surrogate_that_looks_like_who_was_there_fails_the_proof_unless_that_is_counted(
    release, photos, tmp_path, monkeypatch
):
    """A limit beyond all distances makes every surrogate recognisable."""
    monkeypatch.setattr("services.release.verify.limit_of", lambda models: 9.0)
    done = release(photos, "--recognisable", "refuse")
    assert isinstance(done.exception, ReleaseError)
    assert "--recognisable count" in str(done.exception)
    assert done.output.count(": recognisable at") == 3
    assert release(photos).exit_code == 0
    assert told(tmp_path / "out")["proof"]["found"] == {"recognisable": 3}


def test_face_that_the_release_did_not_treat_is_found(release, photos, tmp_path, monkeypatch):
    """The run is made blind to faces; the proof's own look is not."""
    real = pipeline.detect

    async def blind(*args: object) -> list:
        await real(*args)
        return []

    monkeypatch.setattr(pipeline, "detect", blind)
    done = release(photos, "--no-face", "pass")
    assert isinstance(done.exception, ReleaseError)
    assert done.output.count(": unknown at") == 3


def test_verify_proves_anew_and_sees_what_was_changed_since(again, photos, stack):
    verify = ("verify", again, "--triton", stack.triton.url, *COUNTED)
    assert run(*verify).exit_code == 0
    assert len(lines_of(again, "proof")) == 6
    victim = again / "photos" / STRANGER
    good = victim.read_bytes()
    victim.write_bytes((photos / STRANGER).read_bytes())
    for command in (("check", again), verify):
        assert "was changed" in str(run(*command).exception)
    victim.write_bytes(good)
    (again / "photos" / "stray.jpg").write_bytes(b"x")
    assert "is not of this release" in str(run("check", again).exception)


def test_surrogates_alone_are_published_with_the_crowds_of_each_photo(release, photos, tmp_path, index):
    done = release(photos, "--surrogates-only")
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    crowds = {crowd for row in rows_of(out).values() for crowd in row["crowds"]}
    files = {name for name in below(out) if name.startswith("surrogates/")}
    assert files == {f"surrogates/{crowd:06d}.jpg" for crowd in crowds}
    assert set(below(out)) == files | {"manifest.json", "manifest.parquet"}
    header = told(out)
    assert header["condensation"]["surrogates_out"] == len(crowds)
    assert header["condensation"]["people_stood_for"] == int(index.crowds.sizes[sorted(crowds)].sum())
    assert header["surrogates"][str(min(crowds))]["people"] >= index.k
    assert run("check", out).exit_code == 0
    assert pixels_of(out / min(files)).shape == (1024, 1024, 3)


def test_triton_that_is_lost_for_good_ends_the_run_and_loses_nothing(photos, tmp_path):
    done = run(photos, "--out", tmp_path / "out", "--triton", "127.0.0.1:1", "--patience", 0)
    assert isinstance(done.exception, ModelServerUnavailable)
    assert below(tmp_path / "out") == {}
    assert lines_of(tmp_path / "out", "photo") == []


def test_k_that_the_index_does_not_have_is_refused_before_anything_is_written(release, photos, tmp_path, index):
    assert isinstance(release(photos, "--k", index.k + 1).exception, KNotMet)
    assert not (tmp_path / "out").exists()

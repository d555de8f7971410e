"""Which photos are enrolled, whose they are, and which of them have to be read again."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.errors import EnrolmentError
from services.population.enroll.rows import AMBIGUOUS, BAD, ENROLLED, FACELESS, NO_IDENTITY, Row
from services.population.enroll.sources import Rules, is_news, list_photos, read_identities, to_read
from services.population.enroll.writing import Known

RULES = Rules("dominant", "0.5")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for name in ("ann/1.jpg", "ann/deep/2.PNG", "bea/1.webp", "loose.jpg", "ann/notes.txt", ".hid/3.jpg", "ann/4.heic"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def whose(listing) -> dict[str, str | None]:
    return {entry.photo: entry.identity for entry in listing.entries}


def unread(listing) -> dict[str, str]:
    return {row.photo: row.status for row in listing.unread}


def test_first_folder_is_the_identity_and_loose_photos_have_none(photos):
    listing = list_photos(photos, None, False)
    assert whose(listing) == {"ann/1.jpg": "ann", "ann/deep/2.PNG": "ann", "bea/1.webp": "bea"}
    assert unread(listing) == {"loose.jpg": NO_IDENTITY}
    assert listing.others == {".heic": 1}
    assert listing.source == str(photos.resolve())


def test_grouping_by_face_takes_every_photo_and_no_identity(photos):
    listing = list_photos(photos, None, True)
    assert set(whose(listing)) == {"ann/1.jpg", "ann/deep/2.PNG", "bea/1.webp", "loose.jpg"}
    assert set(whose(listing).values()) == {None}
    assert unread(listing) == {}


def test_file_of_identities_says_whose_photos_are_whose(photos, tmp_path):
    file = tmp_path / "who.csv"
    file.write_text(
        "identity,photo,ward,age\n"
        f" Ann ,./ann/1.jpg,7,\nbea,{photos.resolve()}/loose.jpg,8,old\n,bea/1.webp,9,\ncid,gone.jpg,,\n",
        encoding="utf-8-sig",
    )
    listing = list_photos(photos, file, False)
    assert whose(listing) == {"ann/1.jpg": "Ann", "loose.jpg": "bea"}
    given = {entry.photo: dict(entry.given) for entry in listing.entries}
    assert given == {"ann/1.jpg": {"ward": "7"}, "loose.jpg": {"ward": "8", "age": "old"}}
    assert unread(listing) == {"bea/1.webp": NO_IDENTITY, "ann/deep/2.PNG": NO_IDENTITY, "gone.jpg": BAD}


def test_parquet_of_identities_is_the_same_as_csv(photos, tmp_path):
    columns = {"photo": ["ann/1.jpg", "bea/1.webp"], "identity": ["a", None], "ward": pa.array([7, None], pa.int64())}
    pq.write_table(pa.table(columns), tmp_path / "who.parquet")
    listing = list_photos(photos, tmp_path / "who.parquet", False)
    assert whose(listing) == {"ann/1.jpg": "a"}
    assert listing.entries[0].given == {"ward": "7"}


def test_one_name_in_two_spellings_of_its_letters_is_one_person(photos, tmp_path):
    (tmp_path / "who.csv").write_text("photo,identity\nann/1.jpg,Ren\u00e9\nbea/1.webp,Rene\u0301\n", "utf-8")
    assert set(whose(list_photos(photos, tmp_path / "who.csv", False)).values()) == {"Ren\u00e9"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has nothing"),
        (b"photo;identity\na;b\n", "has photo;identity"),
        (b"photo,name\na,b\n", "has photo, name"),
        (b"photo,identity\na,b,c\n", "line 2 has more fields"),
        (b"photo,identity\n\xff,b\n", "UTF-8"),
        (b"photo,identity\nann/1.jpg,a\n./ann/1.jpg,b\n", "is of 'a' and of 'b'"),
        (b"photo,identity\nnone.jpg,a\n", "names none of them"),
    ],
)
def test_files_of_identities_that_do_not_fit_are_refused(photos, tmp_path, content, message):
    (tmp_path / "who.csv").write_bytes(content)
    with pytest.raises(EnrolmentError, match=message):
        list_photos(photos, tmp_path / "who.csv", False)


def test_parquet_that_is_none_is_refused(tmp_path):
    (tmp_path / "who.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(EnrolmentError, match="no CSV"):
        read_identities(tmp_path / "who.parquet", ("photo",))


def test_folder_that_says_nothing_is_refused_and_says_what_to_do(tmp_path):
    with pytest.raises(EnrolmentError, match="no photos in"):
        list_photos(tmp_path, None, False)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(EnrolmentError, match=r"identity/photo\.jpg.*--identities.*--group-by-face"):
        list_photos(tmp_path, None, False)


def test_what_is_called_like_a_photo_and_is_none_is_listed(photos):
    (photos / "ann" / "folder.jpg").mkdir()
    (photos / "linked").symlink_to(photos / "ann")
    listing = list_photos(photos, None, False)
    bad = {row.photo: row.reason for row in listing.unread if row.status == BAD}
    assert set(bad) == {"ann/folder.jpg", "linked"}
    assert bad["ann/folder.jpg"] == "a folder, not a photo"


def test_names_that_are_not_utf8_are_escaped_and_enrolled(photos):
    odd = photos / os.fsdecode(b"m\xfcller") / "1.jpg"
    odd.parent.mkdir()
    odd.write_bytes(b"x")
    listing = list_photos(photos, None, False)
    assert whose(listing)["m\\xfcller/1.jpg"] == "m\\xfcller"
    (photos / "m\\xfcller").mkdir()
    (photos / "m\\xfcller" / "1.jpg").write_bytes(b"x")
    listing = list_photos(photos, None, False)
    assert list(whose(listing)).count("m\\xfcller/1.jpg") == 1
    assert unread(listing)["m\\xfcller/1.jpg"] == BAD


# --- what has to be read again --------------------------------------------------------------------------------------


def known(photos: Path, status: str = ENROLLED, **changes) -> dict[str, Known]:
    info = (photos / "ann/1.jpg").stat()
    of = Known(info.st_size, info.st_mtime_ns, "ann", status, "", 1, RULES.several, RULES.limits)
    return {"ann/1.jpg": of._replace(**changes)}


def is_read(photos: Path, stored: dict[str, Known], rules: Rules = RULES) -> bool:
    entries = [entry for entry in list_photos(photos, None, False).entries if entry.photo == "ann/1.jpg"]
    return bool(to_read(entries, stored, rules))


def test_photo_that_is_known_is_not_read_again(photos):
    assert is_read(photos, {})
    assert not is_read(photos, known(photos))
    assert not is_read(photos, known(photos, FACELESS))
    assert not is_read(photos, known(photos, identity="bea"))  # whose it is can be told without it


def test_photo_that_changed_or_was_bad_is_read_again(photos):
    stored = known(photos)
    os.utime(photos / "ann/1.jpg", ns=(0, 1))
    assert is_read(photos, stored)
    assert is_read(photos, known(photos, BAD))
    assert is_read(photos, known(photos, NO_IDENTITY))
    assert is_read(photos, known(photos, bytes=7))


def test_photo_is_read_again_under_other_rules_if_they_could_decide_otherwise(photos):
    others = Rules("largest", RULES.limits)
    assert not is_read(photos, known(photos), others)  # it has one face
    assert is_read(photos, known(photos, AMBIGUOUS, faces=2), others)
    assert is_read(photos, known(photos), Rules(RULES.several, "0.6"))


def test_row_that_says_the_same_again_is_no_news():
    row = Row("/p", "a.jpg", BAD, "ann", reason="torn")
    same = {"a.jpg": Known(-1, -1, "ann", BAD, "torn", 0, "", "")}
    assert not is_news(row, same)
    assert is_news(row, {})
    assert is_news(row, {"a.jpg": same["a.jpg"]._replace(reason="empty")})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("photo,identity\n", "names nobody: there is nothing below its header"),
        ("photo,identity,identity\na.jpg,ann,bea\n", "two columns called 'identity'"),
        ("photo,identity,age, age\na.jpg,ann,child,adult\n", "two columns called 'age'"),
        ('photo,identity\n"a.jpg,ann\nb.jpg,bea\n', "unexpected end of data"),
        ("photo,identity,age\na.jpg,ann,child\n./a.jpg,ann,adult\n", "of a.jpg that age is 'child', and 'adult'"),
    ],
)
def test_csv_that_says_nothing_or_two_things_is_refused(photos, tmp_path, text, says):
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(EnrolmentError, match=says):
        list_photos(photos, tmp_path / "who.csv", False)


def test_one_spelling_counts_of_attributes_and_of_columns(tmp_path):
    """Two spellings of one illness would be two values, and a crowd of people who all have it diverse."""
    (tmp_path / "who.csv").write_text(
        "photo, identity ,gro\u0308\u00dfe,\na.jpg,ann,Gru\u0308n,\nb.jpg,bea,\u00a0Gr\u00fcn ,\n", encoding="utf-8"
    )
    rows = read_identities(tmp_path / "who.csv", ("photo", "identity"))
    assert [row.identity for row in rows] == ["ann", "bea"]
    assert [row.given for row in rows] == [{"gr\u00f6\u00dfe": "Gr\u00fcn"}] * 2


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([7.0, None]), ["7", None]),
        (pa.array([7.5, float("nan")]), ["7.5", None]),
        (pa.array([b"Zo\xc3\xab", b"bea"]), ["Zo\u00eb", "bea"]),
        (pa.array(["ann", "bea"]).dictionary_encode(), ["ann", "bea"]),
        (pa.array(["ann", None], pa.large_string()), ["ann", None]),
    ],
    ids=["int", "float", "nan", "binary", "dictionary", "large"],
)
def test_identity_is_one_name_however_a_parquet_file_keeps_it(tmp_path, values, names):
    """Else 7 of one file and 7.0 of another would be two people."""
    pq.write_table(pa.table({"photo": ["a.jpg", "b.jpg"], "identity": values}), tmp_path / "who.parquet")
    assert [row.identity for row in read_identities(tmp_path / "who.parquet", ("identity",))] == names


@pytest.mark.parametrize("values", [[["ann"], ["bea"]], [{"name": "ann"}, {"name": "bea"}]], ids=["list", "struct"])
def test_identities_that_are_no_single_values_are_refused(tmp_path, values):
    pq.write_table(pa.table({"photo": ["a.jpg", "b.jpg"], "identity": values}), tmp_path / "who.parquet")
    with pytest.raises(EnrolmentError, match="is no single value"):
        read_identities(tmp_path / "who.parquet", ("identity",))


def test_folders_of_a_parquet_files_path_are_no_attributes_and_two_columns_of_one_name_are_refused(tmp_path):
    file = tmp_path / "city=paris" / "who.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table({"photo": ["a.jpg"], "identity": ["ann"]}), file)
    assert read_identities(file, ("identity",))[0].given == {}
    names = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["photo", "identity", "identity"])
    pq.write_table(names, file)
    with pytest.raises(EnrolmentError, match="two columns called 'identity'"):
        read_identities(file, ("identity",))


def test_absolute_path_leads_to_a_photo_through_a_linked_folder_too(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "who.csv").write_text(f"photo,identity\n{tmp_path}/link/loose.jpg,ann\n{photos}/ann/1.jpg,bea\n")
    assert whose(list_photos(tmp_path / "link", tmp_path / "who.csv", False)) == {
        "loose.jpg": "ann",
        "ann/1.jpg": "bea",
    }

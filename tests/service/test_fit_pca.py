"""`models fit pca` on a folder of photos, with the real detector in a Triton of its own."""

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from conversion import fit_cli
from conversion.pca.file import load
from services.anonymizer.models import find_embedder
from services.errors import AnonFacesError, ConfigurationError, ConversionError
from services.population.faces import Tally, find_photos
from services.provenance import check_model
from services.settings import ROOT, Settings

PEOPLE = 12
MODELS = ROOT / "model_repository"
NEEDED = ("centerface-192", "centerface-any-int8", "mobile-stylegan-mapping", "mobile-stylegan-512")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fit_cli.app, ["pca", *map(str, arguments)])


def onnx_answer(model: Path, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.fixture(scope="module")
def portraits() -> np.ndarray:
    """People who do not exist, uint8 [PEOPLE, 512, 512, 3]."""
    try:
        for name in NEEDED:
            check_model(MODELS, name)
    except AnonFacesError as missing:
        pytest.skip(f"needs the converted models; run `anonfaces models convert` ({missing})")
    z = np.random.default_rng(5).standard_normal((300, 512), dtype=np.float32)
    w = onnx_answer(MODELS / "mobile-stylegan-mapping", z=z)
    truncated = w.mean(axis=0) + 0.7 * (w[:PEOPLE] - w.mean(axis=0))
    return onnx_answer(MODELS / "mobile-stylegan-512", w=truncated)


def jpeg(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=95)
    return sink.getvalue()


@pytest.fixture(scope="module")
def photos(portraits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Portraits in two folders, one photo of two people, one of nobody, a broken one, and a text file."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "album" / "[2020]").mkdir(parents=True)
    for number, picture in enumerate(portraits[:-2]):
        place = folder / ("album/[2020]" if number % 2 else "album")
        (place / f"{number}.JPG").write_bytes(jpeg(picture))
    (folder / "two.png.jpeg").write_bytes(jpeg(np.hstack([cv2.resize(p, (256, 256)) for p in portraits[-2:]])))
    (folder / "nobody.jpg").write_bytes(jpeg(np.full((300, 300, 3), 90, np.uint8)))
    (folder / "album" / "[2020]" / "broken.jpg").write_bytes(jpeg(portraits[0])[:5000])
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.jpg").write_bytes(jpeg(portraits[0]))
    return folder


@pytest.fixture(scope="module")
def fitted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The command's answer, and the folder with its repository and file."""
    folder = tmp_path_factory.mktemp("fitted")
    where = ("--repository", folder / "repository", "--out", folder / "mine.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_cli, "settings", lambda: Settings(home=folder / "home"))
        return run("--photos", photos, "--dims", 10, "--whiten", "--name", "eigen", *where), folder


def test_command_succeeds_despite_bad_photos(fitted):
    result, _ = fitted
    assert result.exit_code == 0, result.output


def test_every_face_is_used(fitted):
    assert load(fitted[1] / "mine.npz").chips == PEOPLE
    assert f"faces used {PEOPLE}" in fitted[0].output


def test_photos_are_counted_and_bad_ones_listed_with_the_reason(fitted):
    output = fitted[0].output
    assert f"photos read {PEOPLE} (without a face 1, with several 1), bad 1;" in output
    assert "[2020]/broken.jpg: the image is truncated or corrupt" in output
    assert "notes.txt" not in output


def test_explained_variance_is_shown(fitted):
    ratios = load(fitted[1] / "mine.npz").explained_variance_ratio
    assert f"explained variance {ratios.sum():.2%}" in fitted[0].output


def test_published_embedder_answers_as_fitted(fitted, portraits):
    """Its chips need not be faces to compare two programs; a resized portrait will do."""
    folder = fitted[1]
    row = find_embedder("eigen", folder / "repository")
    chips = np.stack([cv2.resize(p, (row.chip_px, row.chip_px), interpolation=cv2.INTER_AREA) for p in portraits])
    embeddings = onnx_answer(folder / "repository" / row.model, chips=chips)
    assert embeddings.shape == (PEOPLE, row.dims)
    assert check_model(folder / "repository", "eigen")["parity"]["value"] < 1e-5
    apart = np.linalg.norm(embeddings[:, None] - embeddings, axis=2) + 1e9 * np.eye(PEOPLE)
    assert apart.min() > 0.1  # whitened: different people are about a deviation apart


def test_too_few_faces_are_refused_and_nothing_is_published(photos, tmp_path, monkeypatch):
    async def nobody(*_: object) -> None:
        """Reads photos without a face."""

    monkeypatch.setattr(fit_cli, "_read", nobody)
    result = run("--photos", photos, "--dims", 10, "--repository", tmp_path / "repository")
    assert isinstance(result.exception, ConversionError)
    assert "0 faces were found, and 10 dimensions need 11" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


# --- refused before anything is read ----------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [9, 257])
def test_dimensions_out_of_range_are_a_usage_error(tmp_path, dims):
    assert run("--photos", tmp_path, "--dims", dims).exit_code == 2


@pytest.mark.parametrize("name", ["../evil", "", "dlib-resnet"])
def test_name_that_cannot_be_published_is_refused(tmp_path, name):
    (tmp_path / "a.jpg").write_bytes(b"")
    result = run("--photos", tmp_path, "--name", name, "--repository", tmp_path)
    assert isinstance(result.exception, ConversionError)
    assert "name" in str(result.exception)


def test_folder_without_photos_is_refused_saying_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    result = run("--photos", tmp_path)
    assert isinstance(result.exception, ConversionError)
    assert ".jpg .jpeg .png .webp" in str(result.exception)


def test_place_for_the_file_that_is_not_there_is_refused(tmp_path):
    result = run("--photos", tmp_path, "--out", tmp_path / "missing" / "pca.npz")
    assert isinstance(result.exception, ConfigurationError)


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    for module in [name for name in sys.modules if name.startswith("deploy.local")]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "a.jpg").write_bytes(b"")
    result = run("--photos", tmp_path)
    assert "install the extra `local`" in str(result.exception)


# --- which files are photos -------------------------------------------------------------------------------------


def test_photos_are_found_by_suffix_and_hidden_ones_are_not(tmp_path):
    for name in ("b.JPG", "a.png", "deep/er/c.webp", "d.gif", "e.txt", ".f.jpg", ".git/g.jpg", "deep/.h/i.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in find_photos(tmp_path, Tally())]
    assert found == ["a.png", "b.JPG", "deep/er/c.webp"]


def test_linked_folders_are_reported_and_not_entered(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "again").symlink_to(tmp_path)
    tally = Tally()
    assert find_photos(tmp_path, tally) == [tmp_path / "a.jpg"]
    assert [path for path, _ in tally.bad] == [tmp_path / "again"]

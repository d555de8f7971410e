"""`anonfaces models convert stylegan`: what it prints, its exit status, and the published network at its full size."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from conversion.parity import run_onnx
from services import cli
from services.anonymizer.models import find_generator
from services.provenance import check_model

from . import files

FULL = {
    "resolution": 1024,
    "fmap_base": 8192,
    "fmap_max": 512,
    "latent_size": 512,
    "dlatent_size": 512,
    "mapping_layers": 8,
    "mapping_fmaps": 512,
}
PEAK_OF_CHILD = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)
MOST_BYTES = 6e9


@pytest.fixture
def convert(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `anonfaces models convert ...` into an empty repository -> exit status, and both streams."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = ["anonfaces", "models", "convert", *arguments, "--repository", tmp_path / "repo"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            cli.app()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def path(tmp_path) -> Path:
    return files.write(tmp_path / "file.pkl", files.generator())


def test_good_file_is_published_as_two_models(convert, path, tmp_path):
    status, out, err = convert("stylegan", path, "--name", "net")
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["net-mapping", "net-synthesis"]
    assert sorted(entry.name for entry in (tmp_path / "repo").iterdir()) == ["net-mapping", "net-synthesis"]
    assert sorted(str(p.relative_to(tmp_path / "repo")) for p in (tmp_path / "repo").rglob("*") if p.is_file()) == [
        f"net-{part}/{file}"
        for part in ("mapping", "synthesis")
        for file in ("1/model.onnx", "1/provenance.json", "config.pbtxt", "configs/gpu.pbtxt")
    ]


def test_published_generator_is_found_by_its_name(convert, path, tmp_path):
    convert("stylegan", path, "--name", "net")
    row = find_generator("net", tmp_path / "repo")
    assert (row.model, row.mapping) == ("net-synthesis", "net-mapping")
    assert (row.latent_shape, row.image_size, row.z_dims) == ((8, 20), (32, 32), 24)


def test_published_models_are_whole_and_name_their_source(convert, path, tmp_path):
    convert("stylegan", path, "--name", "net", "--noise", "none", "--network", "G", "--precision", "fp16")
    for part in ("mapping", "synthesis"):
        told = check_model(tmp_path / "repo", f"net-{part}")
        assert (told["source"], [*told["source_sha256"]]) == ({"kind": "stylegan", "files": ["file.pkl"]}, ["file.pkl"])
    assert (told["card"]["noise"], told["card"]["precision"]) == ("none", "fp16")


def test_published_picture_is_rgb_in_uint8(convert, path, tmp_path):
    convert("stylegan", path, "--name", "net")
    synthesis = onnx.load(tmp_path / "repo" / "net-synthesis" / "1" / "model.onnx")
    (picture,) = run_onnx(synthesis, w=np.zeros((3, 8, 20), np.float32))
    assert (picture.shape, picture.dtype) == ((3, 32, 32, 3), np.uint8)


@pytest.fixture
def bad(tmp_path, path) -> dict[str, object]:
    """What may stand for the file in a command."""
    trap = tmp_path / "trap.pkl"
    trap.write_bytes(b"cos\nsystem\n(X\x04\x00\x00\x00truetR.")
    other = tmp_path / "other.dat"
    other.write_bytes(b"weights of another network")
    labels = files.write(tmp_path / "labels.pkl", files.generator(label_size=4))
    return {"FILE": path, "TRAP": trap, "OTHER": other, "LABELS": labels, "NOWHERE": tmp_path / "nowhere.pkl"}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("stylegan TRAP --name net", "trap.pkl is not read as a StyleGAN pickle: it tries to import os.system"),
        ("stylegan OTHER --name net", "other.dat is not read as a StyleGAN pickle"),
        ("stylegan LABELS --name net", "only networks without labels are converted"),
        ("stylegan NOWHERE --name net", "nowhere.pkl does not exist"),
        ("dlib FILE --name net", "not a dlib network"),
        ("vgg FILE --name net", "nothing known converts 'vgg'; there are stylegan, cnn, dlib"),
        ("vgg", "nothing known converts 'vgg'"),
        ("stylegan", "which file? anonfaces models convert stylegan FILE --name NAME"),
        ("stylegan FILE", "'' is no name for a model"),
        ("stylegan FILE --name=", "'' is no name for a model"),
        ("stylegan FILE --name ../x", "'../x' is no name for a model"),
        ("stylegan FILE --name .hidden", "'.hidden' is no name for a model"),
        ("stylegan FILE --name a/b", "'a/b' is no name for a model"),
        ("stylegan FILE --name net --flip-kernels", "stylegan files take no flip_kernels"),
        ("dlib OTHER --name net --noise none", "dlib files take no noise (they take no options)"),
        ("stylegan FILE --name mobile-stylegan", "mobile-stylegan-mapping is the name of a model that ships"),
    ],
)
def test_command_that_cannot_be_followed_ends_with_one_line(convert, bad, tmp_path, command, says):
    status, out, err = convert(*[bad.get(word, word) for word in command.split()])
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "repo").exists() or [*(tmp_path / "repo").iterdir()] == []


@pytest.mark.parametrize("option", ["--noise=random", "--network=D", "--precision=int8"])
def test_option_of_another_value_is_refused(convert, path, option):
    status, out, err = convert("stylegan", path, "--name", "net", option)
    assert (status, out) == (2, "")
    assert "Traceback" not in err


def test_refusal_is_one_line_in_a_shell_as_well(bad, tmp_path):
    command = [
        Path(sys.executable).with_name("anonfaces"),
        "models",
        "convert",
        "stylegan",
        bad["TRAP"],
        "--name",
        "net",
    ]
    ended = subprocess.run([*command, "--repository", tmp_path / "repo"], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("error: trap.pkl is not read")


def test_network_of_the_published_size_is_converted_within_memory(tmp_path):
    """26 million weights in each of its three networks, as in the published files: 300 MB."""
    rng = np.random.default_rng(0)
    rest = files.Network("D", {}, {"rest": rng.standard_normal(23_000_000, dtype=np.float32)})
    path = files.write(tmp_path / "big.pkl", files.generator(**FULL), files.generator("G", seed=1, **FULL), rest)
    command = [Path(sys.executable).with_name("anonfaces"), "models", "convert", "stylegan", path, "--name", "big"]
    # A child starts with its parent's peak: between the two stands a small process, which is asked for its children's.
    watched = [sys.executable, "-c", PEAK_OF_CHILD, *command, "--repository", tmp_path / "repo"]
    done = subprocess.run(watched, stdout=subprocess.PIPE, text=True, check=False)
    path.unlink()
    assert done.returncode == 0
    assert int(done.stdout.split()[-1]) * 1024 < MOST_BYTES
    folder = tmp_path / "repo" / "big-synthesis" / "1"
    assert json.loads((folder / "provenance.json").read_text())["parity"]["value"] <= 1e-3
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (picture,) = session.run(None, {"w": np.random.default_rng(1).standard_normal((1, 18, 512), dtype=np.float32)})
    assert (picture.shape, picture.dtype) == ((1, 1024, 1024, 3), np.uint8)
    assert picture.std() > 10

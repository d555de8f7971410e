"""Building TensorRT plans, with programs that stand in for trtexec, Polygraphy and nvidia-smi: no GPU is needed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from conversion import cli
from conversion.engine import batches_of, build_engine, find_tool, uint8_at_the_edge
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import run_onnx
from conversion.triton_config import CONFIG, config_of, parse
from services.errors import ConfigurationError, ConversionError
from services.files import sha256_of

# Like the real ones: a banner with the version before anything else, even before the help.
TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] [b33] # trtexec"
[ "$1" = --help ] && exit 0
printf '%s\\n' "$@" > "{home}/arguments"
for argument in "$@"; do
  case "$argument" in
    --onnx=*) cp "${{argument#--onnx=}}" "{home}/given.onnx" ;;
    --saveEngine=*) plan="${{argument#--saveEngine=}}" ;;
  esac
done
{then}
"""
WRITES = 'printf "a plan" > "$plan"'
POLYGRAPHY = """#!/bin/sh
[ "$1" = --version ] && {{ echo "Polygraphy 0.49.24"; exit 0; }}
printf '%s\\n' "$@" > "{home}/arguments"
while [ $# -gt 0 ]; do [ "$1" = --output ] && printf "a plan" > "$2"; shift; done
"""
NVIDIA_SMI = """#!/bin/sh
printf '%s\\n' "$@" > "{home}/smi-arguments"
echo "NVIDIA L4, 8.9, 570.86.15"
"""


def picture(side: int = 4, half: bool = False) -> onnx.ModelProto:
    """w -> a picture, cast to uint8 before it is transposed, as our generators do."""
    graph = Graph()
    weights = graph.const(np.random.default_rng(0).normal(size=(6, 3 * side * side)) * 40)
    x = graph.op("Add", graph.op("MatMul", "w", weights), graph.const(128.0))
    if half:
        x = graph.op("Cast", graph.op("Cast", x, to=onnx.TensorProto.FLOAT16), to=FLOAT)
    x = graph.op("Reshape", x, graph.ints(0, 3, side, side))
    x = graph.op("Cast", graph.op("Clip", x, graph.const(0), graph.const(255)), to=UINT8)
    graph.name(graph.op("Transpose", x, perm=[0, 2, 3, 1]), "image")
    return graph.model("picture", [("w", FLOAT, [6])], [("image", UINT8, [side, side, 3])])


def normalised() -> onnx.ModelProto:
    graph = Graph()
    scale, shift = graph.const([1.0, 1.0]), graph.const([0.0, 0.0])
    graph.name(graph.op("InstanceNormalization", "x", scale, shift), "y")
    return graph.model("normalised", [("x", FLOAT, [2, 8, 8])], [("y", FLOAT, [2, 8, 8])])


def publish(repository: Path, name: str, model: onnx.ModelProto) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (repository / name / CONFIG).write_text(config_of(name, model))
    facts = {"model": name, "model_sha256": sha256_of(folder / "model.onnx"), "licence": "CC0", "restricted": False}
    (folder / "provenance.json").write_text(json.dumps(facts))


@pytest.fixture
def repository(tmp_path) -> Path:
    publish(tmp_path / "repository", "faces", picture())
    publish(tmp_path / "repository", "normalised", normalised())
    publish(tmp_path / "repository", "half", picture(half=True))
    return tmp_path / "repository"


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch) -> Path:
    """A machine without any of the tools; `bin` comes first on its PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("conversion.engine.importlib.util.find_spec", lambda name: None)
    return tmp_path / "bin"


@pytest.fixture
def install(bare, tmp_path) -> Callable[..., None]:
    def write(name: str, script: str, **fields: str) -> None:
        (bare / name).write_text(script.format(home=tmp_path, **fields))
        (bare / name).chmod(0o755)

    return write


@pytest.fixture
def trtexec(install) -> Callable[..., None]:
    def write(then: str = WRITES, version: str = "101303") -> None:
        install("trtexec", TRTEXEC, then=then, version=version)

    return write


def arguments(tmp_path: Path) -> list[str]:
    return (tmp_path / "arguments").read_text().splitlines()


def nothing_left(out: Path) -> bool:
    return not out.exists() or not list(out.iterdir())


# --- the command lines ------------------------------------------------------------------------------------------


def test_trtexec_is_told_model_plan_shapes_and_precision(repository, trtexec, tmp_path):
    trtexec()
    build_engine("faces", repository, tmp_path / "out", (1, 4, 16))
    model, plan, *rest = arguments(tmp_path)
    assert model.startswith("--onnx=/")
    assert plan.startswith("--saveEngine=/")
    assert rest == ["--minShapes=w:1x6", "--optShapes=w:4x6", "--maxShapes=w:16x6", "--fp16", "--skipInference"]


def test_polygraphy_is_told_the_same_in_its_own_words(repository, install, tmp_path):
    install("polygraphy", POLYGRAPHY)
    build_engine("faces", repository, tmp_path / "out", (1, 4, 16))
    convert, _, *rest = arguments(tmp_path)
    assert convert == "convert"
    assert rest[:3] == ["--convert-to", "trt", "--output"]
    assert rest[4:10] == [
        *("--trt-min-shapes", "w:[1,6]"),
        *("--trt-opt-shapes", "w:[4,6]"),
        *("--trt-max-shapes", "w:[16,6]"),
    ]
    assert rest[10:] == ["--fp16"]


def test_trtexec_is_preferred(install, trtexec):
    install("polygraphy", POLYGRAPHY)
    trtexec()
    assert find_tool().name == "trtexec"


def test_polygraphy_may_be_a_module_only(monkeypatch, tmp_path):
    (tmp_path / "polygraphy").mkdir()
    (tmp_path / "polygraphy" / "__main__.py").write_text("print('Polygraphy 0.49.24')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("conversion.engine.importlib.util.find_spec", lambda name: name == "polygraphy" or None)
    tool = find_tool()
    assert (tool.name, tool.command[1:], tool.version) == ("polygraphy", ("-m", "polygraphy"), "Polygraphy 0.49.24")


@pytest.mark.parametrize(
    ("told", "version"), [("101303", "10.13.3"), ("8601", "8.6.1"), ("11.1.0.106", "11.1.0.106"), ("x", "unknown")]
)
def test_version_is_read_from_the_banner(trtexec, told, version):
    trtexec(version=told)
    assert find_tool().version == version


@pytest.mark.parametrize(
    ("model", "asked", "flags"),
    [
        ("faces", None, ["--fp16"]),
        ("faces", "fp32", []),
        ("normalised", None, []),
        ("normalised", "fp16", ["--fp16"]),
        ("half", None, ["--stronglyTyped"]),
    ],
)
def test_precision_is_the_graphs_unless_asked_for(repository, trtexec, tmp_path, model, asked, flags):
    trtexec()
    build_engine(model, repository, tmp_path / "out", precision=asked)
    assert [a for a in arguments(tmp_path) if a in ("--fp16", "--stronglyTyped")] == flags


def test_graph_with_types_of_its_own_takes_no_other_precision(repository, trtexec, tmp_path):
    trtexec()
    with pytest.raises(ConfigurationError, match="drop --precision"):
        build_engine("half", repository, tmp_path / "out", precision="fp16")


def test_tensorrt_11_which_has_no_fp16_is_not_asked_for_it(repository, trtexec, tmp_path):
    trtexec(version="110300")
    with pytest.raises(ConfigurationError, match=r"TensorRT 11\.3\.0 calculates in the types of the graph"):
        build_engine("faces", repository, tmp_path / "out")
    build_engine("faces", repository, tmp_path / "out", precision="fp32")


# --- uint8 ------------------------------------------------------------------------------------------------------


def test_cast_to_uint8_is_moved_last_and_the_picture_stays(repository, trtexec, tmp_path):
    trtexec()
    build_engine("faces", repository, tmp_path / "out")
    given, w = onnx.load(tmp_path / "given.onnx"), np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    assert [node.op_type for node in given.graph.node][-1] == "Cast"
    onnx.checker.check_model(given, full_check=True)
    np.testing.assert_array_equal(run_onnx(given, w=w)[0], run_onnx(picture(), w=w)[0])


def test_graph_without_such_a_cast_is_left_as_it_is():
    assert uint8_at_the_edge(normalised()) == normalised()


def test_cast_that_others_need_too_is_left_where_it_is():
    graph = Graph()
    x = graph.op("Cast", "x", to=UINT8)
    graph.name(graph.op("Transpose", x, perm=[0, 2, 1]), "y")
    graph.name(x, "z")
    model = graph.model("shared", [("x", FLOAT, [2, 3])], [("y", UINT8, [3, 2]), ("z", UINT8, [2, 3])])
    assert uint8_at_the_edge(model).graph.node[0].op_type == "Cast"


# --- what is written --------------------------------------------------------------------------------------------


def test_plan_comes_with_what_it_was_made_of(repository, install, trtexec, tmp_path):
    trtexec()
    install("nvidia-smi", NVIDIA_SMI)
    folder = build_engine("faces", repository, tmp_path / "out")
    told = json.loads((folder / "1" / "provenance.json").read_text())
    assert told["model_sha256"] == sha256_of(repository / "faces" / "1" / "model.onnx")
    assert told["plan_sha256"] == sha256_of(folder / "1" / "model.plan")
    assert told["tool"] == {"name": "trtexec", "version": "10.13.3"}
    assert told["gpu"] == {"name": "NVIDIA L4", "compute_cap": "8.9", "driver_version": "570.86.15"}
    assert (told["precision"], told["licence"]) == ("fp16", "CC0")
    assert told["shapes"] == {"min": {"w": [1, 6]}, "opt": {"w": [8, 6]}, "max": {"w": [32, 6]}}


def test_first_visible_gpu_is_the_one_asked_after(repository, install, trtexec, tmp_path, monkeypatch):
    trtexec()
    install("nvidia-smi", NVIDIA_SMI)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    build_engine("faces", repository, tmp_path / "out")
    assert (tmp_path / "smi-arguments").read_text().splitlines()[-1] == "--id=2"


def test_folder_is_one_that_the_tensorrt_backend_serves(repository, trtexec, tmp_path):
    trtexec()
    folder = build_engine("faces", repository, tmp_path / "out", (1, 4, 16))
    config = parse((folder / CONFIG).read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("faces", "tensorrt", 16)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["1/model.plan", "1/provenance.json", CONFIG]


def test_new_plan_replaces_the_old_one(repository, trtexec, tmp_path):
    trtexec()
    build_engine("faces", repository, tmp_path / "out")
    trtexec(then='printf "another" > "$plan"')
    folder = build_engine("faces", repository, tmp_path / "out")
    assert (folder / "1" / "model.plan").read_text() == "another"


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_without_a_tool_the_error_says_where_there_is_one_and_that_none_is_needed(repository, tmp_path):
    with pytest.raises(ConfigurationError, match=r"neither is on PATH.*containers.*--model-config-name=gpu"):
        build_engine("faces", repository, tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_changed_model_is_not_built(repository, trtexec, tmp_path):
    trtexec()
    with (repository / "faces" / "1" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ConversionError, match="SHA-256"):
        build_engine("faces", repository, tmp_path / "out")
    assert not (tmp_path / "arguments").exists()


def test_unknown_model_is_named(repository, trtexec, tmp_path):
    trtexec()
    with pytest.raises(ConversionError, match="model nobody is not in"):
        build_engine("nobody", repository, tmp_path / "out")


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ('printf half > "$plan"; echo "[E] no memory" >&2; exit 3', r"failed with status 3.*\n(.*\n)*\[E\] no memory"),
        ('printf half > "$plan"; kill -9 $$', "ended by signal 9"),
        ("echo done", "wrote no plan"),
        (': > "$plan"', "wrote no plan"),
    ],
    ids=["fails", "is killed", "writes nothing", "writes an empty file"],
)
def test_tool_that_fails_leaves_nothing_and_its_last_words_are_told(repository, trtexec, tmp_path, then, said):
    trtexec(then=then)
    with pytest.raises(ConversionError, match=said):
        build_engine("faces", repository, tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_tool_that_fails_leaves_the_plan_built_before(repository, trtexec, tmp_path):
    trtexec()
    folder = build_engine("faces", repository, tmp_path / "out")
    trtexec(then="exit 1")
    with pytest.raises(ConversionError):
        build_engine("faces", repository, tmp_path / "out")
    assert (folder / "1" / "model.plan").read_text() == "a plan"


def test_tool_that_hangs_is_ended_with_its_children(repository, trtexec, tmp_path):
    trtexec(then=f'echo "[I] timing"; sleep 60 & echo $! > {tmp_path}/child; wait')
    with pytest.raises(ConversionError, match=r"stopped after 0\.5 s(.*\n)*\[I\] timing"):
        build_engine("faces", repository, tmp_path / "out", timeout_s=0.5)
    assert nothing_left(tmp_path / "out")
    assert gone(int((tmp_path / "child").read_text()))


def gone(process: int) -> bool:
    """Whether a process ends within 5 s; one that only waits for its parent to take notice has ended."""
    for _ in range(50):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_folder_of_something_else_is_not_replaced(repository, trtexec):
    trtexec()
    with pytest.raises(ConfigurationError, match="holds no plan"):
        build_engine("faces", repository, repository)
    assert (repository / "faces" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("text", ["", "8", "1,8", "1,8,4", "0,1,2", "1,2,3,4", "1,x,3", "-1,2,3"])
def test_batches_that_are_no_three_growing_counts_are_refused(text):
    with pytest.raises(ConfigurationError, match="fewest, usual and most"):
        batches_of(text)


def test_batches_may_be_equal():
    assert batches_of("8,8,8") == (8, 8, 8)


# --- the commands -----------------------------------------------------------------------------------------------


def run(*words: object) -> str:
    done = CliRunner().invoke(cli.app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_command_builds_and_tells_what_it_ran(repository, trtexec, tmp_path):
    trtexec()
    out = run("build-engine", "faces", "--repository", repository, "--batch", "1,2,4", "--out", tmp_path / "out")
    assert "--maxShapes=w:4x6" in out
    assert (tmp_path / "out" / "faces" / "1" / "model.plan").is_file()


def test_command_checks_and_writes_gpu_configurations(repository):
    with pytest.raises(ConfigurationError, match=r"stale: .*faces/configs/gpu\.pbtxt.*run `anonfaces models configs`"):
        run("configs", "--check", "--repository", repository)
    assert "gpu.pbtxt" in run("configs", "--repository", repository)
    assert "up to date" in run("configs", "--check", "--repository", repository)

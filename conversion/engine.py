"""A TensorRT plan of a converted model, built ahead where TensorRT is: on the GPU, and with the version, that serve it.

Nobody has to: with `--model-config-name=gpu` Triton builds engines at its first start and keeps them, as
triton_config.py says. A plan takes these minutes out of that start, and needs no onnxruntime backend. What is written
is a model folder of its own for Triton's tensorrt backend: `NAME/config.pbtxt`, `NAME/1/model.plan` and
`NAME/1/provenance.json`.

**No GPU was at hand when this was written**: the tools' arguments are those of their sources (NVIDIA/TensorRT,
samples/common/sampleOptions.cpp and tools/Polygraphy), and are tested with programs that stand in for them.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import onnx
from google.protobuf import text_format

from conversion import CONVERTER_VERSION
from conversion.triton_config import (
    CONFIG,
    FREE_PX,
    GpuPrecision,
    parse,
    plan_config_of,
    precision_of,
    profile,
    written,
)
from services.errors import ConfigurationError, ConversionError
from services.files import replacing_directory, sha256_of, write_durably
from services.provenance import PROVENANCE, VERSION_FOLDER, check_model

PLAN = "model.plan"
Batches = tuple[int, int, int]  # rows: fewest, usual, most
Shapes = dict[str, list[int]]
ASK_TIMEOUT_S = 60.0  # for a version, or a GPU's name
TAIL = 20  # lines of a failed tool's output that are shown
STRONGLY_TYPED = 11  # from this major version on, TensorRT has no precision but the graph's
DATA_MOVES = {"Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Tool:
    """A program that builds plans."""

    name: Literal["trtexec", "polygraphy"]
    command: tuple[str, ...]
    version: str  # of TensorRT, as trtexec tells it; of Polygraphy

    def build(
        self, model: Path, plan: Path, shapes: tuple[Shapes, Shapes, Shapes], precision: GpuPrecision
    ) -> list[str]:
        """The command line that builds `plan`, for the shapes of the fewest, usual and most rows."""
        make = _trtexec_arguments if self.name == "trtexec" else _polygraphy_arguments
        return [*self.command, *make(str(model), str(plan), shapes, precision)]


def _trtexec_arguments(
    model: str, plan: str, shapes: tuple[Shapes, Shapes, Shapes], precision: GpuPrecision
) -> list[str]:
    kinds = zip(("min", "opt", "max"), shapes, strict=True)
    typed = {"fp16": ["--fp16"], "fp32": [], "graph": ["--stronglyTyped"]}[precision]
    limits = [f"--{kind}Shapes={written(shape)}" for kind, shape in kinds]
    return [f"--onnx={model}", f"--saveEngine={plan}", *limits, *typed, "--skipInference"]


def _polygraphy_arguments(
    model: str, plan: str, shapes: tuple[Shapes, Shapes, Shapes], precision: GpuPrecision
) -> list[str]:
    limits: list[str] = []
    for kind, shape in zip(("min", "opt", "max"), shapes, strict=True):
        limits.append(f"--trt-{kind}-shapes")
        limits += [f"{name}:[{','.join(map(str, dims))}]" for name, dims in shape.items()]
    typed = {"fp16": ["--fp16"], "fp32": [], "graph": ["--strongly-typed"]}[precision]
    return ["convert", model, "--convert-to", "trt", "--output", plan, *limits, *typed]


def batches_of(text: str) -> Batches:
    """`1,8,32` -> (1, 8, 32). Raises ConfigurationError if these are not three growing counts."""
    parts = text.split(",")
    counts = [int(part) for part in parts if part.strip().isdecimal()]
    if len(counts) != len(parts) or len(counts) != 3 or counts[0] < 1 or counts != sorted(counts):
        raise ConfigurationError(
            f"--batch {text!r}: three counts of rows are needed, fewest, usual and most, as 1,8,32"
        )
    return cast(Batches, tuple(counts))


def find_tool() -> Tool:
    """trtexec if it is on PATH, else Polygraphy, as a command or a module of this Python.

    Raises:
        ConfigurationError: neither is here.
    """
    if path := shutil.which("trtexec"):
        # trtexec has no --version; it tells the version in the first line of all it prints.
        told = re.search(r"\[TensorRT v([\d.]+)\]", _answer([path, "--help"]) or "")
        return Tool("trtexec", (path,), _dotted(told[1]) if told else "unknown")
    command: tuple[str, ...] | None = None
    if path := shutil.which("polygraphy"):
        command = (path,)
    elif importlib.util.find_spec("polygraphy"):
        command = (sys.executable, "-m", "polygraphy")
    if command:
        return Tool("polygraphy", command, (_answer([*command, "--version"]) or "unknown").strip().partition("\n")[0])
    raise ConfigurationError(
        "building an engine needs trtexec or polygraphy, and neither is on PATH. NVIDIA's TensorRT and Triton "
        "containers have trtexec, in /usr/src/tensorrt/bin; run it there, on the GPU that will serve. Without it "
        "nothing is lost but time: Triton, started with --model-config-name=gpu, builds its engines at its first "
        "start and keeps them"
    )


def _dotted(version: str) -> str:
    """trtexec's 101303 is 10.13.3, and its 8601 was 8.6.1."""
    if "." in version:
        return version
    number = int(version)
    major, rest = divmod(number, 10000 if number >= 100000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _answer(command: list[str]) -> str | None:
    """What a short command prints; None if it is not there or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def gpu() -> dict[str, str] | None:
    """Name, compute capability and driver of the GPU that plans are built on; None if nvidia-smi does not tell."""
    fields = ("name", "compute_cap", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        command.append(f"--id={visible.split(',')[0]}")
    values = [value.strip() for value in (_answer(command) or "").partition("\n")[0].split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else None


def uint8_at_the_edge(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with its casts to uint8 last.

    TensorRT knows uint8 as a network's input and output only; our generators cast first and move a quarter of the bytes
    after. Where the cast is followed by nothing but moves of data, these come first in the copy; else it is as it was.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    for output in graph.output:
        if output.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            _cast_last(graph, output.name)
    return copy


def _cast_last(graph: onnx.GraphProto, output: str) -> None:
    makers = {name: node for node in graph.node for name in node.output}
    uses = [name for node in graph.node for name in node.input]
    moves: list[onnx.NodeProto] = []
    node = makers.get(output)
    while node is not None and node.op_type in DATA_MOVES and (not moves or uses.count(node.output[0]) == 1):
        moves.insert(0, node)
        node = makers.get(node.input[0])
    if not moves or node is None or node.op_type != "Cast" or uses.count(node.output[0]) != 1:
        return
    cast_node = onnx.NodeProto()
    cast_node.CopyFrom(node)
    graph.node.remove(node)
    moves[0].input[0] = cast_node.input[0]
    moves[-1].output[0] = cast_node.input[0] = f"{output}_before_cast"
    cast_node.output[0] = output
    graph.node.append(cast_node)


def build_engine(
    name: str,
    repository: Path,
    out: Path,
    batches: Batches = (1, 8, 32),
    precision: Literal["fp16", "fp32"] | None = None,
    timeout_s: float = 3600.0,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Builds the plan of a converted model and writes it, whole or not at all, as a model folder of Triton's.

    Args:
        name: of the model in `repository`.
        out: the folder that gets `NAME/`; what was built there before is replaced.
        batches: rows the plan is made for.
        precision: None for what `precision_of` says of the graph.
        tell: called with the command line before it runs.

    Returns:
        The model folder.

    Raises:
        ConversionError: the model is not converted, or was changed; or the tool failed, or took more than `timeout_s`.
        ConfigurationError: no tool, or one that cannot do that precision; or `out/NAME` is something else.
    """
    provenance = check_model(repository, name)
    target = _target(out, name)
    config = _config(repository / name / CONFIG)
    tool = find_tool()
    model = onnx.load(repository / name / VERSION_FOLDER / "model.onnx")
    chosen = _precision(name, model, precision, tool)
    fewest = profile(parse(config), batches[0], FREE_PX[0])
    usual, most = (profile(parse(config), rows) for rows in batches[1:])
    with tempfile.TemporaryDirectory() as scratch, replacing_directory(target) as folder:
        work, plan = Path(scratch), folder / VERSION_FOLDER / PLAN
        plan.parent.mkdir()
        onnx.save(uint8_at_the_edge(model), work / "model.onnx")
        command = tool.build(work / "model.onnx", plan, (fewest, usual, most), chosen)
        tell(" ".join(command))
        _run(command, work / "log", timeout_s)
        if not plan.is_file() or not plan.stat().st_size:
            raise ConversionError(f"{tool.name} ended well but wrote no plan of {name}:\n{_tail(work / 'log')}")
        with plan.open("rb") as stream:
            os.fsync(stream.fileno())
        facts = {
            **{key: provenance.get(key) for key in ("model", "model_sha256", "weights", "licence", "restricted")},
            "converter_version": CONVERTER_VERSION,
            "plan_sha256": sha256_of(plan),
            "tool": {"name": tool.name, "version": tool.version},
            "gpu": gpu(),
            "precision": chosen,
            "shapes": {"min": fewest, "opt": usual, "max": most},
        }
        write_durably(plan.with_name(PROVENANCE), json.dumps(facts, indent=1).encode() + b"\n")
        write_durably(folder / CONFIG, plan_config_of(config, batches[-1]).encode())
    return target


def _target(out: Path, name: str) -> Path:
    """The folder to write, which may hold an older plan and nothing else."""
    target = out / name
    if target.exists() and not (target / VERSION_FOLDER / PLAN).is_file():
        raise ConfigurationError(f"{target} is there already and holds no plan; choose another folder with --out")
    return target


def _config(path: Path) -> str:
    try:
        text = path.read_text()
        parse(text)
    except (OSError, ValueError, text_format.ParseError) as broken:
        raise ConversionError(f"{path} is no model configuration: {broken}") from broken
    return text


def _precision(name: str, model: onnx.ModelProto, asked: Literal["fp16", "fp32"] | None, tool: Tool) -> GpuPrecision:
    own = precision_of(model)
    if asked and own == "graph":
        raise ConfigurationError(
            f"{name} was converted to float16 in part, which fixes its precision; drop --precision"
        )
    chosen: GpuPrecision = asked or own
    major = tool.version.partition(".")[0]
    if chosen == "fp16" and tool.name == "trtexec" and major.isdecimal() and int(major) >= STRONGLY_TYPED:
        raise ConfigurationError(
            f"TensorRT {tool.version} calculates in the types of the graph, and {name} is in float32; use --precision "
            f"fp32, or TensorRT 10"
        )
    return chosen


def _run(command: list[str], log: Path, timeout_s: float) -> None:
    """Runs a tool to its end. Raises ConversionError, with the end of its output, if that end is not a good one."""
    tool = Path(command[0]).name
    try:
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                status = process.wait(timeout_s)
            finally:
                if process.poll() is None:  # its children hold the GPU as well
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{tool} was stopped after {timeout_s:g} s; its last words:\n{_tail(log)}") from None
    except OSError as refused:
        raise ConversionError(f"{tool} does not start: {refused}") from refused
    if status < 0:
        raise ConversionError(f"{tool} was ended by signal {-status}; its last words:\n{_tail(log)}")
    if status:
        raise ConversionError(f"{tool} failed with status {status}; its last words:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])

"""Files that want to run something, that are damaged, or that hold another network: refused with a reason, at once.

Every refusal also checks that nothing was published and that no trap has gone off (the fixture `refused`).
"""

import faulthandler
import gzip
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversion.registry import Options
from conversion.repository import convert_file
from conversion.stylegan import pickle_file as stylegan_pickle
from conversion.stylegan import safe_pickle
from services.errors import ConversionError

from . import files

SMALL = {"resolution": 8, "fmap_max": 2, "latent_size": 2, "dlatent_size": 2, "mapping_fmaps": 2}
VALID = files.dumps(files.triple(files.generator(**SMALL)))


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Ends the whole run if one of these tests hangs: some of what they guard against cannot be interrupted."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


# --- opcodes by hand --------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


NETWORK = name(files.MODULE, "Network")
ONE, NOTHING, REDUCE, NEWOBJ, BUILD, STOP = b"K\x01", b")", b"R", b"\x81", b"b", b"."


def program(*opcodes: bytes) -> bytes:
    return b"\x80\x04" + b"".join(opcodes) + STOP


def memo_bomb(depth: int = 60) -> Any:
    """A tuple that takes 2 ** depth steps to hash, to compare or to print; its pickle is short."""
    value: Any = ()
    for _ in range(depth):
        value = (value, value)
    return value


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None):
        self.call = (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def array(*state: Any) -> Calls:
    """Pickles as an array, of any state."""
    return Calls(np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b", state=state)


def with_changed(change: Callable[[files.Network], Any], **options: Any) -> bytes:
    """A small file with its Gs changed."""
    generator = files.generator(**{**SMALL, **options})
    change(generator)
    return files.dumps(files.triple(generator, files.generator(**SMALL)))


# --- nothing is run ---------------------------------------------------------------------------------------------


def traps(ran: Path) -> dict[str, tuple[Calls, str]]:
    """What makes the file `ran` when Python's own machine reads it, and what it is called there."""
    python = f"open({str(ran)!r}, 'w').close()"
    return {
        "os.system": (Calls(os.system, f"touch {ran}"), "posix.system"),
        "eval": (Calls(eval, python), "builtins.eval"),
        "exec": (Calls(exec, python), "builtins.exec"),
        "getattr": (Calls(getattr(Path(ran), "touch")), "builtins.getattr"),  # noqa: B009
        "open": (Calls(open, str(ran), "w"), "io.open"),
        "mkdir": (Calls(os.mkdir, str(ran)), "posix.mkdir"),
        "numpy.save": (Calls(np.save, str(ran), 0), "numpy.save"),
        "a call within a call": (Calls(os.path.join, Calls(os.system, f"touch {ran}"), "b"), "posix"),
        "a state made by a call": (array(Calls(os.system, f"touch {ran}")), "posix.system"),
    }


TRAPS = sorted(traps(Path("x")))
each_trap = pytest.mark.parametrize("trap", TRAPS)


@each_trap
def test_trap_is_one_to_pythons_own_machine(tmp_path, trap):
    """Else the tests below would prove nothing."""
    armed = pickle.dumps(traps(tmp_path / "ran")[trap][0])
    with suppress(TypeError, ValueError):  # of what is done with the answer
        pickle.loads(armed)
    assert list(tmp_path.iterdir()) != []


@each_trap
@pytest.mark.parametrize("protocol", range(6))
def test_file_that_is_a_trap_is_refused(refused, tmp_path, trap, protocol):
    armed, _ = traps(tmp_path / "ran")[trap]
    says = "it tries to import|it uses" if protocol < 2 else "it tries to import"
    refused(pickle.dumps(armed, protocol), says)


PLACES: dict[str, Callable[[files.Network, Any], None]] = {
    "version": lambda net, trap: setattr(net, "version", trap),
    "name": lambda net, trap: setattr(net, "name", trap),
    "options": lambda net, trap: setattr(net, "static_kwargs", trap),
    "option nobody asks for": lambda net, trap: net.static_kwargs.update(structure=trap),
    "source": lambda net, trap: setattr(net, "build_module_src", trap),
    "component": lambda net, trap: net.components.update(synthesis=trap),
    "component nobody asks for": lambda net, trap: net.components.update(extra=trap),
    "variables": lambda net, trap: setattr(net, "variables", trap),
    "variable": lambda net, trap: net.components["mapping"].__setitem__("Dense0/bias", trap),
    "variable nobody asks for": lambda net, trap: net.__setitem__("extra", trap),
}


@each_trap
@pytest.mark.parametrize("place", PLACES)
def test_trap_in_an_else_good_file_is_named_and_not_run(refused, tmp_path, trap, place):
    armed, called = traps(tmp_path / "ran")[trap]
    refused(
        with_changed(lambda net: PLACES[place](net, armed)), f"it tries to import {called}.*; nothing of it was run$"
    )


def test_trap_in_the_discriminator_is_not_run(refused, tmp_path):
    """Which is not converted, but is in the way to the Gs."""
    networks = files.triple(files.generator(**SMALL), discriminator=traps(tmp_path / "ran")["os.system"][0])
    refused(files.dumps(networks), "it tries to import posix.system")


def test_source_in_the_file_is_not_run(tmp_path):
    path = files.write(tmp_path / "file.pkl", files.generator(**SMALL))
    convert_file("stylegan", path, "net", tmp_path / "repo", Options())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("opcodes", "says"),
    [
        (name("os", "system") + text("true") + b"\x85" + REDUCE, r"import os\.system;"),
        (name("__builtin__", "eval") + text("1") + b"\x85" + REDUCE, r"import __builtin__\.eval;"),
        (name("subprocess", "Popen") + NOTHING + REDUCE, r"import subprocess\.Popen;"),
        (name("numpy", "load") + text("x.npy") + b"\x85" + REDUCE, r"import numpy\.load;"),
        (name("numpy.core.multiarray", "fromfile") + NOTHING + REDUCE, r"import numpy\.core\.multiarray\.fromfile;"),
        (name("dnnlib.tflib.network", "os.system"), r"import dnnlib\.tflib\.network\.os\.system;"),
        (name("dnnlib.tflib.network", "Network.__init__"), r"Network\.__init__;"),
        (name("dnnlib.tflib", "network.Network"), r"import dnnlib\.tflib\.network\.Network;"),
        (name("numpy", "dtype.fromfile"), r"import numpy\.dtype\.fromfile;"),
        (stack_name("os", "system"), r"import os\.system;"),
        (stack_name("dnnlib.tflib.network", "os.system"), r"import dnnlib\.tflib\.network\.os\.system;"),
        (stack_name("dnnlib.tflib.network", "Network.__class__"), r"Network\.__class__;"),
        (stack_name("", "eval"), r"import \.eval;"),
        (ONE + text("system") + b"\x93", "imports something that has no name"),
        (NETWORK + text("system") + b"\x93", "imports something that has no name"),
        (stack_name("\x1b[2J\nall is well", "\ud800\u202e"), r"import \?\[2J\?all is well\.\?\?;"),
        (stack_name("a" * 100_000, "b" * 100_000), "import a{80}.b{80};"),
        (NETWORK + NOTHING + REDUCE + NOTHING + REDUCE, "calls something that has no name"),
        (ONE + NOTHING + REDUCE, "calls something that has no name"),
        (text("os.system") + NOTHING + REDUCE, "calls something that has no name"),
        (NETWORK + b"]" + REDUCE, "calls something that has no name"),
        (ONE + NOTHING + NEWOBJ, "calls something that has no name"),
        (NETWORK + ONE + b"\x85" + NEWOBJ, "takes no arguments"),
        (name("numpy", "ndarray") + NOTHING + REDUCE, "makes arrays as no StyleGAN pickle does"),
        (NETWORK + NOTHING + b"}" + b"\x92", "uses NEWOBJ_EX"),
        (NETWORK + b"}" + BUILD, "sets the state of something that has none"),
        (b"}" + b"}" + BUILD, "sets the state of something that has none"),
        (text("a") + b"}" + BUILD, "sets the state of something that has none"),
        (b"Pos.system\n", "uses PERSID"),
        (ONE + b"Q", "uses BINPERSID"),
        (b"\x82\x01", "uses EXT1"),
        (b"\x83\x01\x00", "uses EXT2"),
        (b"\x84\x01\x00\x00\x00", "uses EXT4"),
        (b"(ios\nsystem\n", "uses INST"),
        (b"(" + NETWORK + b"o", "uses OBJ"),
        (b"(" + name("os", "system") + b"o", r"import os\.system;"),
        (b"\x8f", "uses EMPTY_SET"),
        (b"(\x91", "uses FROZENSET"),
        (b"\x97", "uses NEXT_BUFFER"),
        (ONE + b"\x98", "uses READONLY_BUFFER"),
        (ONE + b"2", "uses DUP"),
        (name("_codecs", "encode") + text("a") + text("rot13") + b"\x86" + REDUCE, "encodes something"),
        (name("_codecs", "encode") + ONE + text("latin1") + b"\x86" + REDUCE, "encodes something"),
        (b"}" + ONE + ONE + b"s", "no dictionary with text for keys"),
        (b"}(" + ONE + b"u", "no dictionary with text for keys"),
        (ONE + text("a") + ONE + b"s", "no dictionary with text for keys"),
        (ONE + ONE + b"a", "appends to something that is no list"),
        (b"h\x07", "recalls value 7, which it never kept"),
        (b"q\x00", "takes from an empty stack"),
        (b"0", "takes from an empty stack"),
        (b"\x85", "takes from an empty stack"),
        (b"t", "takes from an empty stack"),
        (b"]e", "takes from an empty stack"),
        (b"", "not a pickle, or not whole"),
        (ONE + ONE, "not a pickle, or not whole"),
        (b"S" + b"a" * 100_000 + b"\n", "not a pickle, or not whole .{1,90}$"),
    ],
)
def test_program_that_no_data_needs_is_refused(refused, opcodes, says):
    refused(program(opcodes), says)


# --- what is no pickle, or not whole ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"not a pickle",
        bytes(5000),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        gzip.compress(VALID),
        np.random.default_rng(0).bytes(5000),
        np.random.default_rng(1).bytes(100_000),
    ],
    ids=["empty", "line", "text", "zeros", "png", "gzip", "noise", "more noise"],
)
def test_file_that_is_no_pickle_is_refused(refused, data):
    refused(data, r"^file\.pkl is not read as a StyleGAN pickle: ")


@pytest.mark.parametrize("value", [None, 1, "text", {}, [], (), (1, 2, 3), np.zeros(3)], ids=str)
def test_pickle_of_something_else_is_refused(refused, value):
    refused(files.dumps(value), "does not hold the three networks G, D and Gs")


def test_folder_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="is not a file"):
        convert_file("stylegan", tmp_path, "net", tmp_path / "repo", Options())


@pytest.mark.parametrize("end", range(0, len(VALID), 1000))
def test_truncated_file_is_refused(refused, end):
    refused(VALID[:end], "not whole|empty stack")


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> Callable[[bytes], dict[str, stylegan_pickle.Network]]:
    """Reads bytes as a file."""
    path = tmp_path_factory.mktemp("hostile") / "file.pkl"

    def read_bytes(data: bytes) -> dict[str, stylegan_pickle.Network]:
        path.write_bytes(data)
        return stylegan_pickle.read(path)

    return read_bytes


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_file_truncated_anywhere_is_refused(read, protocol):
    whole = files.dumps(files.triple(files.generator(**SMALL)), protocol)
    for end in range(0, len(whole), 61):
        with pytest.raises(ConversionError):
            read(whole[:end])


unhurried = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@unhurried
@given(data=st.data(), protocol=st.sampled_from([2, 3, 4, 5]))
def test_changed_bytes_are_read_or_refused(read, data, protocol):
    raw = bytearray(files.dumps(files.triple(files.generator(**SMALL)), protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 1500) | st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    with suppress(ConversionError):
        assert {*read(bytes(raw))} == {"G", "Gs"}


@unhurried
@given(data=st.data())
def test_opcodes_in_any_order_are_read_or_refused(read, data):
    parts = [NETWORK, NOTHING, NEWOBJ, REDUCE, BUILD, ONE, b"}", b"]", b"(", b"t", b"u", b"a", b"s", b"e", b"\x85"]
    parts += [text("version"), b"q\x00", b"h\x00", b"\x94", b"0", b"N", name("numpy", "dtype"), b"C\x04abcd"]
    parts += [name("numpy.core.multiarray", attribute) for attribute in ("_reconstruct", "scalar")]
    drawn = data.draw(st.lists(st.sampled_from(parts), max_size=30))
    with pytest.raises(ConversionError):
        read(program(*drawn))


# --- what claims to be larger than it is, or would take for ever ------------------------------------------------


GIGABYTES = 3 << 30
CLAIMS = {
    "bytes": b"B" + struct.pack("<I", GIGABYTES) + b"few",
    "long bytes": b"\x8e" + struct.pack("<Q", GIGABYTES) + b"few",
    "endless bytes": b"\x8e" + struct.pack("<Q", 1 << 63) + b"few",
    "array of bytes": b"\x96" + struct.pack("<Q", GIGABYTES) + b"few",
    "text": b"X" + struct.pack("<I", GIGABYTES) + b"few",
    "long text": b"\x8d" + struct.pack("<Q", GIGABYTES) + b"few",
    "number": b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"few",
    "negative number": b"\x8b" + struct.pack("<i", -1) + b"few",
    "frame": b"\x95" + struct.pack("<Q", GIGABYTES) + b"few",
}


def peak(work: Callable[[], Any]) -> int:
    """Bytes held at most while it works."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_claimed_length_is_not_believed(refused, claim):
    assert peak(lambda: refused(program(claim), "not whole")) < 50e6


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((GIGABYTES // 4,), "claims an array of 3,221,225,472 bytes and holds 4"),
        ((1 << 39, 1 << 39), "claims an array of .* and holds 4"),
        ((1 << 60,), "impossible shape"),
        ((-1,), "impossible shape"),
        ((1,) * 9, "impossible shape"),
        ((1.0,), "impossible shape"),
        ((True,), "impossible shape"),
        ((10**6000,), "impossible shape"),
        (1, "without its values"),
        ([1], "without its values"),
        ((memo_bomb(),), "impossible shape"),
    ],
    ids=["3 GB", "overflow", "too long", "negative", "axes", "float", "bool", "huge", "int", "list", "bomb"],
)
def test_claimed_shape_is_not_believed(refused, shape, says):
    claim = array(1, shape, np.dtype("f4"), False, b"1234")
    data = with_changed(lambda net: net.__setitem__("dlatent_avg", claim))
    assert peak(lambda: refused(data, says)) < 50e6


def test_sides_that_numpy_refuses_are_refused(refused):
    """Nothing times anything is nothing, but not to numpy."""
    claim = array(1, (0, 1 << 39, 1 << 39), np.dtype("f4"), False, b"")
    refused(with_changed(lambda net: net.__setitem__("dlatent_avg", claim)), "is not read as a StyleGAN pickle")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ((1, (1,), np.dtype("f4"), False, [0.0]), "impossible shape"),
        ((1, (1,), np.dtype("f4"), False, "text"), "impossible shape"),
        ((1, (1,), np.dtype("f4"), False), "without its values"),
        ((1, (1,), "f4", False, b"1234"), "without its values"),
        ((1, (1,), None, False, b"1234"), "without its values"),
        ((), "without its values"),
    ],
    ids=["list", "text", "no values", "type as text", "no type", "nothing"],
)
def test_damaged_array_is_refused(refused, state, says):
    refused(with_changed(lambda net: net.__setitem__("dlatent_avg", array(*state))), says)


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, ()], object),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.array(["a", "b"]),
        np.array([b"a", b"b"]),
        np.zeros(2, complex),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "V4"),
    ],
    ids=["objects", "records", "text", "bytes", "complex", "dates", "void"],
)
@pytest.mark.parametrize("protocol", [3, 5])
def test_array_of_anything_but_numbers_is_refused(refused, value, protocol):
    generator = files.generator(**SMALL)
    generator["dlatent_avg"] = value
    refused(files.dumps(files.triple(generator), protocol), "only numbers are read")


def test_marks_nested_too_deep_are_refused(refused):
    refused(program(b"(" * 100_000), "nested deeper than 64")


def test_values_nested_too_deep_are_refused(refused):
    refused(program(NOTHING + b"\x85" * 300_000), "does not hold the three networks")
    refused(program(b"]" * 100_000 + b"a" * 99_999), "does not hold the three networks")


def test_program_without_end_is_refused(refused, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_OPCODES", 1000)
    refused(VALID, "more than 1,000 operations")


BOMBS: dict[str, Callable[[files.Network, Any], None]] = {
    **{place: PLACES[place] for place in PLACES if "nobody" not in place and place != "source"},
    "name of a variable": lambda net, bomb: net.variables.append((bomb, 1.0)),
    "value of a variable": lambda net, bomb: net.variables.append(("a", bomb)),
    **{
        option: lambda net, bomb, option=option: net.all_options(**{option: bomb})
        for option in ("resolution", "label_size", "fused_scale", "blur_filter", "nonlinearity", "fmap_decay")
    },
}


@pytest.mark.parametrize("place", BOMBS)
def test_value_that_would_take_for_ever_to_look_at_is_refused_at_once(refused, place):
    refused(with_changed(lambda net: BOMBS[place](net, memo_bomb())), r"^file\.pkl|^G")


def test_key_that_would_take_for_ever_to_hash_is_refused_at_once(refused):
    doubling = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60
    refused(program(doubling, b"0}h\x00", ONE, b"s"), "no dictionary with text for keys")


def test_network_within_itself_is_refused(refused):
    refused(with_changed(lambda net: net.components.update(mapping=net)), "without a state that is understood")


def test_many_networks_of_many_variables_are_refused_at_once(refused):
    """A thousand parts, each of them the same thousand parts, each with a thousand variables: a short file."""

    def multiply(net: files.Network) -> None:
        part = files.Network("part", {}, {f"v{i}": 1.0 for i in range(1000)})
        for _ in range(2):
            part = files.Network("part", {}, {}, **{f"part{i}": part for i in range(1000)})
        net.components = {"mapping": part, "synthesis": part}

    refused(with_changed(multiply), "has no variable|make no")


def test_too_many_variables_are_refused(refused):
    refused(with_changed(lambda net: net.variables.extend([("v", 1.0)] * 10_001)), "a network of 10,00. variables")


def test_bytes_encoded_over_and_over_are_refused(refused):
    """By the way that protocol 2 writes bytes, a short file could make long ones."""
    encode = name("_codecs", "encode") + b"q\x00" + text("a" * 100_000) + b"q\x01"
    again = b"h\x00h\x01\x85R"
    assert peak(lambda: refused(program(encode, again * 1000), "its bytes are more than the file has")) < 10e6


# --- another network --------------------------------------------------------------------------------------------


def variable(part: str, key: str, change: Callable[[np.ndarray], Any]) -> Callable[[files.Network], None]:
    def apply(net: files.Network) -> None:
        network = net.components[part] if part else net
        network[key] = change(network[key])

    return apply


def options(**changed: Any) -> Callable[[files.Network], None]:
    return lambda net: net.all_options(**changed)


def version(told: Any) -> Callable[[files.Network], None]:
    return lambda net: setattr(net, "version", told)


def nan(value: np.ndarray) -> np.ndarray:
    return np.where(np.arange(value.size).reshape(value.shape) == 1, np.float32(np.nan), value)


OTHERS: dict[str, tuple[Callable[[files.Network], Any], str]] = {
    "version 4": (version(4), "format version 4; 2 and 3 are read"),
    "no version": (version(None), "format version unknown"),
    "huge version": (version(10**6000), "is not read as a StyleGAN pickle"),
    "no name": (lambda net: setattr(net, "name", None), "without name, options, components and variables"),
    "no options": (lambda net: setattr(net, "static_kwargs", None), "without name, options"),
    "no variables": (lambda net: setattr(net, "variables", {}), "without name, options"),
    "variable without value": (lambda net: net.variables.append(("a",)), "variables without names"),
    "variable of text": (lambda net: net.variables.append(("a\x1b", "b")), r"variable a\? holds no numbers"),
    "variable of a huge number": (lambda net: net.variables.append(("a", 10**6000)), "int too large"),
    "component of text": (lambda net: net.components.update(mapping="b"), "components are no networks"),
    "PGGAN": (lambda net: setattr(net, "components", {}), r"not StyleGAN \(1\): Gs has no mapping and synthesis"),
    "no mapping": (lambda net: net.components.pop("mapping"), "has no mapping and synthesis"),
    "labels": (options(label_size=8), "takes a label of 8 values; only networks without labels are converted"),
    "one channel": (options(num_channels=1), "makes pictures of 1 channels, not RGB"),
    "resolution 48": (options(resolution=48), "resolution 48 is not one of"),
    "resolution 4096": (options(resolution=4096), "resolution 4096 is not one of"),
    "resolution 4": (options(resolution=4), "resolution 4 is not one of"),
    "resolution of text": (options(resolution="8"), "option resolution is not of the kind int"),
    "larger than it is": (options(resolution=16), r"has no variable 16x16/Conv0_up/weight; is it StyleGAN \(1\)\?"),
    "no styles": (options(use_styles=False), "built with use_styles off"),
    "no constant": (options(const_input_layer=False), "built with const_input_layer off"),
    "activation": (options(nonlinearity="swish"), "activation 'swish' is not known"),
    "mapping activation": (options(mapping_nonlinearity="swish"), "activation 'swish' is not known"),
    "fused scale": (options(fused_scale="never"), "fused_scale is not understood"),
    "fused scale of a number": (options(fused_scale=1), "fused_scale is not understood"),
    "blur of text": (options(blur_filter="soft"), "blur_filter is not understood"),
    "even blur": (options(blur_filter=[1, 1]), "blur_filter is not understood"),
    "long blur": (options(blur_filter=[1] * 17), "blur_filter is not understood"),
    "blur of nothing": (options(blur_filter=[1, 0, -1]), "blur_filter does not sum to anything"),
    "endless blur": (options(blur_filter=[1, np.inf, 1]), "blur_filter"),
    "no channels": (options(fmap_base=0), "fmap_base 0 gives 0 channels"),
    "too many channels": (options(fmap_base=1 << 40, fmap_max=1 << 40), "gives .* channels"),
    "decay that is no number": (options(fmap_decay=np.nan), "is not converted|fmap"),
    "huge decay": (options(fmap_decay=1e9), "is not converted|fmap"),
    "no mapping layers": (options(mapping_layers=0), "make no mapping network"),
    "endless mapping": (options(mapping_layers=10**9), "make no mapping network"),
    "other widths": (options(mapping_fmaps=3), r"Dense0/weight has shape \(2, 2\), not \(2, 3\)"),
    "two sizes of w": (
        lambda net: net.components["mapping"].static_kwargs.update(dlatent_size=3),
        r"Dense2/weight has shape",
    ),
    "middle of the training": (variable("synthesis", "lod", lambda _: 1.5), r"middle of its training \(lod 1\.5\)"),
    "missing weight": (lambda net: net.components["synthesis"].__delitem__("8x8/Conv1/weight"), "has no variable 8x8"),
    "missing noise": (lambda net: net.components["synthesis"].__delitem__("noise3"), "has no variable noise3"),
    "missing mapping": (lambda net: net.components["mapping"].__delitem__("Dense2/bias"), "has no variable Dense2/b"),
    "flat weight": (variable("synthesis", "8x8/Conv1/weight", np.ravel), r"has shape \(36,\), not \(3, 3, 2, 2\)"),
    "turned weight": (variable("mapping", "Dense0/weight", lambda v: v[:1]), r"has shape \(1, 2\), not \(2, 2\)"),
    "NaN in a convolution": (variable("synthesis", "4x4/Conv/weight", nan), "4x4/Conv/weight holds values that are"),
    "NaN in the noise": (variable("synthesis", "noise0", nan), "noise0 holds values that are not finite"),
    "NaN in the mapping": (variable("mapping", "Dense1/bias", nan), "Dense1/bias holds values that are not finite"),
    "NaN in the average": (variable("", "dlatent_avg", nan), "dlatent_avg is not 2 finite numbers"),
    "average of another length": (variable("", "dlatent_avg", lambda v: v[:1]), "dlatent_avg is not 2 finite"),
    "infinite pictures": (
        variable("synthesis", "8x8/Conv1/weight", lambda v: v / np.abs(v).max() * np.float32(3e38)),
        "not finite numbers; the weights are too large",
    ),
    "infinite w": (
        lambda net: [variable("mapping", f"Dense{i}/weight", lambda v: v * np.float32(1e30))(net) for i in (1, 2)],
        "not finite|net-mapping: largest .* is (inf|nan), above the tolerance",
    ),
}


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("other", OTHERS)
def test_network_that_is_not_supported_is_refused_saying_why(refused, other):
    change, says = OTHERS[other]
    refused(with_changed(change), says)


@pytest.mark.parametrize(
    "arrange",
    [lambda g, d, gs: (g, gs), lambda g, d, gs: (g, d, gs, gs), lambda g, d, gs: [g, d, gs], lambda g, d, gs: gs],
    ids=["two", "four", "list", "one"],
)
def test_other_number_of_networks_is_refused(refused, arrange):
    networks = files.triple(files.generator(**SMALL))
    refused(files.dumps(arrange(*networks)), "does not hold the three networks G, D and Gs")


def test_refused_file_leaves_what_was_published_before(tmp_path):
    good = files.write(tmp_path / "good.pkl", files.generator(**SMALL))
    convert_file("stylegan", good, "net", tmp_path / "repo", Options())

    def published() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "repo").rglob("*") if path.is_file()}

    before = published()
    bad = files.write(tmp_path / "bad.pkl", files.generator(**{**SMALL, "label_size": 3}))
    with pytest.raises(ConversionError):
        convert_file("stylegan", bad, "net", tmp_path / "repo", Options())
    assert published() == before

"""The reader of dlib's files gives exactly what is in them, or says why not with our own error."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.catalogue import Catalogue
from conversion.dlib_resnet.dat import DlibNetwork, read_network
from services.errors import ConversionError, WeightsError
from services.settings import settings as service_settings

KERNEL = np.arange(2 * 3 * 3 * 3, dtype="<f4")
CONNECTED = np.arange(2 * 4, dtype="<f4")


# --- dlib's serialisation, written down once more ---------------------------------------------------------------


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def real(mantissa: int, exponent: int) -> bytes:
    return integers(mantissa, exponent)


def tensor(values: np.ndarray | None = None) -> bytes:
    if values is None:
        return integers(2, 0, 0, 0, 0)
    return integers(2, values.size, 1, 1, 1) + struct.pack(f"<{values.size}f", *values)


def layer(record: bytes) -> bytes:
    """A record, three flags and three scratch tensors."""
    return record + b"000" + tensor() * 3


MULTIPLIERS = real(1, 0) * 4
CONVOLUTION = (
    text("con_4")
    + tensor(np.concatenate([KERNEL, [7, 8]]))
    + integers(2, 3, 3, 2, 2, 1, 0)
    + integers(1, 2, 3, 3, 3)
    + integers(1, 1, 2, 1, 1)
    + MULTIPLIERS
)
AFFINE = text("affine_") + tensor(np.array([2, 3, 4, 5])) + integers(1, 1, 2, 1, 1) * 2 + integer(0)
POOL = text("avg_pool_2") + integers(0, 0, 1, 1, 0, 0)
FULL = (
    text("fc_2") + integers(4, 2) + tensor(CONNECTED) + integers(1, 2, 4, 1, 1) + integers(1, 0, 0, 0, 0) + integer(1)
) + MULTIPLIERS
HEAD = integer(1) + text("loss_metric_2") + real(1, -5) + real(3, -2)
NESTING = integers(2, 2, 1, 2, 2, 3)
INPUT = text("input_rgb_image_sized") + real(245, -1) + real(117, 0) + real(104, 0) + integers(150, 148)
TINY = (
    HEAD
    + NESTING
    + INPUT
    + layer(CONVOLUTION)
    + integer(1)
    + layer(AFFINE)
    + layer(text("relu_"))
    + layer(POOL)
    + layer(FULL)
)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Reads bytes as a file."""
    path = tmp_path_factory.mktemp("dlib") / "tiny.dat"

    def read_bytes(data: bytes) -> DlibNetwork:
        path.write_bytes(data)
        return read_network(path)

    return read_bytes


# --- what is read -----------------------------------------------------------------------------------------------


def test_layers_come_bottom_first(read):
    assert [layer.kind for layer in read(TINY).layers] == ["con", "affine", "relu", "mark", "avg_pool", "fc"]


def test_input_is_described(read):
    network = read(TINY)
    assert (network.height, network.width, network.mean) == (150, 148, (122.5, 117.0, 104.0))


def test_convolution_is_read(read):
    values = read(TINY).layers[0].values
    np.testing.assert_array_equal(values["weight"], KERNEL.reshape(2, 3, 3, 3))
    np.testing.assert_array_equal(values["bias"], [7, 8])
    assert (values["stride"], values["pad"]) == ((2, 2), (1, 0))


def test_affine_is_read(read):
    values = read(TINY).layers[1].values
    assert (values["gamma"].tolist(), values["beta"].tolist()) == ([2, 3], [4, 5])


def test_fully_connected_is_read(read):
    np.testing.assert_array_equal(read(TINY).layers[-1].values["weight"], CONNECTED.reshape(2, 4))


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", range(0, len(TINY), 7))
def test_truncated_network_is_refused(read, share):
    with pytest.raises(ConversionError):
        read(TINY[:share])


def test_bytes_left_over_are_refused(read):
    with pytest.raises(ConversionError, match="3 bytes left"):
        read(TINY + b"abc")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (text("loss_metric_2"), text("loss_multiclass_log_"), "loss layer"),
        (text("input_rgb_image_sized"), text("input_rgb_image_pyram"), "input layer"),
        (text("relu_"), text("gelu_"), "unknown dlib layer 'gelu_'"),
        (NESTING, integers(2, 2, 9, 2, 2, 3), "not a dlib network"),
        (integers(2, 56, 1, 1, 1), integers(2, 5600, 5600, 56, 1), "implausible tensor"),
        (integers(2, 56, 1, 1, 1), integers(2, -56, -1, 1, 1), "implausible tensor"),
    ],
    ids=["loss", "input", "layer", "nesting", "huge tensor", "negative tensor"],
)
def test_other_network_is_refused_saying_why(read, old, new, says):
    assert old in TINY
    with pytest.raises(ConversionError, match=says):
        read(TINY.replace(old, new, 1))


def test_number_beyond_floats_is_refused(read):
    with pytest.raises(ConversionError):
        read(TINY.replace(real(245, -1), real(245, 2**40), 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (integers(1, 2, 3, 3, 3), integers(1, 2, 9, 3, 3)),
        (integers(1, 2, 3, 3, 3), integers(1, -2, 3, 3, 3)),
        (text("fc_2") + integers(4, 2), text("fc_2") + integers(0, 2)),
        (text("fc_2") + integers(4, 2), text("fc_2") + integers(3, 2)),
    ],
    ids=["kernel larger than its data", "negative kernel", "no outputs", "outputs that do not divide"],
)
def test_shapes_that_do_not_add_up_are_refused(read, old, new):
    assert old in TINY
    with pytest.raises(ConversionError):
        read(TINY.replace(old, new, 1))


@settings(max_examples=400)
@given(st.integers(0, len(TINY) - 1), st.integers(0, 255))
def test_changed_byte_is_read_or_refused(read, at, value):
    data = bytearray(TINY)
    data[at] = value
    try:
        network = read(bytes(data))
    except ConversionError:
        return
    assert len(network.layers) == 6


@given(st.binary(max_size=300))
def test_garbage_is_refused(read, data):
    with pytest.raises(ConversionError):
        read(data)


# --- the real file ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def beginning() -> bytes:
    """The first layers of dlib's recogniser."""
    try:
        files = Catalogue(service_settings().weights_dir).verified("dlib-resnet")
    except WeightsError as missing:
        pytest.skip(f"needs dlib's weights: {missing}")
    (path,) = files.values()
    with Path(path).open("rb") as stream:
        return stream.read(60_000)


@settings(max_examples=150)
@given(data=st.data())
def test_changed_beginning_of_the_real_file_is_refused(read, beginning, data):
    """It is cut off in any case, so nothing but a refusal is right; half of the changes hit the records before it."""
    raw = bytearray(beginning[: data.draw(st.integers(1, len(beginning)))])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, min(600, len(raw) - 1)) | st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    with pytest.raises(ConversionError):
        read(bytes(raw))

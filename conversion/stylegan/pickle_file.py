"""Reads StyleGAN (1) pickles without running anything that is in them.

`karras2019stylegan-*.pkl` is a pickle of `(G, D, Gs)`; each is a `dnnlib.tflib.network.Network`, whose state names its
options, its components, its variables, and the Python source that builds it. The official loader runs that source. Here
it is text that nobody reads; arrays are made of their bytes by this module, never by a function that the pickle names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conversion.stylegan.safe_pickle import Buildable, PickleRefused, Table, load, shown
from services.errors import ConversionError

MAX_BYTES = 4 << 30
NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
VERSIONS = (2, 3)  # of a Network's state; both hold what is needed here
PARTS = ("mapping", "synthesis")
MAX_VARIABLES = 10_000  # the largest published network has about 170


@dataclass(frozen=True)
class Network:
    """One network of the file: its options, its parts, and its variables."""

    name: str
    options: dict[str, Any]
    components: dict[str, "Network"]
    variables: dict[str, np.ndarray]


def read(path: Path) -> dict[str, Network]:
    """The generators of a StyleGAN pickle: `{"G": ..., "Gs": ...}`.

    Raises:
        ConversionError: not a pickle, truncated, too large, not StyleGAN's, or one that imports more than data.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConversionError(f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read")
    try:
        data = path.read_bytes()
        loaded = load(data, {**_TABLE, ("_codecs", "encode"): _encoder(len(data))})
        if not (type(loaded) is tuple and len(loaded) == 3 and all(type(n) is _Network for n in loaded)):
            raise PickleRefused("it does not hold the three networks G, D and Gs")
        return {"G": _network(loaded[0], 0), "Gs": _network(loaded[2], 0)}
    except (ValueError, OverflowError) as refused:  # numpy's as well: an array of impossible sides
        raise ConversionError(f"{path.name} is not read as a StyleGAN pickle: {refused}") from refused


class _Network(Buildable):
    pass


class _Type(Buildable):
    """numpy.dtype: its name, and a state that holds the byte order."""

    def __init__(self, name: Any = None, *rest: Any):
        self.name = name.lstrip("<>|=") if type(name) is str else ""

    def dtype(self) -> np.dtype:
        order = self.state[1] if type(self.state) is tuple and len(self.state) > 1 else "="
        if self.name not in NUMBERS or type(order) is not str or order not in ("<", ">", "|", "="):
            raise PickleRefused(f"it holds values of type {self.name[:40]!r}; only numbers are read")
        return np.dtype((order if order != "|" else "") + self.name)


class _Array(Buildable):
    """numpy.ndarray, made of the bytes in the pickle: as large as they are, whatever it claims."""

    def __init__(self, *arguments: Any):
        pass

    @classmethod
    def of_buffer(cls, raw: Any = None, kind: Any = None, shape: Any = None, order: Any = "C") -> "_Array":
        """As protocol 5 writes it."""
        array = cls()
        array.state = (1, shape, kind, order == "F" if type(order) is str else False, raw)
        return array

    def array(self) -> np.ndarray:
        state = self.state
        if not (type(state) is tuple and len(state) == 5 and type(state[1]) is tuple and type(state[2]) is _Type):
            raise PickleRefused("it holds an array without its values")
        shape, kind, raw = state[1], state[2].dtype(), state[4]
        if (
            len(shape) > 8
            or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
            or type(raw) not in (bytes, bytearray)
        ):
            raise PickleRefused("it holds an array of an impossible shape")
        claimed = kind.itemsize
        for side in shape:
            claimed *= side
        if len(raw) != claimed:
            raise PickleRefused(f"it claims an array of {claimed:,} bytes and holds {len(raw):,}")
        return np.frombuffer(raw, kind).reshape(shape, order="F" if state[3] is True else "C")


def _scalar(kind: Any = None, raw: Any = b"") -> np.ndarray:
    if type(kind) is not _Type or type(raw) is not bytes or len(raw) != kind.dtype().itemsize:
        raise PickleRefused("it holds a number that is not one")
    return np.frombuffer(raw, kind.dtype()).reshape(())


def _encoder(most: int) -> Callable[..., bytes]:
    """`_codecs.encode`, by which protocol 2 writes bytes; a file holds all of them, so they are no more than it."""
    left = most

    def encode(text: Any = None, encoding: Any = "latin1") -> bytes:
        nonlocal left
        if type(text) is not str or encoding != "latin1":
            raise PickleRefused("it encodes something that is no bytes")
        left -= len(text)
        if left < 0:
            raise PickleRefused("its bytes are more than the file has")
        return text.encode("latin1")

    return encode


def _type_of_array(*arguments: Any) -> None:
    raise PickleRefused("it makes arrays as no StyleGAN pickle does")


_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_TABLE: Table = {
    ("dnnlib.tflib.network", "Network"): _Network,
    **{(module, "ndarray"): _type_of_array for module in _NUMPY},  # an argument of _reconstruct, never called
    **{(module, "dtype"): _Type for module in _NUMPY},
    **{(module, "_reconstruct"): _Array for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
    **{(module, "_frombuffer"): _Array.of_buffer for module in ("numpy.core.numeric", "numpy._core.numeric")},
}


def _network(stand_in: _Network, depth: int) -> Network:
    """The dataclass of a stand-in, every part of its state checked for its type."""
    state = stand_in.state
    if type(state) is not dict or depth > 2:
        raise PickleRefused("it holds a network without a state that is understood")
    version = state.get("version")
    if type(version) is not int or version not in VERSIONS:
        told = version if type(version) is int else "unknown"
        raise PickleRefused(f"its networks have format version {told}; {' and '.join(map(str, VERSIONS))} are read")
    name, options = state.get("name"), state.get("static_kwargs")
    components, variables = state.get("components", {}), state.get("variables")
    if (
        type(name) is not str
        or type(options) is not dict
        or type(components) is not dict
        or type(variables) is not list
    ):
        raise PickleRefused("it holds a network without name, options, components and variables")
    if not all(type(part) is _Network for part in components.values()):
        raise PickleRefused("it holds a network whose components are no networks")
    if len(variables) > MAX_VARIABLES:
        raise PickleRefused(f"it holds a network of {len(variables):,} variables")
    parts = {key: _network(components[key], depth + 1) for key in PARTS if key in components}
    return Network(shown(name), options, parts, dict(_variable(item) for item in variables))


def _variable(item: Any) -> tuple[str, np.ndarray]:
    if type(item) is not tuple or len(item) != 2 or type(item[0]) is not str:
        raise PickleRefused("it holds variables without names")
    name, value = item
    if type(value) is _Array:
        return name, value.array()
    if type(value) in (int, float) or isinstance(value, np.ndarray):
        return name, np.asarray(value, None if isinstance(value, np.ndarray) else np.float64)
    raise PickleRefused(f"its variable {shown(name)} holds no numbers")

"""A pickle machine that can only make data: what a pickle names is looked up in a table, never imported.

Python's own machine runs whatever a pickle asks for, and even with a filter on names it hashes, compares and sets
attributes as the program wants. This one knows the opcodes of plain data and of objects made by `REDUCE`, `NEWOBJ` and
`BUILD`; each object is made by a function of the caller's table, from arguments it checks itself.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_OPCODES = 2_000_000
MAX_NESTING = 64

Table = Mapping[tuple[str, str], Callable[..., Any]]


class PickleRefused(ValueError):
    """The pickle is damaged, or asks for something that is not in the table."""


def shown(text: str) -> str:
    """Text of the pickle for a message: short, on one line, without what would change a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])


class Buildable:
    """An object that takes a state (`BUILD`); subclasses read `state` and trust nothing in it."""

    state: Any = None


class _Name:
    """A name of the table, on the stack until it is called."""

    def __init__(self, make: Callable[..., Any]):
        self.make = make


_PLAIN = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXT = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def load(data: bytes, table: Table) -> Any:
    """Makes the object that a pickle describes.

    Args:
        data: the whole pickle, protocols 0 to 5.
        table: what the pickle may name: (module, attribute) -> a function that makes the object.

    Raises:
        PickleRefused: truncated or damaged; more than two million operations; a name that is not in the table, an
            opcode that no data needs, a dictionary key that is no text.
    """
    machine = _Machine(table)
    count = 0
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            count += 1
            if count > MAX_OPCODES:
                raise PickleRefused(f"more than {MAX_OPCODES:,} operations")
            machine.step(opcode.name, argument)
        return machine.result()
    except PickleRefused:
        raise
    except IndexError as broken:
        raise PickleRefused("its program takes from an empty stack") from broken
    except Exception as broken:  # genops fails in several ways on damaged programs
        raise PickleRefused(f"not a pickle, or not whole ({shown(str(broken))})") from broken


class _Machine:
    """The stack, the memo, and one method for each family of opcodes."""

    def __init__(self, table: Table):
        self.table = table
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def step(self, name: str, argument: Any) -> None:
        """Runs one opcode."""
        if name in _PLAIN or name in _TEXT or name in _BYTES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._recall(int(argument))
        elif name not in ("PROTO", "FRAME", "STOP"):
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise PickleRefused(f"it uses {name}, which no data needs")
            handler(argument)

    def _recall(self, index: int) -> None:
        if index not in self.memo:
            raise PickleRefused(f"it recalls value {index}, which it never kept")
        self.stack.append(self.memo[index])

    def _since_mark(self) -> list[Any]:
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def _pop_last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def _memoize(self, argument: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _mark(self, argument: None) -> None:
        self.marks.append(len(self.stack))
        if len(self.marks) > MAX_NESTING:
            raise PickleRefused(f"nested deeper than {MAX_NESTING}")

    def _pop(self, argument: None) -> None:
        self.stack.pop()

    def _tuple(self, argument: None) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, argument: None) -> None:
        self.stack.append(tuple(self._pop_last(1)))

    def _tuple2(self, argument: None) -> None:
        self.stack.append(tuple(self._pop_last(2)))

    def _tuple3(self, argument: None) -> None:
        self.stack.append(tuple(self._pop_last(3)))

    def _list(self, argument: None) -> None:
        self.stack.append(self._since_mark())

    def _append(self, argument: None) -> None:
        (value,) = self._pop_last(1)
        self._extend([value])

    def _appends(self, argument: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleRefused("it appends to something that is no list")
        self.stack[-1].extend(values)

    def _dict(self, argument: None) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _setitem(self, argument: None) -> None:
        self._set(self._pop_last(2))

    def _setitems(self, argument: None) -> None:
        self._set(self._since_mark())

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        keys = values[::2]
        if type(target) is not dict or len(values) % 2 or any(type(key) is not str for key in keys):
            raise PickleRefused("it fills something that is no dictionary with text for keys")
        target.update(zip(keys, values[1::2], strict=True))

    def _global(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        self._name(module, attribute)

    def _stack_global(self, argument: None) -> None:
        module, attribute = self._pop_last(2)
        if type(module) is not str or type(attribute) is not str:
            raise PickleRefused("it imports something that has no name")
        self._name(module, attribute)

    def _name(self, module: str, attribute: str) -> None:
        if (module, attribute) not in self.table:
            raise PickleRefused(f"it tries to import {shown(module)}.{shown(attribute)}; nothing of it was run")
        self.stack.append(_Name(self.table[module, attribute]))

    def _reduce(self, argument: None) -> None:
        name, arguments = self._pop_last(2)
        if type(name) is not _Name or type(arguments) is not tuple:
            raise PickleRefused("it calls something that has no name")
        self.stack.append(name.make(*arguments))

    _newobj = _reduce

    def _build(self, argument: None) -> None:
        (state,) = self._pop_last(1)
        if not isinstance(self.stack[-1], Buildable):
            raise PickleRefused("it sets the state of something that has none")
        self.stack[-1].state = state

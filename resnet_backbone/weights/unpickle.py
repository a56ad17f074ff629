"""Pickled arrays read as data: a machine for the few opcodes that they need, which calls nothing.

detectron2's model zoo, Detectron and converters keep weights as pickled dictionaries of numpy
arrays. A pickle is a program; Python's unpickler imports and calls what it names. The machine here
shares no code with it: a global is a word that is looked up in a table of our own functions, and a
word outside the table ends the reading. `pickletools` splits the file into opcodes.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnet_backbone.errors import WeightsError

_MAX_OPCODES = 500_000
_MAX_LENGTH = 2**48  # of one dimension
_MAX_KEY = 2**60  # longer integers can be made to collide
_MAX_SHOWN = 100  # characters of a name in an error
_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
_MARK = object()


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _Pending:
    """What a REDUCE began and a BUILD has to finish, and where the memo keeps it meanwhile."""

    build: Callable[[_Machine, Any], Any]
    memo_keys: list[int] = field(default_factory=list)


def unpickle_arrays(content: bytes) -> object:
    """Reads a pickle of numbers, text, arrays and plain containers of them.

    Protocols 2 to 5 as Python 2 and 3 and any numpy write them. Python 2's byte strings become
    text, byte by byte (Latin-1).

    Args:
        content: The whole file.

    Returns:
        What was pickled. Arrays are read-only, of booleans, integers or floats.

    Raises:
        WeightsError: it names a global outside the table (said by name), or asks for anything else
            that arrays do not need, or is damaged; without the file's name.
    """
    machine = _Machine(budget=2 * len(content))
    file = io.BytesIO(content)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count == _MAX_OPCODES:
                raise WeightsError(f"the pickle has more than {_MAX_OPCODES} opcodes")
            machine.step(opcode.name, argument)
        (result,) = machine.stack
    except WeightsError:
        raise
    except Exception as error:
        # Damaged bytes take stack, memo and numpy to whatever exception they lead to.
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"the pickle is damaged ({type(error).__name__}: {reason})") from error
    if file.read(1):
        raise WeightsError("the pickle is followed by other data")
    return result


class _Machine:
    """Stack and memo of one pickle.

    Attributes:
        stack: What was read so far.
        budget: Bytes that may still be copied, so that a small file cannot become a large object.
    """

    def __init__(self, budget: int) -> None:
        self.stack: list[Any] = []
        self.budget = budget
        self._memo: dict[object, Any] = {}

    def step(self, opcode: str, argument: object) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memoize(argument if isinstance(argument, int) else len(self._memo))
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif opcode in _OPERATIONS:
            _OPERATIONS[opcode](self)
        elif opcode in ("GLOBAL", "INST"):
            self.stack.append(_known(global_name(*str(argument).split(" ", 1))))
            if opcode == "INST":
                raise WeightsError("the pickle makes an object (opcode INST), not an array")
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise WeightsError(f"the pickle has opcode {opcode}, which arrays do not need")

    def charge(self, data: bytes | bytearray | str) -> None:
        """Takes the size of a copy off the budget."""
        self.budget -= len(data)
        if self.budget < 0:
            raise WeightsError("the pickle's arrays are larger than the file")

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _memoize(self, key: int) -> None:
        value = self.stack[-1]
        self._memo[key] = value
        if isinstance(value, _Pending):
            value.memo_keys.append(key)

    def make_tuple(self, length: int) -> None:
        items = self.stack[-length:]
        if len(items) < length or any(item is _MARK for item in items):
            raise WeightsError("the pickle is damaged (a tuple of nothing)")
        self.stack[-length:] = [tuple(items)]

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise WeightsError(f"the pickle appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise WeightsError(f"the pickle sets items of a {type(target).__name__}")
        target.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_known(global_name(_text(module), _text(name))))

    def reduce(self) -> None:
        arguments, function = _tuple(self.stack.pop()), self.stack.pop()
        if not isinstance(function, _Global) or function.name not in _CALLS:
            raise WeightsError(f"the pickle calls a {type(function).__name__}")
        self.stack.append(_CALLS[function.name](self, *arguments))

    def build(self) -> None:
        state, pending = self.stack.pop(), self.stack.pop()
        if not isinstance(pending, _Pending):
            raise WeightsError(f"the pickle sets the state of a {type(pending).__name__}")
        value = pending.build(self, state)
        self.stack.append(value)
        while pending.memo_keys:
            self._memo[pending.memo_keys.pop()] = value


def global_name(module: str, name: str) -> str:
    """Returns the dotted name of what a pickle names, by today's name for Python 2's builtins."""
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


def refusal(name: str, advice: str) -> WeightsError:
    """Returns the error for a global that is refused; names may be long or hold line ends."""
    shown = name if name.isprintable() and len(name) <= _MAX_SHOWN else f"{name!a:.{_MAX_SHOWN}}"
    return WeightsError(
        f"refused, nothing was run: the pickle names {shown}, which weights do not need;"
        f" where the file came from, {advice}"
    )


def _known(name: str) -> _Global:
    if name not in _GLOBALS:
        raise refusal(name, "store its arrays alone, as .npz or .safetensors")
    return _Global(name)


def _pairs(items: Iterable[Any]) -> dict[str | int, object]:
    """Makes a dictionary of keys whose hashes cost nothing and cannot be made to collide."""
    result: dict[str | int, object] = {}
    for key, value in items:
        if type(key) is not str and not (type(key) is int and abs(key) < _MAX_KEY):
            raise WeightsError(f"the pickle has a key that is a {type(key).__name__}")
        result[key] = value
    return result


# --- what the words of the table do instead of what they name ---


def _ordered_dict(_machine: _Machine, items: Iterable[Any] = ()) -> dict[str | int, object]:
    return _pairs(items)


def _bytes(_machine: _Machine, *content: object) -> bytes:
    if content:
        raise WeightsError("the pickle makes bytes of something that is not in it")
    return b""


def _encode(machine: _Machine, text: object, encoding: object) -> bytes:
    if _text(encoding) != "latin1":
        raise WeightsError(f"the pickle encodes text as {encoding!r:.80}")
    content = _text(text)
    machine.charge(content)
    return content.encode("latin-1")


def _dtype(_machine: _Machine, code: object, *_flags: object) -> _Pending:
    if _text(code) not in _DTYPES:
        raise WeightsError(f"the pickle has an array of dtype {code!r:.80}")

    def build(_machine: _Machine, state: object) -> np.dtype:
        _, order, subarray, names, fields = _tuple(state)[:5]
        if order not in ("<", ">", "|"):
            raise WeightsError(f"the pickle has an array of {code} without byte order")
        if subarray is not None or names is not None or fields is not None:
            raise WeightsError("the pickle has a structured array")
        return np.dtype(f"{order}{code}")

    return _Pending(build)


def _reconstruct(_machine: _Machine, *_arguments: object) -> _Pending:
    def build(machine: _Machine, state: object) -> np.ndarray:
        _version, shape, dtype, fortran, data = _tuple(state)
        return _array(machine, data, dtype, shape, "F" if fortran is True else "C")

    return _Pending(build)


def _scalar(machine: _Machine, dtype: object, data: object) -> bool | int | float:
    return _array(machine, data, dtype, (), "C").item()


def _array(
    machine: _Machine, data: object, dtype: object, shape: object, order: object
) -> np.ndarray:
    if not isinstance(dtype, np.dtype):
        raise WeightsError("the pickle has an array without dtype")
    if not isinstance(data, (str, bytes, bytearray)):
        raise WeightsError(f"the pickle has an array of {type(data).__name__}, dtype {dtype}")
    lengths = [n for n in _tuple(shape) if isinstance(n, int) and 0 <= n < _MAX_LENGTH]
    if len(lengths) != len(_tuple(shape)):
        raise WeightsError("the pickle has an array whose shape is none")
    machine.charge(data)
    content = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    if math.prod(lengths) * dtype.itemsize != len(content):
        raise WeightsError(
            f"the pickle has {len(content)} bytes for an array of shape {lengths!r:.80}, {dtype}"
        )
    return np.ndarray(lengths, dtype, content, order="F" if order == "F" else "C")


def _tuple(value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise WeightsError(f"the pickle has a {type(value).__name__} where a tuple belongs")
    return value


def _text(value: object) -> str:
    """Returns `value`, which only as text can be hashed, compared and shown at no cost."""
    if not isinstance(value, str):
        raise WeightsError(f"the pickle has a {type(value).__name__} where a name belongs")
    return value


# numpy 2 moved these; older files name the old place, and numpy 1 reads newer ones no more.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "builtins.bytes": _bytes,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "numpy._core.numeric._frombuffer": _array,
}
_GLOBALS = frozenset(_CALLS) | {"numpy.ndarray"}  # which _reconstruct is told to make

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_LITERALS = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT SHORT_BINSTRING BINSTRING SHORT_BINUNICODE"
    " BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_OPERATIONS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine: machine.make_tuple(1),
    "TUPLE2": lambda machine: machine.make_tuple(2),
    "TUPLE3": lambda machine: machine.make_tuple(3),
    "APPEND": lambda machine: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine: machine.extend(machine.pop_to_mark()),
    "SETITEM": lambda machine: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine: machine.set_items(machine.pop_to_mark()),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}

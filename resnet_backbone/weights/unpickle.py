"""Reads pickled arrays as data, by a machine for the few opcodes that they need.

detectron2's model zoo, Detectron and converters keep weights as pickled dictionaries of numpy
arrays. A pickle is a program; Python's unpickler imports and calls what it names. The machine here
shares no code with it: it looks up globals in a table of our own functions, reads classes of other
libraries as blanks, and refuses everything else. `pickletools` splits the file into opcodes.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.blanks import Blank, blank_class, is_side_object
from resnet_backbone.weights.unpickle_calls import (
    CALLS,
    GLOBALS,
    Budget,
    Pending,
    as_text,
    as_tuple,
    plain_dict,
)

_MAX_OPCODES = 500_000
_MAX_SHOWN = 100  # characters of a name in an error
_MARK = object()
_OLD_OPCODES = frozenset("PUT GET INT LONG FLOAT STRING UNICODE DICT LIST".split())
_OF_OLD_PROTOCOLS = (
    " of protocol 0 or 1; where it came from, store it by pickle.dump(..., protocol=2), or as .npz"
)


@dataclass(frozen=True)
class _Global:
    """A name in our table, or of a class of which blanks are made.

    Attributes:
        name: The dotted name.
        blank: Whether it is such a class.
    """

    name: str
    blank: bool = False


def unpickle_arrays(content: bytes) -> object:
    """Reads a pickle of numbers, text, arrays and plain containers of them.

    Protocols 2 to 5 as Python 2 and 3 and any numpy write them. Python 2's byte strings become
    text, byte by byte (Latin-1).

    Args:
        content: The whole file.

    Returns:
        What was pickled. Arrays are read-only and contain booleans, integers or floats.

    Raises:
        WeightsError: the pickle names a global that is refused (the message names it), needs
            something else that arrays do not need, or is damaged. The message lacks the file's
            name.
    """
    machine = _Machine(Budget(2 * len(content)))
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
    """

    def __init__(self, budget: Budget) -> None:
        self.stack: list[Any] = []
        self._budget = budget
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
            advice = _OF_OLD_PROTOCOLS if opcode in _OLD_OPCODES else ", which arrays do not need"
            raise WeightsError(f"the pickle has opcode {opcode}{advice}")

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
        if isinstance(value, Pending):
            value.memo_keys.append(key)

    def make_tuple(self, length: int) -> None:
        items = self.stack[-length:]
        if len(items) < length or any(item is _MARK for item in items):
            raise WeightsError("the pickle is damaged (a tuple of nothing)")
        self.stack[-length:] = [tuple(items)]

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Blank):
            return
        if type(target) is not list:
            raise WeightsError(f"the pickle appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Blank):
            return
        if type(target) is not dict:
            raise WeightsError(f"the pickle sets items of a {type(target).__name__}")
        target.update(plain_dict(zip(items[::2], items[1::2], strict=True)))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_known(global_name(as_text(module), as_text(name))))

    def reduce(self) -> None:
        arguments, function = as_tuple(self.stack.pop()), self.stack.pop()
        if isinstance(function, _Global) and function.blank:
            self.stack.append(blank_class(function.name)())
            return
        if not isinstance(function, _Global) or function.name not in CALLS:
            raise WeightsError(f"the pickle calls a {type(function).__name__}")
        self.stack.append(CALLS[function.name](self._budget, *arguments))

    def new_object(self, operands: int) -> None:
        """Makes a blank of the class below the operands; nothing else is made by a class."""
        del self.stack[len(self.stack) - operands :]
        function = self.stack.pop()
        if not isinstance(function, _Global) or not function.blank:
            raise WeightsError(
                "the pickle makes an object (opcode NEWOBJ), which arrays do not need"
            )
        self.stack.append(blank_class(function.name)())

    def build(self) -> None:
        state, pending = self.stack.pop(), self.stack.pop()
        if isinstance(pending, Blank):
            pending.__setstate__(state)
            self.stack.append(pending)
            return
        if not isinstance(pending, Pending):
            raise WeightsError(f"the pickle sets the state of a {type(pending).__name__}")
        value = pending.build(self._budget, state)
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
    if name in GLOBALS:
        return _Global(name)
    if name.startswith("torch."):
        raise refusal(name, "load it by pickle and save its tensors by torch.save")
    if not is_side_object(name):
        raise refusal(name, "store its arrays alone, as .npz or .safetensors")
    return _Global(name, blank=True)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # of blanks' states, which are forgotten
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
    "NEWOBJ": lambda machine: machine.new_object(1),
    "NEWOBJ_EX": lambda machine: machine.new_object(2),
    "ADDITEMS": lambda machine: machine.extend(machine.pop_to_mark()),
    "FROZENSET": lambda machine: machine.stack.append(tuple(machine.pop_to_mark())),
    "BUILD": _Machine.build,
}

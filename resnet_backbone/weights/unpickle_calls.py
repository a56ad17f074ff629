"""Our own functions for the globals that pickled arrays name, for `unpickle`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnet_backbone.errors import WeightsError

_MAX_LENGTH = 2**48  # of one dimension
_MAX_DIMENSIONS = 64  # numpy's own limit
_MAX_KEY = 2**60  # longer integers can be made to collide
_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())


@dataclass
class Budget:
    """The bytes that may still be copied, so that a small file cannot become a large object.

    Attributes:
        left: Number of bytes.
    """

    left: int

    def charge(self, data: bytes | bytearray | str) -> None:
        """Subtracts the size of a copy.

        Raises:
            WeightsError: less than that is left.
        """
        self.left -= len(data)
        if self.left < 0:
            raise WeightsError("the pickle's arrays are larger than the file")


@dataclass
class Pending:
    """An object that a REDUCE opcode started and a BUILD opcode completes.

    Attributes:
        build: Makes the object from its state.
        memo_keys: Where the memo has the object, to be replaced by the complete one.
    """

    build: Callable[[Budget, object], object]
    memo_keys: list[int] = field(default_factory=list)


def as_tuple(value: object) -> tuple[object, ...]:
    """Returns `value`, which must be a tuple.

    Raises:
        WeightsError: it is something else.
    """
    if not isinstance(value, tuple):
        raise WeightsError(f"the pickle has a {type(value).__name__} where a tuple belongs")
    return value


def as_text(value: object) -> str:
    """Returns `value`, which must be text: that can be hashed, compared and shown at no cost.

    Raises:
        WeightsError: it is something else.
    """
    if not isinstance(value, str):
        raise WeightsError(f"the pickle has a {type(value).__name__} where a name belongs")
    return value


def plain_dict(items: Iterable[Any]) -> dict[str | int, object]:
    """Returns a dictionary whose keys are texts and small integers, which do not collide.

    Raises:
        WeightsError: there is another key.
    """
    result: dict[str | int, object] = {}
    for key, value in items:
        if type(key) is not str and not (type(key) is int and abs(key) < _MAX_KEY):
            raise WeightsError(f"the pickle has a key that is a {type(key).__name__}")
        result[key] = value
    return result


def _ordered_dict(_budget: Budget, items: Iterable[Any] = ()) -> dict[str | int, object]:
    return plain_dict(items)


def _bytes(_budget: Budget, *content: object) -> bytes:
    if content:
        raise WeightsError("the pickle makes bytes of something that is not in it")
    return b""


def _encode(budget: Budget, text: object, encoding: object) -> bytes:
    if as_text(encoding) != "latin1":
        raise WeightsError(f"the pickle encodes text as {encoding!r:.80}")
    content = as_text(text)
    budget.charge(content)
    return content.encode("latin-1")


def _dtype(_budget: Budget, code: object, *_flags: object) -> Pending:
    if as_text(code) not in _DTYPES:
        raise WeightsError(f"the pickle has an array of dtype {code!r:.80}")

    def build(_budget: Budget, state: object) -> np.dtype:
        _, order, subarray, names, fields = as_tuple(state)[:5]
        if order not in ("<", ">", "|"):
            raise WeightsError(f"the pickle has an array of {code} without byte order")
        if subarray is not None or names is not None or fields is not None:
            raise WeightsError("the pickle has a structured array")
        return np.dtype(f"{order}{code}")

    return Pending(build)


def _reconstruct(_budget: Budget, *_arguments: object) -> Pending:
    def build(budget: Budget, state: object) -> np.ndarray:
        _version, shape, dtype, fortran, data = as_tuple(state)
        return _array(budget, data, dtype, shape, "F" if fortran is True else "C")

    return Pending(build)


def _scalar(budget: Budget, dtype: object, data: object) -> bool | int | float:
    return _array(budget, data, dtype, (), "C").item()


def _array(budget: Budget, data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if not isinstance(dtype, np.dtype):
        raise WeightsError("the pickle has an array without dtype")
    if not isinstance(data, (str, bytes, bytearray)):
        raise WeightsError(f"the pickle has an array of {type(data).__name__}, dtype {dtype}")
    lengths = [n for n in as_tuple(shape) if isinstance(n, int) and 0 <= n < _MAX_LENGTH]
    if len(lengths) != len(as_tuple(shape)) or len(lengths) > _MAX_DIMENSIONS:
        raise WeightsError("the pickle has an array whose shape is none")
    budget.charge(data)
    content = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    if math.prod(lengths) * dtype.itemsize != len(content):
        raise WeightsError(
            f"the pickle has {len(content)} bytes for an array of shape {lengths!r:.80}, {dtype}"
        )
    return np.ndarray(lengths, dtype, content, order="F" if order == "F" else "C")


# By name; numpy 2 moved some, and files name the place of their time.
CALLS: dict[str, Callable[..., Any]] = {
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
GLOBALS = frozenset(CALLS) | {"numpy.ndarray"}  # which _reconstruct is told to make

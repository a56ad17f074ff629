"""Objects that training scripts store beside weights: read as blanks, whatever their class."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

# Of the standard library, numpy and torch only these: whatever else a pickle names of them has no
# business beside weights, and most of what hostile pickles need is there.
_KNOWN = frozenset(
    {
        "argparse.Namespace",
        "types.SimpleNamespace",
        "typing.Any",
        "collections.deque",
        "collections.defaultdict",
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
        *(f"datetime.{name}" for name in "date datetime time timedelta timezone".split()),
        *(
            f"{module}.{name}"
            for module in ("pathlib", "pathlib._local")
            for name in "Path PosixPath WindowsPath PurePosixPath PureWindowsPath".split()
        ),
        *(
            f"builtins.{name}"
            for name in "bool dict float frozenset int list object set str tuple".split()
        ),
        *(f"numpy.{name}" for name in "dtype ndarray bool_ float32 float64 int32 int64".split()),
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "torch.torch_version.TorchVersion",
    }
)
_RESERVED = frozenset({"builtins", "numpy", "torch", "torchvision", *sys.stdlib_module_names})


class Blank(list[object]):
    """Stands where a file holds an object that is none of the weights.

    It is a list only so that torch's unpickler lets lists of other libraries grow.

    Attributes:
        of: Name of the class, as the file gives it.
        fields: The object's attributes by name, as the file gives them: scripts keep a network's
            name in an `argparse.Namespace`. Nothing of the class sees them.
    """

    of = "object"
    fields: Mapping[object, object] = MappingProxyType({})
    __hash__ = object.__hash__  # type: ignore[assignment]  # compared by identity, see below

    def __init__(self, *_arguments: object) -> None:
        super().__init__()

    def __new__(cls, *_arguments: object) -> Blank:
        """Takes whatever arguments a pickle gives the class."""
        return super().__new__(cls)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __setstate__(self, state: object) -> None:
        """Keeps attributes as data; with slots, a pickle gives two dictionaries."""
        parts = state if isinstance(state, tuple) else (state,)
        dicts = [part for part in parts if isinstance(part, Mapping)]
        self.fields = {name: value for part in dicts for name, value in part.items()}

    def append(self, _item: object) -> None:
        """Forgets an item."""

    def extend(self, _items: object) -> None:
        """Forgets items."""


def is_side_object(name: str) -> bool:
    """Returns whether a pickle's global may be read as a `Blank`.

    Classes of other libraries and of users' scripts are, functions are not: a file of weights
    has no reason to name those.
    """
    root, last = name.partition(".")[0], name.rpartition(".")[2].lstrip("_")
    return name in _KNOWN or (root not in _RESERVED and last[:1].isupper() and name.isprintable())


def blank_class(name: str) -> type[Blank]:
    """Returns a class of blanks that stands for the one called `name`."""
    return type(name, (Blank,), {"of": name})


def dict_class(name: str) -> type:
    """Returns a class that makes ordinary dictionaries, for a subclass of dict called `name`.

    torch's unpickler sets items of dictionaries alone.
    """
    return type(name, (_BlankDict,), {})


class _BlankDict:
    def __new__(cls, *_arguments: object) -> object:  # type: ignore[misc]
        return OrderedDict()

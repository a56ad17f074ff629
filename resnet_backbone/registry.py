"""A name-to-object table that refuses duplicates and helps with misspelt names."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps public names to objects, mostly builder functions.

    Args:
        kind: What the entries are, in the singular, for error messages ("backbone").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that stores its argument under `name`.

        Raises:
            KeyError: `name` is taken; two meanings of one name would depend on the import order.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
            KeyError: no such entry; the message lists the close names, or all where none is close.
        """
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {self.names()}"
            raise KeyError(f"unknown {self.kind} {name!r}; {hint}")
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Returns the registered names that match a shell `pattern`, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

"""A table from names to objects that rejects duplicates and suggests close names for typos."""

from __future__ import annotations

import difflib
import fnmatch
import functools
from collections.abc import Callable
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps public names to objects, mostly builder functions.

    Args:
        kind: What the entries are, in the singular ("backbone"); used in error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    @overload
    def register(self, target: str) -> Callable[[T], T]: ...

    @overload
    def register(self, target: T) -> T: ...

    def register(self, target: str | T) -> T | Callable[[T], T]:
        """Adds an entry: `@register` under the entry's own name, `@register("name")` under another.

        Args:
            target: The entry itself (a function or class), or the name of the entry that follows.

        Returns:
            The entry, or a decorator that adds the entry and returns it.

        Raises:
            KeyError: the name is already taken; which entry won would depend on the import order.
            TypeError: the entry has no `__name__` and no name was given.
        """
        if isinstance(target, str):
            return functools.partial(self._add, target)
        name = getattr(target, "__name__", None)
        if name is None:
            raise TypeError(f"{self.kind} {target!r} has no __name__; use register(name)")
        return self._add(name, target)

    def get(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
            KeyError: there is no such entry; the message lists close names, or all names if none
                is close.
        """
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {self.names()}"
            raise KeyError(f"unknown {self.kind} {name!r}; {hint}")
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Returns the registered names that match the shell pattern `pattern`, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def _add(self, name: str, entry: T) -> T:
        if name in self._entries:
            raise KeyError(f"{self.kind} {name!r} is already registered")
        self._entries[name] = entry
        return entry

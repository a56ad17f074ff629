"""Refuses keyword arguments that nothing would look at, with those that were probably meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from resnet_backbone.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def refuse_unknown(
    given: Iterable[str],
    known: Sequence[str],
    caller: str,
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Raises ConfigError for names that are not known, all at once.

    Args:
        given: The names of arguments.
        known: Those that exist.
        caller: What they were given to, for messages.
        reasons: What to say of some names instead of close ones.
    """
    lines = []
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else ""
            hint = (reasons or {}).get(name) or hint or f"expected one of {', '.join(known)}"
            lines.append(f"{caller}: there is no argument {name!r}; {hint}")
    if lines:
        raise ConfigError("\n".join(lines))


def refusing_unknown(reasons: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator that gives a function's unknown keywords the error of `refuse_unknown`.

    Args:
        reasons: See `refuse_unknown`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_unknown(kwargs, known, function.__name__, reasons)
            return function(*args, **kwargs)

        return call

    return decorate

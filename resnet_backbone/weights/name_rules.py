"""Renames tensors by tables of templates such as "res{s+1}.{b}.conv{k}.{x}", both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

_FIELD = re.compile(r"\{(\w)([+-]\d+)?\}")
# What a field stands for: numbers, the last part of a name, or everything that is left.
_PATTERNS = {"x": r"[^.]+", "r": r".+"}


@dataclass(frozen=True)
class Rule:
    """A pair of templates for the same tensors.

    Fields are {s}, {b}, {k}, {i} for numbers, which may be shifted ("res{s+1}" is "layer{s}"), {x}
    for the last part of a name, {r} for the rest of it.

    Attributes:
        theirs: Template of the other framework's names.
        ours: Template of our names.
    """

    theirs: str
    ours: str

    def to_ours(self, name: str) -> str | None:
        """Returns our name for one of theirs, None where the rule does not fit."""
        return _translate(self._theirs, self.theirs, self.ours, name)

    def from_ours(self, name: str) -> str | None:
        """Returns their name for one of ours, None where the rule does not fit."""
        return _translate(self._ours, self.ours, self.theirs, name)

    @cached_property
    def _theirs(self) -> re.Pattern[str]:
        return _compiled(self.theirs)

    @cached_property
    def _ours(self) -> re.Pattern[str]:
        return _compiled(self.ours)


def rules(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    """Returns rules from (theirs, ours); the first that fits a name holds."""
    return tuple(Rule(theirs, ours) for theirs, ours in pairs)


def renamed_to_ours(
    state: Mapping[str, Tensor], table: Sequence[Rule]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Returns the tensors that the table knows by our names, and the names of the others."""
    named = {name: _first(rule.to_ours(name) for rule in table) for name in state}
    known = {own: state[name] for name, own in named.items() if own is not None}
    return known, tuple(name for name, own in named.items() if own is None)


def renamed_from_ours(
    state: Mapping[str, Tensor], table: Sequence[Rule]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Returns the tensors that the table knows, by their names, and the names of the others."""
    named = {name: _first(rule.from_ours(name) for rule in table) for name in state}
    known = {own: state[name] for name, own in named.items() if own is not None}
    return known, tuple(name for name, own in named.items() if own is None)


def _first(names: Iterable[str | None]) -> str | None:
    return next((name for name in names if name is not None), None)


def _compiled(template: str) -> re.Pattern[str]:
    """Returns the pattern of names that fit a template."""
    pieces, end = [], 0
    for field in _FIELD.finditer(template):
        pieces.append(re.escape(template[end : field.start()]))
        pieces.append(f"(?P<{field[1]}>{_PATTERNS.get(field[1], '[0-9]{1,4}')})")
        end = field.end()
    return re.compile("".join(pieces) + re.escape(template[end:]))


def _translate(pattern: re.Pattern[str], source: str, target: str, name: str) -> str | None:
    """Returns `target` with its fields filled from `name`, which fits `source`."""
    found = pattern.fullmatch(name)
    if found is None:
        return None
    shifts = {field[1]: int(field[2] or 0) for field in _FIELD.finditer(source)}

    def fill(field: re.Match[str]) -> str:
        value = found[field[1]]
        if field[1] in _PATTERNS:
            return value
        return str(int(value) - shifts[field[1]] + int(field[2] or 0))

    return _FIELD.sub(fill, target)

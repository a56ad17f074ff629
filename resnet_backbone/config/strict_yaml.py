"""YAML for configurations: plain data with the meaning of YAML 1.2, and no unsafe features.

Differences from PyYAML's safe loader: `1e-4` is a number and `off` is text, as YAML 1.2 says;
duplicate keys, tags, anchors and aliases are errors (an alias bomb of 332 bytes parses in 2 ms and
explodes when it is copied); size and depth are limited. The result consists only of dict, list,
str, int, float, bool and None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from resnet_backbone.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_VALUES = 20_000  # PyYAML reads some 20,000 in a second
MAX_KEY = 200  # characters

Keys = tuple[str, ...]  # the path to a value through nested mappings

_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")
)
# YAML 1.2.2, section 10.3.2, the core schema; last column: characters a match can start with.
_CORE_SCHEMA = (
    (_NULL, r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    (_INT, r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        _FLOAT,
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes; no constructor is ever called."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        event: Any = self.peek_event()
        problem = None
        if event.anchor is not None:
            problem = "anchors and aliases (& and *) are not allowed; put quotes around text"
        elif getattr(event, "tag", None) is not None:
            problem = "tags (!) are not allowed; put quotes around text"
        elif self.depth == MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} levels deep"
        elif self.values == MAX_VALUES:
            problem = f"more than {MAX_VALUES} keys and values; is it a configuration?"
        if problem:
            if isinstance(index, yaml.ScalarNode) and len(index.value) <= MAX_KEY:
                problem += f" (in {index.value})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.values += 1
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type; writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML reads its own unquoted Unicode line breaks back as spaces.
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_STR, data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

for _tag, _pattern, _first in _CORE_SCHEMA:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def read_file(path: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Returns the mapping in a file and the line number of each of its keys, nested ones included.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not a mapping in this YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, at byte {error.start}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes; is it a configuration?")
    value, lines = read_text(text, str(path))
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: found {type(value).__name__}, expected 'key: value' lines")
    return value, lines


def read_text(text: str, where: str) -> tuple[Any, dict[Keys, int]]:
    """Returns the value of a YAML text and the line number of each key in its mappings.

    Args:
        text: One YAML document; empty text gives None.
        where: A name for the text, used in error messages.

    Raises:
        ConfigError: the text is not valid YAML, or uses a feature that is not allowed here.
    """
    lines: dict[Keys, int] = {}
    try:
        node = _Loader(text).get_single_node()
        return (None if node is None else _plain(node, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}, line {mark.line + 1}" if mark and "\n" in text else where
        raise ConfigError(f"{place}: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{where}: character {error.position}: {error.reason}") from error
    except (ValueError, OverflowError) as error:  # PyYAML on escapes beyond Unicode, "\UFFFFFFFF"
        raise ConfigError(f"{where}: {error}") from error


def write_text(value: Mapping[str, Any]) -> str:
    """Returns YAML that `read_text` reads back as `value`; innermost lists are on one line."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True
    )


def write_line(value: Any) -> str:  # noqa: ANN401
    """Returns one line of YAML that `read_text` reads back as `value`."""
    text: str = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True
    )
    return text.strip()[1:-1]


def _plain(node: yaml.Node, keys: Keys, lines: dict[Keys, int]) -> Any:  # noqa: ANN401
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, keys, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, keys, {}) for item in node.value]
    try:
        return _SCALARS[node.tag](node.value)
    except ValueError as error:
        raise _problem(node, str(error)) from error


def _mapping(node: yaml.MappingNode, keys: Keys, lines: dict[Keys, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag != _STR or not isinstance(key_node, yaml.ScalarNode):
            raise _problem(key_node, "a key must be text")
        key = _text(key_node.value)
        if len(key) > MAX_KEY:
            raise _problem(key_node, f"a key of {len(key)} characters, expected at most {MAX_KEY}")
        place = (*keys, key)
        if key in result:
            first = f"; first on line {lines[place]}" if place in lines else ""
            raise _problem(key_node, f"duplicate key {key!r}{first}")
        lines[place] = key_node.start_mark.line + 1
        result[key] = _plain(value_node, place, lines)
    return result


def _problem(node: yaml.Node, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"invalid Unicode in {text!r}: half of a surrogate pair") from None
    return text


def _integer(text: str) -> int:
    # No key needs more than 64 bits, and Python rejects more than 4300 digits.
    if len(text) > 19:
        raise ValueError(f"integer of {len(text)} characters, expected at most 19")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_SCALARS = {
    _NULL: lambda text: None,
    _BOOL: lambda text: text.lower() == "true",
    _INT: _integer,
    _FLOAT: lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    _STR: _text,
}

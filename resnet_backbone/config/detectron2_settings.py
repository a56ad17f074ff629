"""Reads detectron2's YAML files and their bases as yacs does, without detectron2 or yacs."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_backbone.config.detectron2_keys import KEYS
from resnet_backbone.config.explain import show
from resnet_backbone.config.strict_yaml import Keys, read_file, read_text
from resnet_backbone.errors import ConfigError

BASE = "_BASE_"
MAX_FILES = 20
MAX_ADVISED = 30  # errors for which a similar key is looked up

_SECTIONS = {key.rsplit(".", n)[0] for key in KEYS for n in range(1, key.count(".") + 1)}
_TOP = {key.partition(".")[0] for key in KEYS}
_KINDS: dict[type, tuple[type | tuple[type, ...], str]] = {
    bool: (bool, "true or false"),
    int: (int, "an integer"),
    float: ((int, float), "a number"),
    str: (str, "text (put quotes around it if it looks like a number)"),
    tuple: (tuple, "a list"),
}


def is_detectron2(path: Path) -> bool:
    """Returns whether a file has detectron2's top-level keys; raises ConfigError as `read_file`."""
    tree, _ = _read(path)
    return BASE in tree or not _TOP.isdisjoint(tree)


def _read(path: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Reads a file; if it is not valid, an architecture that is not supported is the first reason.

    detectron2's Base-RetinaNet.yaml has a tag with code, which no supported architecture needs.

    Raises:
        ConfigError: as `read_file`.
    """
    try:
        return read_file(path)
    except ConfigError as error:
        expected = KEYS["MODEL.META_ARCHITECTURE"].default
        content = path.read_bytes().decode(errors="replace") if path.is_file() else ""
        found = re.search(r"""^\s+META_ARCHITECTURE:\s*["']?(\w+)""", content, re.MULTILINE)
        if found is None or found[1] == expected:
            raise
        raise ConfigError(
            f"{path}: MODEL.META_ARCHITECTURE: found {found[1]!r}, expected {expected!r}; other"
            " architectures are not supported"
        ) from error


def read_settings(path: Path, overrides: Sequence[str]) -> Settings:
    """Returns the settings in a file, its bases and `overrides` ("KEY.PATH=value").

    Raises:
        ConfigError: a file cannot be read, or `_BASE_` is invalid. Errors in single keys do not
            raise; they are listed in `Settings.problems`.
    """
    settings = Settings()
    for file, tree, lines in _with_bases(path, (), []):
        settings.take(tree, _in_file(file, lines))
    for override in overrides:
        settings.override(override)
    return settings


def names_detectron2(override: str) -> bool:
    """Returns whether a "KEY.PATH=value" sets one of detectron2's keys."""
    path, equals, _ = override.partition("=")
    return bool(equals) and path.strip().partition(".")[0] in _TOP


class Settings:
    """The values of detectron2's keys, written in a file or detectron2's defaults.

    Attributes:
        written: For each key that was written, its value and where it was written.
        problems: The errors found, one sentence each, starting with the key.
    """

    def __init__(self) -> None:
        self.written: dict[str, tuple[Any, str]] = {}
        self.problems: list[str] = []

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        return self.written[key][0] if key in self.written else KEYS[key].default

    def origin(self, key: str) -> str:
        """Returns where the value of a key was written."""
        return self.written[key][1] if key in self.written else "detectron2's default"

    def refuse(self, key: str, expected: str) -> None:
        """Records that the value of a key is not supported."""
        found = show(self[key])
        self.problems.append(f"{key} ({self.origin(key)}): found {found}, expected {expected}")

    def override(self, argument: str) -> None:
        """Applies one "KEY.PATH=value" argument."""
        path, _, text = argument.partition("=")
        where = "command line"
        try:
            value, _ = read_text(text, f"{path.strip()} ({where})")
        except ConfigError as error:
            self.problems.append(str(error))
            return
        for key in reversed(path.strip().split(".")):
            value = {key: value}
        self.take(value, lambda _: where)

    def take(
        self, tree: Mapping[str, Any], origin: Callable[[Keys], str], above: Keys = ()
    ) -> None:
        """Merges `tree` over the values so far; `origin` maps a key to where it was written."""
        for name, value in tree.items():
            keys = (*above, name)
            path, where = ".".join(keys), origin(keys)
            if path in KEYS:
                self._take(path, value, where)
            elif path not in _SECTIONS:
                hint = f"; {_suggestion(path)}" if len(self.problems) < MAX_ADVISED else ""
                self.problems.append(f"{path} ({where}): unknown key{hint}")
            elif isinstance(value, dict):
                self.take(value, origin, keys)
            else:
                self.problems.append(f"{path} ({where}): found {show(value)}, expected a section")

    def _take(self, key: str, written: object, where: str) -> None:
        default = KEYS[key].default
        value = _decoded(written)
        if value is None and isinstance(default, str):
            value = ""
        if default is not None:
            kind, words = _KINDS[type(default)]
            if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
                self.problems.append(f"{key} ({where}): found {show(value)}, expected {words}")
                return
        self.written[key] = value, where


def _with_bases(
    path: Path, above: tuple[Path, ...], read: list[Path]
) -> Iterator[tuple[Path, dict[str, Any], dict[Keys, int]]]:
    """Yields a file's bases before the file itself, so that later ones override earlier ones."""
    trail = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(f"circular {BASE}: {_arrows(trail)}")
    if len(read) == MAX_FILES:
        raise ConfigError(f"{BASE} includes more than {MAX_FILES} files: {_arrows(trail)}")
    read.append(path)
    tree, lines = _read(path)
    for base in _bases_of(path, tree.pop(BASE, [])):
        yield from _with_bases(base, trail, read)
    yield path, tree, lines


def _arrows(trail: Sequence[Path]) -> str:
    return " -> ".join(map(str, trail))


def _bases_of(file: Path, written: object) -> list[Path]:
    names = written if isinstance(written, list) else [written]
    found = []
    for name in names:
        where = f"{file}: {BASE} {show(name)}"
        if not isinstance(name, str) or "://" in name or not name.endswith((".yaml", ".yml")):
            raise ConfigError(f"{where}: expected the path of a .yaml file")
        try:
            base = file.parent / Path(name).expanduser()
            if not base.is_file():
                raise ConfigError(f"{where}: no such file in {file.parent}")
        except (OSError, RuntimeError) as error:  # a name that is too long, or no such home
            raise ConfigError(f"{where}: {getattr(error, 'strerror', error)}") from error
        found.append(base)
    return found


def _in_file(file: Path, lines: Mapping[Keys, int]) -> Callable[[Keys], str]:
    return lambda keys: f"{file}, line {lines[keys]}"


def _decoded(value: Any) -> Any:  # noqa: ANN401
    """Returns a value as yacs interprets it: text like "(640, 800)" becomes a tuple.

    Lists become tuples and integral floats become integers, so that values can be compared.
    """
    if isinstance(value, str):
        try:
            return _plain(ast.literal_eval(value))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
    return _plain(value)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _suggestion(path: str) -> str:
    name = path.rpartition(".")[2]
    elsewhere = [key for key in KEYS if key.rpartition(".")[2] == name]
    meant = elsewhere or difflib.get_close_matches(path, [*KEYS, *_SECTIONS], n=1)
    return f"did you mean {' or '.join(meant[:3])}?" if meant else "detectron2 has no similar key"

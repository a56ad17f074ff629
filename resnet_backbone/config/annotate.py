"""A configuration as YAML in which a comment says where each value was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resnet_backbone.config.strict_yaml import Keys, write_line
from resnet_backbone.utils.shipped import shipped_folder

COLUMN = 40  # of the comments, unless a value is longer


def annotate(
    tree: Mapping[str, Any], origins: Mapping[Keys, str], changes: Mapping[str, Any]
) -> str:
    """Returns YAML from which `load_any_config` reads the configuration.

    Args:
        tree: The configuration as plain values.
        origins: Where each key that is no default was written, see `load_with_origins`.
        changes: By dotted key, the values that the run itself will use instead.
    """
    lines = []
    for keys, text in _lines(tree, ()):
        origin = origins.get(keys, "default") if text else ""
        if (key := ".".join(keys)) in changes:
            origin += f"; in this run: {write_line(changes[key])}"
        line = f"{'  ' * (len(keys) - 1)}{write_line(keys[-1])}:{text}"
        comment = origin.replace(f"{shipped_folder('configs')}/", "")
        lines.append(f"{line:<{COLUMN}}  # {comment}" if comment else line)
    return "\n".join(lines) + "\n"


def _lines(tree: Mapping[str, Any], parent: Keys) -> Iterator[tuple[Keys, str]]:
    """Yields each key with its value as YAML, which is empty for a section."""
    for key, value in tree.items():
        keys = (*parent, key)
        if isinstance(value, dict) and value:
            yield keys, ""
            yield from _lines(value, keys)
        elif keys == ("overrides",) and not value:
            continue  # a record, which cannot be set
        else:
            yield keys, f" {write_line(value)}"

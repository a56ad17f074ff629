"""Which keys a configuration's record of `key=value` arguments sets."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_backbone.config.strict_yaml import read_text
from resnet_backbone.utils.trees import leaves


def explicit_keys(overrides: Sequence[str]) -> frozenset[str]:
    """Returns the dotted keys set on the command line, singly or as part of a section's mapping."""
    keys = set()
    for override in overrides:
        path, _, text = override.partition("=")
        keys.add(path.strip())
        value, _ = read_text(text, path)
        if isinstance(value, dict):
            keys.update(key for key, _ in leaves(value, f"{path.strip()}."))
    return frozenset(keys)

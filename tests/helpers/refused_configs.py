"""What a user reads of a configuration that is refused, and the keys that there are."""

import pytest

from resnet_backbone.config.load import load_config
from resnet_backbone.errors import ConfigError


def errors_of(name_or_path, overrides=()):
    """Returns the lines of the error, the first of which names the file and counts the rest."""
    with pytest.raises(ConfigError) as caught:
        load_config(name_or_path, overrides)
    first, *rest = str(caught.value).split("\n  ")
    assert not rest or first.startswith(f"{len(rest)} error")
    return rest or [first]


def paths_of(tree, keys=()):
    for key, value in tree.items():
        yield (*keys, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*keys, key))
